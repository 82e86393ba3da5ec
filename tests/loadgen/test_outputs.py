"""Files and standard streams: refused before a run, written apart, and never the end of a run."""

import contextlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadgen.analysis.runs import Run, RunSettings, read_run
from loadgen.analysis.summary import summarise
from loadgen.cli import main
from loadgen.commands import outputs
from loadgen.masking import masked, masked_word
from loadgen.records import Record
from loadgen.reports.strict_json import strict_json
from loadgen.reports.text import document, text, verbose_lines
from loadgen.reports.vegeta import report
from tests.loadgen.runs import good, queue, run
from tests.loadgen.servers import RawServer, Server, http, say
from tests.paths import ROOT

FORMATS = ("json", "csv", "html", "vegeta-results", "vegeta-json", "k6-summary", "k6-summary-export")
DRY = ("http://127.0.0.1:9/predict", "--images", "samples", "--dry-run", "--workload")
Captured = pytest.CaptureFixture[str]


def saved(folder: Path, seen: Run) -> str:
    path = folder / "saved.json"
    path.write_text(strict_json(document(seen, summarise(seen.records, 0.5, 5.0))))
    return str(path)


def refused(capsys: Captured, *words: str) -> str:
    with contextlib.suppress(SystemExit):  # raised by the parser
        assert main(words) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_an_output_that_cannot_be_made_is_refused_before_the_run(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "w.txt").write_text("1")
    for path, reason in (("/proc/run.json", "No such file"), (f"{tmp_path}/{'x' * 300}", "File name too long")):
        error = refused(capsys, *DRY, str(tmp_path / "w.txt"), "--json", path, "--csv", str(tmp_path / "c"))
        assert "--json must be a file that can be written" in error
        assert reason in error
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert "--html must be a file that can be written" in refused(
        capsys, *DRY, str(tmp_path / "w.txt"), "--html", str(loop)
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loop", "w.txt"]


def test_checking_an_output_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "w.txt").write_text("1")
    (tmp_path / "old").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "new")
    words = ("--json", str(tmp_path / "old"), "--csv", str(tmp_path / "link"), "--html", "/dev/null")
    assert main([*DRY, str(tmp_path / "w.txt"), *words]) == 0
    assert (tmp_path / "old").read_text() == "kept"
    assert not (tmp_path / "new").exists()


def test_two_outputs_into_one_file_and_outputs_over_inputs_are_refused(tmp_path: Path, capsys: Captured) -> None:
    workload, image = tmp_path / "w.txt", tmp_path / "a.png"
    workload.write_text("1")
    image.write_bytes((ROOT / "samples" / "astronaut.png").read_bytes())
    (tmp_path / "link").symlink_to(tmp_path / "new")
    (tmp_path / "hard").hardlink_to(workload)
    for flags, other in (
        (("--json", tmp_path / "new", "--csv", tmp_path / "link"), "which is also --json"),
        (("--json", tmp_path / "." / "new", "--html", tmp_path / "new"), "which is also --json"),
        (("--json", workload), "which is also the input"),
        (("--csv", tmp_path / "hard"), "which is also the input"),
        (("--json", image, "--images", image), "which is also the input"),
    ):
        assert other in refused(capsys, *DRY, str(workload), *map(str, flags))
    assert main([*DRY, str(workload), "--json", "/dev/null", "--csv", "/dev/null"]) == 0
    path = saved(tmp_path, queue(1, 0.01, seconds=6))
    assert "which is also the input" in refused(capsys, "report", path, "--csv", path)


def test_a_dash_is_no_output(capsys: Captured) -> None:
    for command in ((*DRY, "one.txt"), ("report", "a.json"), ("find-max", DRY[0], "--slo", "p95<1s")):
        assert "must be a file, because standard output has the report, got '-'" in refused(
            capsys, *command, "--json", "-"
        )


def test_one_output_that_fails_names_its_file_and_leaves_the_others(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: outputs.Judged) -> str:
        raise ZeroDivisionError("a bug")

    monkeypatch.setitem(outputs.OUTPUT_FORMATS, "csv", outputs.OutputFormat("", broken))
    path = saved(tmp_path, queue(1, 0.01, seconds=6))
    words = ["--json", "/dev/full", "--csv", str(tmp_path / "c"), "--html", str(tmp_path / "h")]
    assert main(["report", path, *words]) == 2
    out = capsys.readouterr()
    assert out.err.splitlines() == [
        "loadgen: --json /dev/full was not written: No space left on device",
        f"loadgen: --csv {tmp_path}/c was not written: ZeroDivisionError: a bug",
    ]
    assert (tmp_path / "h").read_text().startswith("<!doctype html>")
    assert "Test Results:" in out.out


def test_json_is_strict_whatever_was_measured(tmp_path: Path) -> None:
    strange = good(0.0, 0.1)
    strange.confidence = math.nan
    path = Path(saved(tmp_path, run(strange, Record(1.0, "a\udcff.jpg"))))
    document = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert document["requests"]["confidence"] == [None, 0.0]
    assert math.isnan(read_run(path).records[0].confidence)
    words = [word for name in FORMATS for word in (f"--{name}", str(tmp_path / name))]
    assert main(["report", str(path), *words]) == 3
    for name in ("json", "vegeta-json", "k6-summary", "k6-summary-export"):
        json.loads((tmp_path / name).read_text(), parse_constant=pytest.fail)
    assert ",nan," not in (tmp_path / "csv").read_text()
    assert strict_json({"a": [math.inf, -math.inf, (math.nan, 1)]}) == '{"a": [null, null, [null, 1]]}'


def test_no_output_contains_the_secrets_of_a_url(tmp_path: Path, capsys: Captured) -> None:
    url = "http://lovelace:s3cret@127.0.0.1:9/p?api_key=k123&X-Amz-Signature=s456&who=me"
    seen = run(good(0.0, 0.1))
    seen = Run("r", RunSettings(url, 1.0, about={"url": url}), seen.records, seen.started_unix_s)
    path = saved(tmp_path, seen)
    words = [word for name in FORMATS for word in (f"--{name}", str(tmp_path / name))]
    main(["report", path, *words])
    capsys.readouterr()
    texts = [Path(path).read_text(), *((tmp_path / name).read_text() for name in FORMATS)]
    assert not any(secret in text for text in texts for secret in ("s3cret", "lovelace", "k123", "s456"))
    assert "who=me" in texts[0]
    assert "s3cret" not in refused(capsys, "http://ada:s3cret@h:x/", "--images", "samples")
    assert "s3cret" not in refused(capsys, "report", "http://ada:s3cret@h/")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        pytest.param("http://u:p@h/a", "http://***@h/a", id="a user and a password"),
        pytest.param("http://token@h/a", "http://***@h/a", id="a user alone"),
        pytest.param("http://u:p@q@h/a", "http://***@h/a", id="an @ in the password"),
        pytest.param("http://h/a@b?c=d", "http://h/a@b?c=d", id="an @ in the path"),
        pytest.param("http://h/?key=1&access_token=2;sig=3#x", "http://h/?key=***&access_token=***;sig=***#x", id="a query"),
        pytest.param("http://h/?design=1&monkey=2", "http://h/?design=1&monkey=2", id="names that only end so"),
    ],
)  # fmt: skip
def test_secrets_are_masked_and_nothing_else(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_a_word_that_is_no_url_is_masked_up_to_its_last_at() -> None:
    assert masked_word("http://ada:p#ss/@h:x/") == "http://***@h:x/"
    assert masked_word("ftp://a/b") == "ftp://a/b"


def test_one_request_has_vegetas_rates_in_text_and_json() -> None:
    """vegeta divides by the time between first and last request only if there is any."""
    one = run(good(0.0, 0.0015))
    assert (report(one)["rate"], report(one)["throughput"]) == (1.0, 1.0)
    assert text(one, summarise(one.records, 0.5, 5.0)).splitlines()[0].endswith("1, 1.00, 1.00")
    many = run(*(good(index / 10, 0.05) for index in range(11)))
    line = text(many, summarise(many.records, 0.5, 5.0)).splitlines()[0]
    assert line.endswith(f"11, {report(many)['rate']:.2f}, {report(many)['throughput']:.2f}")


def test_a_good_answer_without_a_label_or_confidence_says_so() -> None:
    record = good(0.0, 0.1)
    record.confidence = math.nan
    assert verbose_lines(record)[1] == "Image cat.jpg: Classified as 'cat' without a confidence"
    record.label = ""
    assert verbose_lines(record)[1] == "Image cat.jpg: Classified as nothing: the response has no label"


def started(tmp_path: Path, shell: str, url: str) -> subprocess.CompletedProcess[str]:
    """Run loadgen with five requests in a shell; "$@" is the command."""
    (tmp_path / "five.txt").write_text("5")
    command = [sys.executable, "-m", "loadgen", url, "--images", "samples", "--workload", str(tmp_path / "five.txt")]
    command += ["--max-lag-ms", "10000", "--json", str(tmp_path / "out.json")]
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shell}", "bash", *command],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize(
    ("shell", "code"),
    [
        pytest.param('"$@" --verbose | head -1', 0, id="a reader that leaves early"),
        pytest.param('"$@" --verbose >/dev/full', 2, id="a full disk"),
        pytest.param('"$@" <&- >&- 2>&-', 0, id="closed streams"),
        pytest.param('"$@" 2>/dev/full', 0, id="errors and progress to a full disk"),
    ],
)
def test_a_lost_stream_costs_no_results(tmp_path: Path, shell: str, code: int) -> None:
    done = started(tmp_path, shell, Server(say).url)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert json.loads((tmp_path / "out.json").read_text())["requests"]["status"] == [200] * 5


@pytest.mark.integration
def test_strange_answers_reach_every_output(
    tmp_path: Path, samples_dir: Path, capsys: Captured, loadgen: Callable[..., Any]
) -> None:
    bodies = (b'{"error": "bad \\ud83d"}', b'{"label": "\\udc00", "confidence": 1%s}' % (b"0" * 400), b"[" * 50_000)
    server = RawServer(lambda _, total: http(bodies[total % 3], "500 No" if total % 3 == 0 else "200 OK"))
    words = [word for name in FORMATS[1:] for word in (f"--{name}", str(tmp_path / name))]
    process = loadgen(server.url, "9", "--verbose", *words)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err) == (0, False)
    assert "3x status 500: bad \\ud83d" in out
    assert json.loads((tmp_path / "out.json").read_text())["plan"]["requests"] == 9
    assert all((tmp_path / name).stat().st_size for name in FORMATS[1:])
