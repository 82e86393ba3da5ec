"""conformance: its output for vectors that agree, disagree or are invalid, and the vectors of the real autoscalers."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoscaler_tuning.cli import main
from autoscaler_tuning.policies.kpa.kpa import Kpa
from autoscaler_tuning.types import Observation, Second
from autoscaler_tuning.validation.conformance import lines


def vectors(folder: Path, average: float) -> Path:
    operations = [{"t_s": 0, "record": 2.0}, {"t_s": 1, "record": 4.0}, {"t_s": 1, "average": average}]
    case = {"algorithm": "linear", "window_s": 60, "granularity_s": 1, "operations": operations}
    path = folder / "v.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"windows": [case]}).encode()))
    return path


def test_agreement_is_counted_and_exits_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", str(vectors(tmp_path, 3.0))]) == 0
    assert capsys.readouterr().out == "windows: 1 of 1 agree\n"


def test_a_disagreement_is_shown_and_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", str(vectors(tmp_path, 3.00001))]) == 1
    assert (
        "windows: 0 of 1 agree\n  case 0: at 1 s expected an average of 3.00001 as from Knative, got 3.0"
        in capsys.readouterr().out
    )


def written(folder: Path, content: Any) -> Path:
    path = folder / "v.json.gz"
    path.write_bytes(gzip.compress(json.dumps(content).encode()))
    return path


STEP = {"t_s": 2, "ready_pods": 1, "stable_value": 3, "panic_value": 3, "excess_burst_capacity": -213}
POD = {"phase": "Running", "ready": True, "started_ago_s": 999, "cpu_usage_milli": 100}
CALL = {
    "current_replicas": 1,
    "target_utilization_percent": 50,
    "cpu_request_milli": 100,
    "tolerance": 0.1,
    "cpu_initialization_period_s": 300,
    "initial_readiness_delay_s": 30,
}
OVER_TIME = {"min_replicas": 1, "max_replicas": 9, "downscale_stabilization_s": 300}


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        pytest.param(
            "decisions",
            {"spec": {"target_value": 1}, "steps": [{**STEP, "desired_pods": 3}]},
            {"spec": {"target_value": 1}, "steps": [{**STEP, "desired_pods": 4}]},
            id="pods",
        ),
        pytest.param(
            "decisions",
            {"spec": {"target_value": 1}, "steps": [{**STEP, "desired_pods": 3}]},
            {"spec": {"target_value": 1}, "steps": [{**STEP, "desired_pods": 3, "excess_burst_capacity": -212}]},
            id="excess burst capacity",
        ),
        pytest.param(
            "recommendations",
            {**CALL, "pods": [POD], "recommended_replicas": 2},
            {**CALL, "pods": [POD], "recommended_replicas": 1},
            id="recommended",
        ),
        pytest.param(
            "recommendations",
            {**CALL, "pods": [], "error": "did not receive metrics for targeted pods (pods might be unready)"},
            {**CALL, "pods": [], "recommended_replicas": 1},
            id="refused",
        ),
        pytest.param(
            "sequences",
            {
                **OVER_TIME,
                "steps": [{"t_s": 0, "current_replicas": 1, "recommended_replicas": 9, "desired_replicas": 4}],
            },
            {
                **OVER_TIME,
                "steps": [{"t_s": 0, "current_replicas": 1, "recommended_replicas": 9, "desired_replicas": 9}],
            },
            id="over time",
        ),
    ],
)
def test_every_kind_of_vector_is_checked_case_by_case(tmp_path: Path, kind: str, right: Any, wrong: Any) -> None:
    assert list(lines(written(tmp_path, {kind: [right]}))) == [(f"{kind}: 1 of 1 agree", True)]
    found = list(lines(written(tmp_path, {kind: [right, wrong]})))
    assert found[0] == (f"{kind}: 1 of 2 agree", False)
    assert found[1][0].startswith("  case 1: ")


def test_only_the_first_disagreements_are_shown(tmp_path: Path) -> None:
    wrong = {**CALL, "pods": [POD], "recommended_replicas": 1}
    found = [line for line, _ in lines(written(tmp_path, {"recommendations": [wrong] * 9}))]
    assert found[0] == "recommendations: 0 of 9 agree"
    assert len(found) == 4


@pytest.mark.parametrize(
    "content",
    [
        {"windows": []},
        {"windows": 5},
        {"windows": [{}]},
        {"windows": [5]},
        {"decisions": [{"spec": {"x": 1}, "steps": []}]},
    ],
    ids=["no case", "not a list", "an empty case", "not an object", "unknown settings"],
)
def test_malformed_vectors_are_refused_in_one_line(
    tmp_path: Path, content: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["conformance", str(written(tmp_path, content))]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "v.json.gz" in printed.err


def test_a_folder_and_a_damaged_file_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = bytearray(vectors(tmp_path, 3.0).read_bytes())
    damaged[12:40] = bytes(28)
    (tmp_path / "damaged").write_bytes(bytes(damaged))
    (tmp_path / "cut").write_bytes(vectors(tmp_path, 3.0).read_bytes()[:40])
    for path in (tmp_path, tmp_path / "damaged", tmp_path / "cut"):
        assert main(["conformance", str(path)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_file_without_vectors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    (tmp_path / "b").write_bytes(gzip.compress(b'{"other": []}'))
    for name in "ab":
        with pytest.raises(ValueError, match=r"must be gzipped JSON|kinds of vectors must be among .*, got other"):
            list(lines(tmp_path / name))
        assert main(["conformance", str(tmp_path / name)]) == 2
    assert main(["conformance", str(tmp_path / "missing")]) == 2


@pytest.mark.parametrize("name", ["kpa.json.gz", "hpa.json.gz"])
def test_every_vector_of_the_real_autoscalers_agrees(shared_dir: Path, name: str) -> None:
    found = list(lines(shared_dir / "conformance" / name))
    assert len(found) == 2
    assert all(agrees for _, agrees in found), found


def test_it_wants_the_pods_that_a_real_knative_wanted_in_a_recorded_run(shared_dir: Path) -> None:
    """From the requests and ready pods of the run it must decide the recorded desired scale, which is at most 40.

    The run does not record when within a second Knative ticked and scraped. Over all possible offsets the mean difference
    is 0.02 to 0.12 pods; wanting one pod more or less throughout would give 1.
    """
    run = json.loads(gzip.decompress((shared_dir / "runs" / "kpa-default.json.gz").read_bytes()))
    concurrency = _concurrency([row[1:3] for row in run["requests"]], 640)
    times_s = np.array([row["t_s"] for row in run["pods"]])
    kpa, decided = Kpa(), []
    for now_s in np.arange(0.1, 630.0, 2.0):
        newest = run["pods"][np.searchsorted(times_s, now_s) - 1]
        past = tuple(Second(index, 0, concurrency[index]) for index in range(max(0, int(now_s) - 60), int(now_s)))
        wanted = kpa.decide(Observation(now_s, newest["ready_pods"], newest["starting_pods"], seconds=past))
        decided.append(min(40, wanted.pods))
    during = [row for row in run["pods"] if 6 < row["t_s"] < 630]
    off = [decided[int((row["t_s"] - 0.1) // 2)] - row["desired_scale"][0] for row in during]
    assert max(row["desired_scale"][0] for row in during) == max(decided) == 40
    assert np.abs(off).mean() < 0.25
    assert abs(np.mean(off)) < 0.1


def _concurrency(spans_s: list[list[float]], seconds_count: int) -> list[float]:
    """Return the mean requests in the system in each second, from the times at which each was sent and done."""
    busy = [0.0] * seconds_count
    for sent_s, done_s in spans_s:
        for second in range(int(sent_s), min(int(done_s), seconds_count - 1) + 1):
            busy[second] += max(0.0, min(done_s, second + 1) - max(sent_s, second))
    return busy
