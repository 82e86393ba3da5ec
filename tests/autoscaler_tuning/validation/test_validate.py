"""Recorded runs: reading them, fitting the simulator to one half, and judging it on the other."""

import gzip
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoscaler_tuning.cli import main
from autoscaler_tuning.policies.base import Bounded, Recorded
from autoscaler_tuning.policies.registry import policy_named
from autoscaler_tuning.results import FloatArray
from autoscaler_tuning.simulator.cluster import Cluster
from autoscaler_tuning.simulator.simulate import ControlLoop
from autoscaler_tuning.simulator.world import SimConfig
from autoscaler_tuning.validation.fit import Fit, fit, start_model, starts, termination_s, tick_phase_s, uncontended_s
from autoscaler_tuning.validation.recorded_run import RecordedError, RecordedRun, read_recorded
from autoscaler_tuning.validation.resimulate import Choices, is_direct, named_policy
from autoscaler_tuning.validation.validate import Tolerances, lines, validate
from tests.paths import SHARED

SHARED_RUN = SHARED / "runs/kpa-default.json.gz"
WORLD = SimConfig(
    service_time_s=0.1,
    service_cv=0.02,
    cold_start_s=(2.9, 3.1),
    start_serial_s=0.2,
    readiness_delay_s=0.1,
    actuation_s=0.1,
    initial_pods=1,
)
FIRST_TICK_S = 0.7


def document(run: tuple[FloatArray, FloatArray], samples: list[dict[str, Any]], policy: str = "kpa, defaults") -> Any:
    """Return a recorded run in the format of ../shared/runs."""
    intended_s, done_s = run
    rows = [
        [float(sent_s), float(sent_s), float(np.nan_to_num(end_s)), 200 if np.isfinite(end_s) else 503]
        for sent_s, end_s in zip(intended_s, done_s, strict=True)
    ]
    return {"about": {"policy": policy}, "requests": rows, "pods": samples}


def written(path: Path, content: object) -> Path:
    with gzip.open(path, "wt") as file:
        json.dump(content, file)
    return path


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a simulated run of stock KPA with known settings, recorded with a pod sample every 0.6 s."""
    rng = np.random.default_rng(5)
    rates_rps = [4] * 60 + [24] * 60 + [8] * 120 + [20] * 60
    arrivals_s = np.sort(np.concatenate([at + rng.uniform(0, 1, rate) for at, rate in enumerate(rates_rps)]))
    policy = Recorded(Bounded(policy_named("kpa").on_knative(), 0, 40))
    loop = ControlLoop(Cluster(WORLD, arrivals_s, rng), policy, WORLD, FIRST_TICK_S)
    loop.run_until(360.0)
    times_s = np.arange(-0.4, 359, 0.6)
    ready, starting, terminating = loop.cluster.pods_at(np.maximum(0, times_s))
    changed_s = np.array([at_s for at_s, _ in policy.wanted_pods])
    wanted = [-1, *(pods for _, pods in policy.wanted_pods)]
    samples = [
        {
            "t_s": float(at_s),
            "ready_pods": int(ready[sample]),
            "starting_pods": int(starting[sample]),
            "terminating_pods": int(terminating[sample]),
            "desired_scale": [wanted[int(np.searchsorted(changed_s, at_s, side="right"))]],
        }
        for sample, at_s in enumerate(times_s)
    ]
    folder = tmp_path_factory.mktemp("runs")
    return written(folder / "truth.json.gz", document((arrivals_s, loop.cluster.done_s), samples))


@pytest.fixture
def run(truth: Path) -> RecordedRun:
    return read_recorded(truth)


def test_service_times_come_from_requests_that_did_not_wait(run: RecordedRun) -> None:
    services_s = uncontended_s(run, 0, run.end_s)
    assert len(services_s) > 1000
    assert services_s.mean() == pytest.approx(0.1, abs=0.001)
    latencies_s = run.done_s - run.sent_s
    assert latencies_s.max() > 1 > services_s.max()


def test_start_times_are_fitted_although_samples_are_far_apart(run: RecordedRun) -> None:
    found = fit(run, 0, run.end_s, interval_s=2.0)
    assert found.starts >= 10
    assert found.start_serial_s == pytest.approx(0.2, abs=0.05)
    assert sum(found.cold_start_s) / 2 == pytest.approx(3.0, abs=0.25)


def test_from_exact_times_the_serial_part_is_fitted_exactly() -> None:
    created_s = np.array([0.0, 10.0, 10.0, 10.0, 10.0])
    assert start_model(created_s, np.array([3.5, 13.5, 14.0, 14.5, 15.0]), 0.0) == ((3.0, 3.0), 0.5)


def test_without_a_start_the_simulators_default_applies() -> None:
    assert start_model(np.array([]), np.array([]), 0.6) == (SimConfig().cold_start_s, 0.0)


def test_a_pod_that_replaces_another_between_two_samples_is_a_start(run: RecordedRun) -> None:
    few = replace(
        run,
        times_s=np.array([0.0, 1.0, 2.0, 5.0]),
        desired_pods=np.array([2.0, 2.0, 2.0, 2.0]),
        ready_pods=np.array([2.0, 2.0, 1.0, 2.0]),
        starting_pods=np.array([0.0, 0.0, 1.0, 0.0]),
        terminating_pods=np.array([0.0, 0.0, 1.0, 1.0]),
    )
    created_s, ready_s = starts(few, 0, 10)
    assert (created_s.tolist(), ready_s.tolist()) == ([1.5], [3.5])


def test_the_termination_time_is_fitted(run: RecordedRun) -> None:
    assert termination_s(run, 0, run.end_s) == pytest.approx(30, abs=0.7)


def test_the_phase_of_the_autoscalers_ticks_is_fitted_from_its_changes(run: RecordedRun) -> None:
    phase_s = tick_phase_s(run, 2.0, 0, run.end_s)
    assert phase_s is not None
    assert phase_s == pytest.approx(FIRST_TICK_S, abs=0.25)
    assert tick_phase_s(replace(run, desired_pods=np.full(len(run.times_s), 3.0)), 2.0, 0, 300) is None


def test_too_few_requests_to_fit_service_times_are_refused(run: RecordedRun) -> None:
    with pytest.raises(RecordedError, match=r"at least 20 requests must find a free pod from 0 to 1 s, got \d"):
        fit(run, 0, 1)


def test_fitted_values_are_settings_of_the_simulator() -> None:
    known = {setting.name for setting in fields(SimConfig)}
    fitted = {setting.name for setting in fields(Fit)} - {"starts", "services"}
    assert fitted <= known


def test_the_simulator_agrees_with_a_run_of_its_own_that_was_only_sampled(truth: Path) -> None:
    assert main(["validate", str(truth)]) == 0


def test_repeating_the_recorded_decisions_also_agrees(truth: Path) -> None:
    assert main(["validate", str(truth), "--policy", "recorded"]) == 0


def test_another_part_can_be_fitted(truth: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(truth), "--seeds", "3", "--fit-from-s", "10", "--fit-to-s", "200"]) == 0
    printed = capsys.readouterr().out
    assert [part in printed for part in ("fitted, 10 to 200 s", "judged, 0 to 10 s", "judged, 200 to 300 s")] == [
        True
    ] * 3


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (["--pod-seconds-ratio", "0.00001"], "pod-seconds must be within 0.001%"),
        (["--p99-ratio", "0.00001"], "p99 must be within 0.001%"),
        (["--ready-pods", "0.0001"], "ready pods must be within 0.0001"),
    ],
    ids=str,
)
def test_it_fails_outside_each_tolerance(
    truth: Path, flags: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", str(truth), "--seeds", "3", *flags]) == 1
    printed = capsys.readouterr().out
    assert what in printed[printed.index("outside tolerance: ") :]


def test_a_change_of_service_time_outside_the_fitted_part_is_noticed(truth: Path, tmp_path: Path) -> None:
    """Pods serve half as fast in the half that is not fitted."""
    slower = json.loads(gzip.decompress(truth.read_bytes()))
    for row in slower["requests"]:
        row[2] += 0.1 * (row[0] > 150)
    assert main(["validate", str(written(tmp_path / "slower.json.gz", slower)), "--policy", "recorded"]) == 1


def test_the_report_shows_simulated_beside_real(run: RecordedRun) -> None:
    found = validate(run, Choices(seeds=2), Tolerances())
    text = "\n".join(lines(found, Tolerances()))
    assert [part.name.split(",")[0] for part in found.parts] == ["fitted", "judged", "whole"]
    for word in ("pod-seconds", "p50 s", "p99 s", "late", "ready pods over time", "within tolerance"):
        assert word in text


@pytest.mark.parametrize(
    ("description", "policy"),
    [
        ("kpa, Knative defaults, max-scale 40, containerConcurrency 1", "kpa"),
        ("stock KPA", "kpa"),
        ("KPA with a window of 10 s", "recorded"),
        ("hpa at 70 % CPU", "hpa70"),
        ("HPA, target 50 % of the CPU request", "hpa50"),
        ("hpa90", "hpa90"),
        ("pins min = max on the live Revision (KPA decides nothing)", "recorded"),
        ("elastic", "recorded"),
        ("", "recorded"),
    ],
)
def test_the_policy_is_taken_from_the_runs_description(run: RecordedRun, description: str, policy: str) -> None:
    assert named_policy(replace(run, about={"policy": description})) == policy


@pytest.mark.parametrize(
    ("about", "direct"),
    [
        ({"path": "Kourier, activator, queue-proxy; no dispatcher"}, False),
        ({"path": "Kourier, queue-proxy; no activator, no dispatcher"}, True),
        ({"path": "dispatcher, Kourier, queue-proxy"}, False),
        ({"policy": "hpa 70"}, True),
        ({"policy": "kpa"}, False),
    ],
)
def test_the_request_path_is_taken_from_the_runs_description(
    run: RecordedRun, about: dict[str, str], direct: bool
) -> None:
    assert is_direct(replace(run, about=about)) is direct


def test_fit_writes_settings_that_the_simulator_accepts(truth: Path, tmp_path: Path) -> None:
    out = tmp_path / "world.json"
    assert main(["fit", str(truth), "--json", str(out)]) == 0
    settings = json.loads(out.read_text())
    read: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in settings.items()}
    config = SimConfig(**read)
    assert config.service_time_s == pytest.approx(0.1, abs=0.001)


SAMPLE = {"t_s": 0.0, "ready_pods": 1, "starting_pods": 0, "terminating_pods": 0}


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ([], "AttributeError"),
        ({}, "KeyError"),
        ({"requests": [], "pods": []}, "requests must be rows of 4 numbers, got an array of shape"),
        ({"requests": [[1, 2]], "pods": []}, "requests must be rows of 4 numbers, got an array of shape"),
        (
            {"requests": [[float("nan"), 1, 2, 200]], "pods": [SAMPLE]},
            "must be finite, sent_s at least 0, got nan and 1",
        ),
        (
            {"requests": [[1, 1, 2, 200]], "pods": [SAMPLE] * 5},
            "pods must be at least 4 samples in ascending order of t_s, got 5 samples",
        ),
        ({"requests": [[1, 1, 2, 200]], "requests_columns": ["x"], "pods": []}, "requests_columns must be"),
        ({"requests": [["a", 1, 2, 200]], "pods": []}, "ValueError"),
    ],
    ids=["a list", "empty", "no requests", "short rows", "nan", "not ascending", "other columns", "words"],
)
def test_a_file_without_a_recorded_run_is_refused_in_one_line(
    content: object, rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", str(written(tmp_path / "bad.json.gz", content))]) == 2
    printed = capsys.readouterr().err
    assert rule in printed
    assert printed.count("\n") == 1


def test_a_file_that_is_missing_or_not_gzipped_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("4 4 4")
    assert main(["validate", str(tmp_path / "text")]) == 2
    assert main(["fit", str(tmp_path / "nothing")]) == 2


@pytest.mark.parametrize(
    "flags",
    [
        ["--policy", "vpa"],
        ["--seeds", "0"],
        ["--p99-ratio", "nan"],
        ["--fit-from-s", "9", "--fit-to-s", "8"],
        ["--slo-s", "-1"],
    ],
    ids=str,
)
def test_invalid_flags_are_refused(truth: Path, flags: list[str]) -> None:
    try:
        status = main(["validate", str(truth), *flags])
    except SystemExit as refused:
        status = int(refused.code or 0)
    assert status == 2


@pytest.mark.skipif(not SHARED_RUN.exists(), reason="needs ../shared/runs/kpa-default.json.gz, a run on a real Knative")
def test_the_simulator_agrees_with_a_real_knative() -> None:
    assert main(["validate", str(SHARED_RUN)]) == 0
