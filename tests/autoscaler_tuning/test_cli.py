"""`python -m autoscaler_tuning`: names of policies, comparisons, and what is refused."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from autoscaler_tuning.cli import main
from autoscaler_tuning.commands.flags import span
from autoscaler_tuning.compare import simulated_run
from autoscaler_tuning.live import read_run
from autoscaler_tuning.policies import UnknownPolicyError, policy_named
from autoscaler_tuning.simulator.world import SimConfig


def test_a_policy_brings_its_order_and_least_pods_along() -> None:
    assert [(policy_named(name).order, policy_named(name).min_pods) for name in ("kpa", "hpa", "hpa50", "elastic")] == [
        ("fifo", 0),
        ("fifo", 1),
        ("fifo", 1),
        ("deadline", 0),
    ]
    assert policy_named("kpa@deadline").order == "deadline"


@pytest.mark.parametrize("name", ["vpa", "hpa0", "hpax", "kpa@lifo", "", "elastic@"])
def test_an_unknown_policy_is_refused(name: str) -> None:
    with pytest.raises(UnknownPolicyError):
        policy_named(name)


def test_a_span_is_one_number_or_two() -> None:
    assert (span("4"), span("2-6")) == ((4.0, 4.0), (2.0, 6.0))


def test_compare_writes_table_json_csv_and_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workload = tmp_path / "w.txt"
    workload.write_text("5 " * 30)
    files = {name: tmp_path / f"out.{name}" for name in ("json", "csv", "html")}
    flags = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    assert main(["compare", "--workload", str(workload), "--policies", "kpa,elastic", "--seeds", "2", *flags]) == 0
    rows = json.loads(files["json"].read_text())["rows"]
    assert [(row["policy"], row["seed"]) for row in rows] == [("kpa", 0), ("kpa", 1), ("elastic", 0), ("elastic", 1)]
    assert {row["requests"] for row in rows} == {150}
    assert len(list(csv.DictReader(files["csv"].open()))) == 4
    assert "<svg" in files["html"].read_text()
    assert "pod-s" in capsys.readouterr().out


def test_zero_pods_cost_every_policy_knatives_window() -> None:
    arrivals_s = np.array([0.5, 300.0])
    run = simulated_run(policy_named("elastic"), arrivals_s, SimConfig(cold_start_s=(1.0, 1.0)), seed=0)
    last_alive_s = max(c.time_s for c in run.pods if c.ready_pods + c.starting_pods and c.time_s < 299)
    assert 60 <= last_alive_s <= 66


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("3 x", []),
        ("", []),
        ("1", ["--service-time-s", "0"]),
        ("1", ["--cold-start-s", "6-2"]),
        ("1", ["--initial-pods", "50"]),
    ],
)
def test_bad_input_ends_with_2_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, flags: list[str]
) -> None:
    (tmp_path / "w.txt").write_text(text)
    assert main(["compare", "--workload", str(tmp_path / "w.txt"), *flags]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("flags", [["--policies", "vpa"], ["--seeds", "0"], ["--slo-s", "nan"]])
def test_wrong_flags_end_with_2(flags: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["compare", *flags])
    assert caught.value.code == 2


def test_a_live_run_is_read_from_what_loadgen_and_controller_wrote(tmp_path: Path) -> None:
    columns = {"intended_s": [0.0, 1.0, 2.0], "done_s": [0.1, 1.1, None], "status": [200, 503, 0]}
    (tmp_path / "r.json").write_text(json.dumps({"started_unix_s": 100.0, "requests": columns}))
    lines = [
        {"unix_s": 90 + second, "ready": 1, "starting": 0, "terminating": 0, "waiting": 0, "cold_starts": second // 10}
        | {"pod_seconds": 1.0 * second, "terminating_pod_seconds": 0.0}
        for second in range(21)
    ]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, lines)))
    run, started_unix_s = read_run("kpa", tmp_path / "r.json", tmp_path / "c.jsonl", 0.5, [])
    assert started_unix_s == 100.0
    assert run.row.lost == 2
    assert run.row.late_ratio == pytest.approx(2 / 3)
    assert (run.row.pod_seconds, run.row.cold_starts) == (10.0, 1)
    assert run.pods[0].time_s == 0.0
