"""`python -m autoscaler_tuning`: its commands, their output, and bad input."""

import argparse
import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from autoscaler_tuning.cli import build_parser, main
from autoscaler_tuning.commands.cmd_control import services
from autoscaler_tuning.commands.flags import number_range
from autoscaler_tuning.commands.terminal import progress_line
from autoscaler_tuning.experiments.compare import simulated_run
from autoscaler_tuning.live.live_run import read_run
from autoscaler_tuning.policies.registry import policy_named
from autoscaler_tuning.simulator.world import SimConfig


def test_a_range_is_one_number_or_two() -> None:
    assert (number_range("4"), number_range("2-6")) == ((4.0, 4.0), (2.0, 6.0))


class Terminal(io.StringIO):
    """A terminal that keeps what is written to it."""

    def isatty(self) -> bool:
        return True


def test_progress_is_one_line_that_disappears_and_only_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_line() as progress:
        progress("kpa, seed 0")
    assert capsys.readouterr().err == ""
    with progress_line(in_files=True) as progress:
        progress("kpa, run 1")
        progress("kpa, run 2")
    assert capsys.readouterr().err == "kpa, run 1\nkpa, run 2\n"
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_line() as progress:
        progress("kpa[window=6], seed 0")
    shown = terminal.getvalue()
    assert "kpa[window=6], seed 0" in shown
    assert shown.rindex("\x1b[2K") > shown.rindex("seed 0")  # the line is erased at the end
    assert "\x1b[?25l" not in shown  # a run that SIGTERM ends could not show the cursor again


@pytest.mark.integration
def test_what_only_reports_need_is_not_imported_by_the_controller() -> None:
    heavy = "jinja2", "rich", "matplotlib", "scipy", "psutil", "autoscaler_tuning.simulator"
    code = f"""
import sys
from autoscaler_tuning.cli import build_parser
build_parser({{}}, only="control").parse_args(["control"])
assert "autoscaler_tuning.live.controller" in sys.modules
print([name for name in {heavy} if name in sys.modules])
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_help_shows_a_default_with_a_percent_sign(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HTML", "100%.html")
    with pytest.raises(SystemExit) as stopped:
        main(["compare", "--help"])
    assert stopped.value.code == 0
    assert "100%.html" in capsys.readouterr().out


def test_compare_writes_tables_json_csv_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workload = tmp_path / "w.txt"
    workload.write_text("5 " * 30)
    files = {name: tmp_path / f"out.{name}" for name in ("json", "csv", "html", "markdown")}
    flags = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    assert main(["compare", "--workload", str(workload), "--policies", "kpa,elastic", "--seeds", "2", *flags]) == 0
    rows = json.loads(files["json"].read_text())["rows"]
    assert [(row["policy"], row["seed"]) for row in rows] == [("kpa", 0), ("kpa", 1), ("elastic", 0), ("elastic", 1)]
    assert {row["requests"] for row in rows} == {150}
    assert len(list(csv.DictReader(files["csv"].open()))) == 4
    assert "<svg" in files["html"].read_text()
    printed, markdown = capsys.readouterr().out, files["markdown"].read_text()
    assert "pod-s" in printed
    title = printed.splitlines()[0]
    assert "elastic" in title
    assert markdown.startswith(f"**{title[:-1]}.**\n\n- elastic and kpa: ")
    assert markdown.index("count as none") < markdown.index("SLO 0.5 s") < markdown.index("| policy |")


def test_every_row_has_all_documented_figures_and_json_has_no_nan(tmp_path: Path) -> None:
    (tmp_path / "w.txt").write_text("5 " * 15 + "30 " * 15)
    out = tmp_path / "out.json"
    argv = ["compare", "--workload", str(tmp_path / "w.txt"), "--policies", "kpa,peak", "--seeds", "1"]
    assert main([*argv, "--frontier-seeds", "1", "--json", str(out)]) == 0
    document = json.loads(out.read_text(), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    documented = (
        *("policy", "seed", "target", "requests", "late_ratio", "lost", "p50_s", "p95_s", "p99_s", "pod_seconds"),
        *("terminating_pod_seconds", "cold_starts", "reaction_s", "lp_bound_pod_seconds", "milp_bound_pod_seconds"),
        *("ratio_to_bound", "cost_per_1000_in_slo"),
    )
    for row in document["rows"]:
        assert all(row[name] is not None for name in documented)
    assert [pair["theirs"] for pair in document["paired"]] == ["kpa"]
    assert {len(points) for points in document["frontiers"].values()} == {8, 6}


def test_the_same_command_writes_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "w.txt").write_text("5 " * 20)
    argv = ["compare", "--workload", str(tmp_path / "w.txt"), "--policies", "kpa,elastic", "--seeds", "2"]
    written = []
    for run in ("a", "b"):
        files = [tmp_path / f"{run}.{name}" for name in ("json", "csv", "html", "markdown")]
        flags = [word for path in files for word in (f"--{path.suffix[1:]}", str(path))]
        assert main([*argv, "--frontier-seeds", "0", *flags]) == 0
        written.append([path.read_bytes() for path in files])
    assert written[0] == written[1]


def test_tune_prints_annotations_and_the_kn_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "w.txt").write_text(("5 " * 20 + "25 " * 20) * 3)
    argv = ["tune", "--trace", str(tmp_path / "w.txt"), "--settings", "4", "--seeds", "1", "--blocks", "2"]
    assert main([*argv, "--scales", "1", "--json", str(tmp_path / "t.json"), "--service", "mine"]) == 0
    printed = capsys.readouterr().out
    assert "kn service update mine" in printed
    assert "relative to stock KPA" in printed
    assert json.loads((tmp_path / "t.json").read_text())["held_back"][0]["block"] == 1


def test_goals_exits_1_if_a_required_goal_is_missed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "still.txt").write_text("9 " * 90)
    argv = ["goals", "--trace", str(tmp_path / "still.txt"), "--seeds", "2", "--service-time-s", "0.1", "--part", "all"]
    # Every policy keeps the one pod all the time, so elastic cannot reach 0.8 of KPA's pod-seconds.
    assert main([*argv, "--max-pods", "1", "--markdown", str(tmp_path / "g.md")]) == 1
    assert "MISSED" in capsys.readouterr().out
    assert "| pod-seconds relative to stock KPA | required |" in (tmp_path / "g.md").read_text()


def test_a_workload_with_too_many_requests_is_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "w.txt").write_text("1000000 " * 10)
    assert main(["compare", "--workload", str(tmp_path / "w.txt")]) == 2
    assert "1 to 5000000 requests, got 10000000" in capsys.readouterr().err


def test_every_policy_scales_to_zero_only_after_knatives_window() -> None:
    arrivals_s = np.array([0.5, 300.0])
    run = simulated_run(policy_named("elastic"), arrivals_s, SimConfig(cold_start_s=(1.0, 1.0)), seed=0)
    last_alive_s = max(c.time_s for c in run.pods if c.ready_pods + c.starting_pods and c.time_s < 299)
    assert 60 <= last_alive_s <= 75  # the window, and the time for which the policy itself keeps the pod


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("3 x", []),
        ("", []),
        ("1", ["--service-time-s", "0"]),
        ("1", ["--cold-start-s", "6-2"]),
        ("1", ["--initial-pods", "50"]),
        ("0 0 0", []),
        ("1", ["--min-pods", "41"]),
        ("1", ["--target", "knative"]),
    ],
)
def test_bad_input_exits_2_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, flags: list[str]
) -> None:
    (tmp_path / "w.txt").write_text(text)
    assert main(["compare", "--workload", str(tmp_path / "w.txt"), *flags]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "flags",
    [
        ["--policies", "vpa"],
        ["--policies", "kpa,kpa"],
        ["--seeds", "0"],
        ["--slo-s", "nan"],
        ["--bounds", "best"],
        ["--json", "/nowhere/at/all.json"],
        ["--html", "/tmp"],
        ["--target", "Knative"],
    ],
)
def test_bad_flags_exit_2(flags: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["compare", *flags])
    assert caught.value.code == 2


@pytest.mark.parametrize("text", ["-1", "x", "2-x", ""])
def test_a_bad_range_is_reported_with_the_rule(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["compare", f"--cold-start-s={text}"])
    assert f"must be a number or a range such as 2-6, got {text!r}" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["compare", "control"])
def test_a_bad_target_in_the_environment_is_rejected(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.setenv("TARGET", "Knative")
    with pytest.raises(SystemExit, match="2"):
        main([command])
    assert "got 'Knative'" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "is_on"), [("1", True), ("Yes", True), ("off", False), ("", False)])
def test_a_variable_turns_a_flag_without_a_value_on(text: str, is_on: bool) -> None:
    args = build_parser({"NO_PATCH": text}).parse_args(["control"])
    assert (args.no_patch, args.shadow) == (is_on, False)
    assert build_parser({"NO_PATCH": text}).parse_args(["control", "--no-patch"]).no_patch


def test_a_bad_value_of_such_a_variable_is_rejected_by_its_command_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_PATCH", "ture")
    with pytest.raises(SystemExit, match="2"):
        main(["control"])
    assert "--no-patch: must be one of 1, true, yes, on, 0, false, no, off, got 'ture'" in capsys.readouterr().err
    assert build_parser({"NO_PATCH": "ture"}).parse_args(["compare"]).run


@pytest.mark.parametrize("watch", ["foo", "http://a,http://b"])
def test_watch_accepts_only_one_address(capsys: pytest.CaptureFixture[str], watch: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["control", "--shadow", "--watch", watch])
    assert f"got {watch!r}" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [[], ["--dry-run"], ["--no-patch"]], ids=["scales", "dry run", "no patch"])
@pytest.mark.parametrize(("target", "instead"), [("knative", "Knative's HPA class"), ("kubernetes", "an HPA on CPU")])
def test_control_refuses_a_policy_that_needs_the_cpu_of_pods_in_a_cluster(
    capsys: pytest.CaptureFixture[str], target: str, instead: str, flags: list[str]
) -> None:
    assert main(["control", "--target", target, "--policy", "hpa70", *flags]) == 2
    refused = capsys.readouterr().err
    assert f"--policy hpa70 needs the CPU of pods, which is not measured with --target {target}; " in refused
    assert instead in refused


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--no-patch"], "--no-patch must come with --target knative or kubernetes, got local"),
        (["--tls-key-file", "k.pem"], "--tls-cert-file and --tls-key-file must come together, got None, k.pem"),
        (["--tls-cert-file", "no.pem", "--tls-key-file", "no.pem"], "must be a certificate and its key in PEM, got no"),
    ],
)
def test_control_refuses_flags_that_do_not_fit(
    capsys: pytest.CaptureFixture[str], flags: list[str], problem: str
) -> None:
    assert main(["control", *flags]) == 2
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "names"),
    [
        pytest.param("resnet18", {"resnet18": ()}, id="a name"),
        pytest.param("a=http://a:8011", {"a": ("http://a:8011",)}, id="a name with its dispatcher"),
        pytest.param(
            "a=http://a1:8011,http://a2:8011, b=https://b:8011",
            {"a": ("http://a1:8011", "http://a2:8011"), "b": ("https://b:8011",)},
            id="two names, one with two dispatchers",
        ),
    ],
)
def test_services_are_named_with_their_dispatchers(text: str, names: dict[str, tuple[str, ...]]) -> None:
    assert {service.name: service.dispatchers for service in services(text)} == names


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        pytest.param("a,b", "must name the dispatchers of each Service", id="no dispatchers"),
        pytest.param("a=http://x,a=http://y", "different names", id="a name twice"),
        pytest.param("http://x", "must be NAME", id="an address alone"),
        pytest.param("a=ftp://x", "must be http:// or https://", id="another scheme"),
        pytest.param("", "must be NAME", id="nothing"),
    ],
)
def test_services_that_cannot_be_told_apart_or_reached_are_refused(text: str, rule: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=rule):
        services(text)


@pytest.mark.parametrize("flags", [["--target", "local"], ["--target", "knative", "--record", "run.jsonl"]])
def test_control_refuses_several_services_where_only_one_is_possible(
    flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["control", "--service", "a=http://x,b=http://y", *flags]) == 2
    assert f"{flags[-2]}" in (err := capsys.readouterr().err)
    assert "needs a single --service, got a, b" in err


def test_control_names_the_record_that_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "missing/record.jsonl"
    with pytest.raises(SystemExit, match="2"):
        main(["control", "--record", str(record)])
    assert f"--record: must be a file in an existing folder, got '{record}'" in capsys.readouterr().err


def test_a_live_run_is_read_from_the_files_of_loadgen_and_controller(tmp_path: Path) -> None:
    columns = {"intended_s": [0.0, 1.0, 2.0], "done_s": [0.1, 1.1, None], "status": [200, 503, 0]}
    (tmp_path / "r.json").write_text(json.dumps({"started_unix_s": 100.0, "requests": columns}))
    lines = [
        {"unix_s": 90 + second, "ready": 1, "starting": 0, "terminating": 0, "waiting": 0, "cold_starts": second // 3}
        | {"pod_seconds": 1.0 * second, "terminating_pod_seconds": 0.0}
        for second in range(21)
    ]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, lines)))
    run, started_unix_s = read_run("kpa", tmp_path / "r.json", tmp_path / "c.jsonl", 0.5, [])
    assert started_unix_s == 100.0
    assert run.row.lost == 2
    assert run.row.late_ratio == pytest.approx(2 / 3)
    assert (run.row.pod_seconds, run.row.cold_starts, run.row.until_s) == (3.0, 1, 3.0)
    assert run.pods[0].time_s == 0.0
