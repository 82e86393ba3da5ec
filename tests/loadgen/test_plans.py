"""What is about to be sent: shown before the first request, and refused if it is too much or nothing at all."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from loadgen.cli import main
from loadgen.sending import image_files
from loadgen.sending.image_files import ImageFilesError, load_images
from loadgen.sending.protocols import PROTOCOLS
from tests.loadgen.servers import Server, say
from tests.paths import ROOT

URL = "http://127.0.0.1:9/predict"
Ran = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ran(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ran:
    """Return a function that calls main() with a workload of 3 0 2 and an image; returns exit code, stdout and stderr."""
    (tmp_path / "w.txt").write_text("3 0 2")

    def call(*words: str) -> tuple[int, str, str]:
        given = ["--images", str(ROOT / "samples" / "cat.jpg")] if "--images" not in words else []
        if words[0].startswith("http") and "--workload" not in words:
            given += ["--workload", str(tmp_path / "w.txt")]
        try:
            code = main([*words, *given])
        except SystemExit as error:
            code = int(error.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_a_dry_run_prints_the_plan_and_sends_nothing(ran: Ran) -> None:
    assert ran(URL, "--dry-run") == (0, "plan: 5 requests in 3 s, at most 3 in one second\n", "")
    assert (
        ran(URL, "--dry-run", "--seconds", "1", "--scale", "0.4")[1]
        == "plan: 1 request in 1 s, at most 1 in one second\n"
    )
    code, out, _ = ran("stress", "spike", URL, "--dry-run")
    assert (code, out.splitlines()[1]) == (0, "at most 950 requests in 50 s")
    code, out, _ = ran("find-max", URL, "--slo", "p95<1s", "--dry-run")
    assert (code, out) == (0, "plan: trials of 10 s from 10/s on, within 1/s and 5000/s, at most 40 of them\n")


def test_the_plan_of_a_trace_says_how_it_was_read(ran: Ran, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("arrival_time,x\n10,1\n10.5,1\n12,1\n")
    plan = "plan: 3 requests in 3 s, at most 2 in one second; t.csv: a request for each row, times in column arrival_time in s\n"
    assert ran(URL, "--workload", str(tmp_path / "t.csv"), "--dry-run")[1] == plan


@pytest.mark.integration
def test_a_run_prints_its_plan_before_the_report_and_which_proxies_it_ignores(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://user:s3cret@127.0.0.1:1")
    code, out, err = ran(Server(say).url, "--quiet", "--max-lag-ms", "10000")
    assert (code, "Test Results: 5/5" in out) == (0, True)
    assert err.splitlines() == [
        "loadgen: plan: 5 requests in 3 s, at most 3 in one second",
        "loadgen: http_proxy is ignored: requests go to 127.0.0.1 itself",
    ]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        pytest.param([URL, "--scale", "1000000"], "at most 1000000 requests per second, got 3000000", id="scale"),
        pytest.param([URL, "--repeat", "100000000"], "at most 2678400 s and 10000000 requests", id="repeat"),
        pytest.param([URL, "--workload", "step:seconds=60,low=200000,high=200000"], "at most 10000000 requests", id="a family"),
        pytest.param([URL, "--from-s", "1", "--seconds", "1"], "at least one request, got none", id="an idle second"),
        pytest.param([URL, "--scale", "0.01"], "at least one request, got none", id="a scale that leaves nothing"),
        pytest.param([URL, "--processes", "65"], "must be auto or an integer from 1 to 64, got '65'", id="processes"),
        pytest.param(["stress", "soak", URL, "--rate", "0.0001"], "at least one request, got none", id="stress without requests"),
        pytest.param(["stress", "soak", URL, "--rate", "1e9"], "at most 1000000 requests per second", id="stress rate"),
        pytest.param(["stress", "soak", URL, "--rate", "1e-9", "--stretch", "1e9"], "at most 2678400 s", id="stress length"),
    ],
)  # fmt: skip
def test_what_is_too_much_or_nothing_is_refused_before_it_takes_memory(ran: Ran, words: list[str], reason: str) -> None:
    code, out, err = ran(*words)
    assert (code, out) == (2, "")
    assert reason in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        pytest.param(["--from-rps", "0.04", "--least-rps", "0.02", "--most-rps", "0.04"], "a trial must have at least one request, got 0.02/s", id="no request"),
        pytest.param(["--most-rps", "0.05"], "a trial must have at least one request, got 0.05/s", id="the derived rate"),
        pytest.param(["--seconds", "100000000"], "a trial must have", id="a long trial"),
        pytest.param(["--most-rps", "2e6"], "at most 1000000 requests per second, got 2000000", id="a high rate"),
        pytest.param(["--most-rps", "1e6", "--seconds", "60"], "at most 10000000 requests, got 60000000", id="both"),
    ],
)  # fmt: skip
def test_a_search_whose_trials_have_no_request_or_too_many_is_refused(ran: Ran, flags: list[str], reason: str) -> None:
    code, _, err = ran("find-max", URL, "--slo", "p95<1s", *flags)
    assert code == 2
    assert reason in err or "at most" in err


@pytest.mark.parametrize(
    ("flags", "rates"),
    [
        pytest.param(["--most-rps", "5"], "from 5/s on, within 1/s and 5/s", id="below the usual first rate"),
        pytest.param(["--from-rps", "0.5"], "from 0.5/s on, within 0.5/s and 5000/s", id="below the usual lowest rate"),
        pytest.param(["--least-rps", "20"], "from 20/s on, within 20/s and 5000/s", id="above the usual first rate"),
        pytest.param(["--seconds", "3600"], "from 10/s on, within 1/s and 2777.78/s", id="trials of an hour"),
    ],
)
def test_rates_that_are_not_given_fit_those_that_are(ran: Ran, flags: list[str], rates: str) -> None:
    code, out, _ = ran("find-max", URL, "--slo", "p95<1s", "--dry-run", *flags)
    assert (code, rates in out) == (0, True)


@pytest.mark.parametrize(
    ("key", "position"),
    [("abc\ndef", 4), ("a b", 2), ("schlüssel", 5), ("a\x00", 2)],
)
def test_a_key_that_no_header_can_carry_is_refused_without_being_printed(ran: Ran, key: str, position: int) -> None:
    code, _, err = ran(URL, "--dry-run", "--key", key)
    expected = (
        f"loadgen: --key (LOADGEN_KEY) must be visible ASCII characters, got another one at position {position}\n"
    )
    assert (code, err) == (2, expected)


def test_the_line_end_of_a_key_is_no_part_of_it(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOADGEN_KEY", "k7\r\n")
    assert ran(URL, "--dry-run")[0] == 0


@pytest.mark.parametrize("host", ["a\r\nX: y", "a b", "ä.example", ""])
def test_a_host_that_no_header_can_carry_is_refused(ran: Ran, host: str) -> None:
    code, _, err = ran(URL, "--dry-run", "--host", host)
    assert (code, "must be a host name of visible ASCII characters" in err) == (2, True)


def test_images_are_one_file_or_a_folder_with_its_subfolders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = (ROOT / "samples" / "cat.jpg").read_bytes()
    for name in ("b.jpg", "cats/a.JPG", "cats/deep/c.jpeg", ".hidden/d.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "again").symlink_to(tmp_path)
    assert [image.name for image in load_images(tmp_path, pytest.fail)] == ["b.jpg", "a.JPG", "c.jpeg"]
    assert [image.name for image in load_images(tmp_path / "b.jpg", pytest.fail)] == ["b.jpg"]
    with pytest.raises(ImageFilesError, match="must contain a readable PNG, JPG or JPEG file"):
        load_images(tmp_path / "notes.txt", pytest.fail)
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageFilesError, match="must be a folder or an image file"):
        load_images(tmp_path / "pipe.jpg", pytest.fail)
    monkeypatch.setattr(image_files, "MOST_BYTES", 2 * len(content))
    with pytest.raises(ImageFilesError, match="must have at most"):
        load_images(tmp_path, pytest.fail)


def test_a_file_name_that_is_not_utf8_is_sent_and_can_be_printed(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff\n.jpg")).write_bytes((ROOT / "samples" / "cat.jpg").read_bytes())
    (image,) = load_images(tmp_path, pytest.fail)
    for protocol in PROTOCOLS.values():
        assert protocol.encode(image).content


def test_no_socket_is_opened_by_a_dry_run(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "create_connection", pytest.fail)
    assert ran(URL, "--dry-run")[0] == 0
