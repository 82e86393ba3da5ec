"""`report`, `diff`, `find-max` and `stress`: their output, files and exit codes."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from loadgen.analysis.runs import Run
from loadgen.analysis.summary import summarise
from loadgen.cli import main
from loadgen.records import Failure
from loadgen.reports.text import document
from tests.loadgen.runs import MIXED, good, lost, queue, run
from tests.loadgen.servers import Server, say
from tests.ports import free_port


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[str, Run], str]:
    """Return a function that saves a run as --json does."""

    def save(name: str, seen: Run) -> str:
        path = tmp_path / name
        path.write_text(
            json.dumps(document(seen, summarise(seen.records, seen.settings.slo_s, seen.settings.max_lag_ms)))
        )
        return str(path)

    return save


Save = Callable[[str, Run], str]
Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("seen", "slos", "code"),
    [
        pytest.param(queue(1, 0.01), ["p95<0.5s", "errors<0.1%"], 0, id="held"),
        pytest.param(queue(1, 0.01), ["p95<1ms"], 1, id="missed"),
        pytest.param(queue(1, 0.01), ["p95<1ms", "p95<1s"], 1, id="one of two missed"),
        pytest.param(run(good(0.0, 0.1, lag_s=0.1)), ["p95<1s"], 3, id="invalid"),
        pytest.param(run(good(0.0, 0.1, lag_s=0.1)), ["p95<1ms"], 3, id="invalid and missed"),
    ],
)
def test_report_exits_as_the_run_would_have(seen: Run, slos: list[str], code: int, saved: Save) -> None:
    assert main(["report", saved("a.json", seen), *(word for slo in slos for word in ("--slo", slo))]) == code


def test_report_has_a_line_for_each_slo(saved: Save, capsys: Captured) -> None:
    main(["report", saved("a.json", MIXED), "--slo", "p50<0.5s", "--slo", "errors<0.1%"])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("SLO ")] == [
        "SLO p50<0.5s: MISSED: infinite (3 of 6 requests were not successful)",
        "SLO errors<0.1%: MISSED: 50 % (3 of 6 requests were not successful)",
    ]


def test_report_writes_every_format(saved: Save, tmp_path: Path) -> None:
    formats = ("json", "html", "csv", "vegeta-results", "vegeta-json", "k6-summary", "k6-summary-export")
    flags = [word for name in formats for word in (f"--{name}", str(tmp_path / name))]
    path = saved("a.json", queue(1, 0.01, seconds=20))
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


def test_report_can_use_another_slo(saved: Save, capsys: Captured) -> None:
    main(["report", saved("a.json", MIXED), "--slo-s", "1"])
    assert "Late          [over 1s or no good answer]       3 of 6" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["report", "{none}"], "No such file", id="no such run"),
        pytest.param(["report", "{workload}"], "must be a run that --json wrote", id="a workload instead of a run"),
        pytest.param(
            ["report", "{run}", "--html", "{none}/a.html"],
            "--html must be a file in an existing folder",
            id="no folder",
        ),
        pytest.param(["diff", "{run}", "{none}"], "No such file", id="a missing second run"),
        pytest.param(["diff", "{run}", "{run}"], "a run must last at least 5 s, got 4 s", id="too short"),
        pytest.param(
            ["find-max", "{url}", "--slo", "p95<1s", "--from-rps", "9999"],
            "must be in ascending order, got 1, 9999",
            id="order",
        ),
        pytest.param(
            ["find-max", "{url}", "--slo", "p95<1s", "--json", "{none}/a"],
            "--json must be",
            id="no folder for the JSON file",
        ),
        pytest.param(
            ["stress", "soak", "{url}", "--rate", "500"],
            "soak at 500/s must have at most 100000 requests (--most-requests), got 300000",
            id="too many requests",
        ),
    ],
)
def test_bad_input_exits_2_with_one_line(
    words: list[str], message: str, saved: Save, tmp_path: Path, capsys: Captured
) -> None:
    short = run(*(good(float(index), 0.1) for index in range(5)))
    names = {"none": tmp_path / "none", "workload": tmp_path / "w.txt", "run": saved("a.json", short)}
    (tmp_path / "w.txt").write_text("1 2 3")
    url = f"http://127.0.0.1:{free_port()}/predict"
    assert main([word.format(**names, url=url) for word in words]) == 2
    out = capsys.readouterr()
    assert out.err.count("\n") == 1
    assert message in out.err
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
def test_wrong_flags_exit_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2


def test_diff_exits_1_if_a_figure_is_worse_and_names_it(saved: Save, capsys: Captured) -> None:
    before, after = saved("a.json", queue(1, 0.02)), saved("b.json", queue(1, 0.045))
    assert main(["diff", before, after]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "before: a.json, 2400 requests in 120 s"
    assert "different plans" not in lines[2]
    assert lines[-1].startswith("Verdict: WORSE: mean +")
    header = lines[3]
    for line in (line for line in lines[4:-1] if " to " in line):  # columns start or end where their headings do
        assert line[header.index("confidence") - 1] == " " != line[header.index("confidence")]
        assert line[header.index("change") - 1 + len("change")] != " "
    assert main(["diff", after, before]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("Verdict: better: mean -")


def test_diff_of_equal_runs_finds_no_change(saved: Save, capsys: Captured) -> None:
    path = saved("a.json", queue(1, 0.02))
    assert main(["diff", path, path]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Verdict: no significant change"


def test_diff_gives_no_verdict_on_an_invalid_run(saved: Save, capsys: Captured) -> None:
    lagging = run(*(good(float(index), 0.1, lag_s=0.05) for index in range(100)))
    assert main(["diff", saved("a.json", queue(1, 0.02)), saved("b.json", lagging)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "Verdict: none, a run is invalid"
    assert "INVALID: b.json: p99 send lag must be at most 5 ms (--max-lag-ms), got 50.0 ms" in lines


def test_a_saved_run_that_was_interrupted_is_reported_as_such_and_compared_with_none(
    saved: Save, capsys: Captured
) -> None:
    records = [replace(record) for record in queue(1, 0.02).records]
    records[-1] = lost(records[-1].intended_s)
    records[-1].failure, records[-1].error = Failure.INTERRUPTED, "interrupted"
    cut = saved("b.json", run(*records))
    assert main(["report", cut]) == 130
    assert "INVALID: the run was interrupted: 1 of 2400 requests have no outcome" in capsys.readouterr().out
    assert main(["diff", saved("a.json", queue(1, 0.02)), cut]) == 3
    assert "Verdict: none, a run is invalid" in capsys.readouterr().out


def one_at_a_time(service_s: float) -> Callable[[BaseHTTPRequestHandler], None]:
    """Return the handler of a server with one worker."""
    worker = threading.Lock()

    def respond(handler: BaseHTTPRequestHandler) -> None:
        with worker:
            time.sleep(service_s)
        say(handler)

    return respond


FEW = ("--protocol", "raw", "--max-lag-ms", "10000")


@pytest.mark.integration
def test_find_max_brackets_the_capacity_of_a_server(samples_dir: Path, tmp_path: Path, capsys: Captured) -> None:
    """One worker with 0.2 s per request can serve 5/s, and a busy machine only reduces that."""
    flags = [
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
        "--tolerance",
        "0.3",
    ]
    url = Server(one_at_a_time(0.2)).url
    words = ["find-max", url, "--images", str(samples_dir), *FEW, *flags, "--json", str(tmp_path / "m")]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("trial  1      2.00/s  held    p80 ")
    assert lines[-1].startswith("Highest rate that meets the SLOs: ")
    result: Any = json.loads((tmp_path / "m").read_text())
    assert 1 < result["held_rps"] < result["missed_rps"] < 16
    assert len(result["trials"]) == sum(line.startswith("trial") for line in lines)
    assert any(trial["seen"].endswith("was missed before the end") for trial in result["trials"])


@pytest.mark.integration
def test_find_max_exits_1_if_no_rate_meets_the_slos(samples_dir: Path, capsys: Captured) -> None:
    url = Server(lambda handler: say(handler, 503, b"{}")).url
    flags = ("--slo", "errors<1%", "--from-rps", "4", "--least-rps", "2", "--seconds", "1", "--settle-s", "0.1")
    assert main(["find-max", url, "--images", str(samples_dir), *FEW, *flags]) == 1
    assert (
        capsys.readouterr().out.splitlines()[-1]
        == "Highest rate that meets the SLOs: none found; lowest rate tried: 2/s"
    )


@pytest.mark.integration
def test_find_max_exits_3_if_the_generator_was_the_limit(samples_dir: Path, capsys: Captured) -> None:
    flags = ("--slo", "p95<9s", "--seconds", "1", "--settle-s", "0.1", "--protocol", "raw", "--max-lag-ms", "0.000001")
    assert main(["find-max", Server(say).url, "--images", str(samples_dir), *flags]) == 3
    assert "the generator on this machine cannot send faster" in capsys.readouterr().out


def stressed(name: str, respond: Callable[[BaseHTTPRequestHandler], None], samples: Path, *flags: str) -> int:
    words = ["stress", name, Server(respond).url, "--images", str(samples), *FEW, "--quiet", *flags]
    return main(words)


@pytest.mark.integration
def test_rejected_requests_in_a_spike_fail_the_scenario(samples_dir: Path, tmp_path: Path, capsys: Captured) -> None:
    seen = iter(range(1000))

    def reject_from_the_tenth_on(handler: BaseHTTPRequestHandler) -> None:
        say(handler, 200 if next(seen) < 10 else 503)

    path = str(tmp_path / "spike.json")
    code = stressed(
        "spike",
        reject_from_the_tenth_on,
        samples_dir,
        "--rate",
        "4",
        "--stretch",
        "0.1",
        "--json",
        path,
        "--html",
        f"{path}.html",
    )
    lines = capsys.readouterr().out.splitlines()
    assert code == 1
    assert lines[0].startswith("spike: steady traffic, ten times as much")
    assert any(line.startswith("FAIL  spike:") for line in lines)
    assert lines[-1].startswith("Verdict: spike FAILED, ")
    assert json.loads(Path(path).read_text())["about"]["scenario"] == "spike"
    assert "<li class=missed>spike: " in Path(f"{path}.html").read_text()


@pytest.mark.integration
def test_a_ramp_stops_when_the_server_breaks_and_then_checks_its_recovery(samples_dir: Path, capsys: Captured) -> None:
    words = ("--rate", "2", "--stretch", "0.2", "--slo-s", "1")
    code = stressed("ramp", one_at_a_time(0.1), samples_dir, *words)
    lines = capsys.readouterr().out.splitlines()
    ramp = next(line for line in lines if "ramp: healthy up to" in line)
    assert "broke at" in ramp
    assert any("after: " in line for line in lines)
    sent = int(next(line for line in lines if line.startswith("Requests")).split()[4].rstrip(","))
    assert sent < 250  # all steps together have 252
    assert code in (0, 1)


@pytest.mark.integration
def test_slow_clients_are_reported_separately(samples_dir: Path, capsys: Captured) -> None:
    stressed("slow-clients", say, samples_dir, "--rate", "5", "--stretch", "0.3")
    out = capsys.readouterr().out
    assert "ok    slow clients: 50 of 50 got a response (200)" in out
    assert "Test Results: 60/60 successful requests" in out


@pytest.mark.integration
def test_a_replay_that_misses_an_slo_exits_1(samples_dir: Path, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "w.txt").write_text("5 5")
    words = [Server(say).url, "--images", str(samples_dir), "--workload", str(tmp_path / "w.txt"), *FEW, "--quiet"]
    assert main([*words, "--slo", "p50<1us"]) == 1
    assert "SLO p50<1us: MISSED" in capsys.readouterr().out
    assert main([*words, "--slo", "errors<1%", "--html", str(tmp_path / "a.html")]) == 0
    assert "valid, 1 of 1 held" in (tmp_path / "a.html").read_text()
