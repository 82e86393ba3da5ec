"""`report`, `diff`, `find-max` and `stress`: what they print, write, and end with."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from loadgen.analysis.runs import Run
from loadgen.analysis.summary import summarise
from loadgen.cli import main
from loadgen.reports.text import document
from tests.loadgen.runs import MIXED, good, queue, run
from tests.loadgen.servers import Server, say
from tests.ports import free_port


@pytest.fixture
def kept(tmp_path: Path) -> Callable[[str, Run], str]:
    """Writes a run as --json does."""

    def keep(name: str, seen: Run) -> str:
        path = tmp_path / name
        path.write_text(json.dumps(document(seen, summarise(seen.records, seen.asked.slo_s, seen.asked.max_lag_ms))))
        return str(path)

    return keep


Keep = Callable[[str, Run], str]
Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("seen", "slos", "code"),
    [
        pytest.param(queue(1, 0.01), ["p95<0.5s", "errors<0.1%"], 0, id="held"),
        pytest.param(queue(1, 0.01), ["p95<1ms"], 1, id="missed"),
        pytest.param(queue(1, 0.01), ["p95<1ms", "p95<1s"], 1, id="one of two missed"),
        pytest.param(run(good(0.0, 0.1, lag_s=0.1)), ["p95<1s"], 3, id="does not count"),
        pytest.param(run(good(0.0, 0.1, lag_s=0.1)), ["p95<1ms"], 3, id="does not count, missed or not"),
    ],
)
def test_report_ends_as_the_run_would_have(seen: Run, slos: list[str], code: int, kept: Keep) -> None:
    assert main(["report", kept("a.json", seen), *(word for slo in slos for word in ("--slo", slo))]) == code


def test_report_has_a_line_for_each_slo(kept: Keep, capsys: Captured) -> None:
    main(["report", kept("a.json", MIXED), "--slo", "p50<0.5s", "--slo", "errors<0.1%"])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("SLO ")] == [
        "SLO p50<0.5s: MISSED: no end (3 of 6 got no good answer)",
        "SLO errors<0.1%: MISSED: 50 % (3 of 6 got no good answer)",
    ]


def test_report_writes_every_shape(kept: Keep, tmp_path: Path) -> None:
    shapes = ("json", "html", "csv", "vegeta-results", "vegeta-json", "k6-summary", "k6-summary-export")
    flags = [word for shape in shapes for word in (f"--{shape}", str(tmp_path / shape))]
    path = kept("a.json", queue(1, 0.01, seconds=20))
    assert main(["report", path, "--slo", "p95<1s", *flags]) == 0
    assert (tmp_path / "json").read_text() == Path(path).read_text()
    assert (tmp_path / "html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "csv").read_text().count("\n") == 401
    assert len([json.loads(line) for line in (tmp_path / "vegeta-results").read_text().splitlines()]) == 400
    assert json.loads((tmp_path / "vegeta-json").read_text())["requests"] == 400
    summary = json.loads((tmp_path / "k6-summary").read_text())
    assert summary["metrics"]["iteration_duration"]["thresholds"] == {"p95<1s": {"ok": True}}
    export = json.loads((tmp_path / "k6-summary-export").read_text())
    assert export["metrics"]["iteration_duration"]["thresholds"] == {"p95<1s": False}


def test_another_slo_may_be_asked_afterwards(kept: Keep, capsys: Captured) -> None:
    main(["report", kept("a.json", MIXED), "--slo-s", "1"])
    assert "Late          [over 1s or no good answer]       3 of 6" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["report", "{none}"], "No such file", id="no such run"),
        pytest.param(["report", "{workload}"], "must be a run that --json wrote", id="a workload for a run"),
        pytest.param(
            ["report", "{run}", "--html", "{none}/a.html"], "--html must be a file in a folder", id="no folder"
        ),
        pytest.param(["diff", "{run}", "{none}"], "No such file", id="half a comparison"),
        pytest.param(["diff", "{run}", "{run}"], "a run must last 5 s to be compared, was 4 s", id="too short"),
        pytest.param(
            ["find-max", "{url}", "--slo", "p95<1s", "--from-rps", "9999"], "must ascend, were 1, 9999", id="order"
        ),
        pytest.param(
            ["find-max", "{url}", "--slo", "p95<1s", "--json", "{none}/a"], "--json must be", id="no folder for it"
        ),
        pytest.param(
            ["stress", "soak", "{url}", "--rate", "500"],
            "soak at 500/s has 300000 requests, --most-requests allows 100000",
            id="too many requests",
        ),
    ],
)
def test_bad_input_ends_with_2_and_one_line(
    words: list[str], said: str, kept: Keep, tmp_path: Path, capsys: Captured
) -> None:
    short = run(*(good(float(index), 0.1) for index in range(5)))
    names = {"none": tmp_path / "none", "workload": tmp_path / "w.txt", "run": kept("a.json", short)}
    (tmp_path / "w.txt").write_text("1 2 3")
    url = f"http://127.0.0.1:{free_port()}/predict"
    assert main([word.format(**names, url=url) for word in words]) == 2
    out = capsys.readouterr()
    assert out.err.count("\n") == 1
    assert said in out.err
    assert out.out == ""


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["report", "a.json", "--slo", "p95<0.5"], id="an SLO without a unit"),
        pytest.param(["find-max", "http://127.0.0.1:9/"], id="a search without an SLO"),
        pytest.param(["stress", "storm", "http://127.0.0.1:9/"], id="no such scenario"),
        pytest.param(["diff", "a.json"], id="one run"),
    ],
)
def test_wrong_flags_end_with_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2


def test_diff_ends_with_1_when_worse_and_names_what(kept: Keep, capsys: Captured) -> None:
    before, after = kept("a.json", queue(1, 0.02)), kept("b.json", queue(1, 0.045))
    assert main(["diff", before, after]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "before: a.json, 2400 requests in 120 s"
    assert "different plans" not in lines[2]
    assert lines[-1].startswith("Verdict: WORSE: mean +")
    header = lines[3]
    for line in (line for line in lines[4:-1] if " to " in line):  # columns begin or end where their titles do
        assert line[header.index("interval") - 1] == " " != line[header.index("interval")]
        assert line[header.index("change") - 1 + len("change")] != " "
    assert main(["diff", after, before]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("Verdict: better: mean -")


def test_diff_of_equal_runs_sees_nothing(kept: Keep, capsys: Captured) -> None:
    path = kept("a.json", queue(1, 0.02))
    assert main(["diff", path, path]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Verdict: no difference seen"


def test_diff_gives_no_verdict_on_a_run_that_does_not_count(kept: Keep, capsys: Captured) -> None:
    lagging = run(*(good(float(index), 0.1, lag_s=0.05) for index in range(100)))
    assert main(["diff", kept("a.json", queue(1, 0.02)), kept("b.json", lagging)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "Verdict: none, a run does not count"
    assert "INVALID: b.json: p99 send lag 50.0 ms is over --max-lag-ms 5" in lines


def one_at_a_time(service_s: float) -> Callable[[BaseHTTPRequestHandler], None]:
    """A server with one worker."""
    worker = threading.Lock()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        with worker:
            time.sleep(service_s)
        say(handler)

    return answer


FEW = ("--protocol", "raw", "--max-lag-ms", "2000")


@pytest.mark.integration
def test_find_max_brackets_what_a_server_can_do(samples_dir: Path, tmp_path: Path, capsys: Captured) -> None:
    """One worker and 0.2 s a request: 5/s, and nothing on a busy machine makes it more."""
    flags = (
        "--slo",
        "p80<1s",
        "--from-rps",
        "2",
        "--seconds",
        "4",
        "--settle-s",
        "0.1",
        "--agree",
        "1",
        "--mode",
        "even",
    )
    url = Server(one_at_a_time(0.2)).url
    words = [
        "find-max",
        url,
        "--images",
        str(samples_dir),
        *FEW,
        *flags,
        "--tolerance",
        "0.3",
        "--json",
        str(tmp_path / "m"),
    ]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("trial  1      2.00/s  held    p80 ")
    assert lines[-1].startswith("Highest rate that holds it: ")
    answer: Any = json.loads((tmp_path / "m").read_text())
    assert 1 < answer["held_rps"] < answer["missed_rps"] < 16
    assert len(answer["trials"]) == sum(line.startswith("trial") for line in lines)
    assert any(trial["seen"].endswith("was lost before the end") for trial in answer["trials"])


@pytest.mark.integration
def test_find_max_ends_with_1_when_no_rate_holds(samples_dir: Path, capsys: Captured) -> None:
    url = Server(lambda handler: say(handler, 503, b"{}")).url
    flags = ("--slo", "errors<1%", "--from-rps", "4", "--least-rps", "2", "--seconds", "1", "--settle-s", "0.1")
    assert main(["find-max", url, "--images", str(samples_dir), *FEW, *flags]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "Highest rate that holds it: none found, down to 2/s"


@pytest.mark.integration
def test_find_max_ends_with_3_when_only_the_generator_was_the_limit(samples_dir: Path, capsys: Captured) -> None:
    flags = ("--slo", "p95<9s", "--seconds", "1", "--settle-s", "0.1", "--protocol", "raw", "--max-lag-ms", "0.000001")
    assert main(["find-max", Server(say).url, "--images", str(samples_dir), *flags]) == 3
    assert "the generator cannot send faster from here" in capsys.readouterr().out


def stressed(name: str, answer: Callable[[BaseHTTPRequestHandler], None], samples: Path, *flags: str) -> int:
    words = ["stress", name, Server(answer).url, "--images", str(samples), *FEW, "--quiet", *flags]
    return main(words)


@pytest.mark.integration
def test_a_spike_that_is_refused_fails_the_scenario(samples_dir: Path, tmp_path: Path, capsys: Captured) -> None:
    seen = iter(range(1000))

    def refuses_from_the_tenth_on(handler: BaseHTTPRequestHandler) -> None:
        say(handler, 200 if next(seen) < 10 else 503)

    kept = str(tmp_path / "spike.json")
    code = stressed(
        "spike",
        refuses_from_the_tenth_on,
        samples_dir,
        "--rate",
        "4",
        "--stretch",
        "0.1",
        "--json",
        kept,
        "--html",
        f"{kept}.html",
    )
    lines = capsys.readouterr().out.splitlines()
    assert code == 1
    assert lines[0].startswith("spike: steady traffic, ten times as much")
    assert any(line.startswith("FAIL  spike:") for line in lines)
    assert lines[-1].startswith("Verdict: spike FAILED, ")
    assert json.loads(Path(kept).read_text())["about"]["scenario"] == "spike"
    assert "<li class=missed>spike: " in Path(f"{kept}.html").read_text()


@pytest.mark.integration
def test_a_ramp_stops_where_it_breaks_and_then_looks_whether_it_comes_back(samples_dir: Path, capsys: Captured) -> None:
    words = ("--rate", "2", "--stretch", "0.2", "--slo-s", "1")
    code = stressed("ramp", one_at_a_time(0.1), samples_dir, *words)
    lines = capsys.readouterr().out.splitlines()
    ramp = next(line for line in lines if "ramp: held up to" in line)
    assert "broke at" in ramp
    assert any("after: " in line for line in lines)
    sent = int(next(line for line in lines if line.startswith("Requests")).split()[4].rstrip(","))
    assert sent < 250  # all steps together have 252
    assert code in (0, 1)


@pytest.mark.integration
def test_slow_clients_are_told_from_the_others(samples_dir: Path, capsys: Captured) -> None:
    stressed("slow-clients", say, samples_dir, "--rate", "5", "--stretch", "0.3")
    out = capsys.readouterr().out
    assert "ok    slow clients: 50 of 50 got an answer (200)" in out
    assert "Test Results: 60/60 successful requests" in out


@pytest.mark.integration
def test_an_slo_that_a_replay_misses_ends_it_with_1(samples_dir: Path, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "w.txt").write_text("5 5")
    words = [Server(say).url, "--images", str(samples_dir), "--workload", str(tmp_path / "w.txt"), *FEW, "--quiet"]
    assert main([*words, "--slo", "p50<1us"]) == 1
    assert "SLO p50<1us: MISSED" in capsys.readouterr().out
    assert main([*words, "--slo", "errors<1%", "--html", str(tmp_path / "a.html")]) == 0
    assert "valid, and 1 of 1 held" in (tmp_path / "a.html").read_text()
