"""Live comparisons: the order of the runs, their arrivals, what makes one invalid, and how an interrupt ends them."""

import argparse
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoscaler_tuning.cli import build_parser
from autoscaler_tuning.commands.live_comparison import judged, live_runs, stopping_once
from autoscaler_tuning.experiments.compare import Comparison
from autoscaler_tuning.live.live_run import LiveConfig
from autoscaler_tuning.live.replay import Show, pods_text
from autoscaler_tuning.policies.registry import PolicySpec
from autoscaler_tuning.results import Cost, LiveFacts, PolicyRun, summarise
from autoscaler_tuning.simulator.world import SimConfig

COMPARISON = Comparison((5,) * 10, SimConfig(), bounds=())


def made(policy: str, run: int = 0, starts_s: tuple[float, ...] = ()) -> PolicyRun:
    row = summarise(policy, "local", np.arange(10.0), np.arange(10.0) + 0.1, 0.5, Cost(10.0, 0.0, 1))
    return PolicyRun(
        replace(row, seed=run), np.arange(10.0), np.arange(10.0) + 0.1, (), live=LiveFacts(starts_s=starts_s)
    )


class Runner:
    """Stands for the pods: it notes what is run."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, int, int]] = []

    def __call__(self, spec: PolicySpec, config: LiveConfig, show: Show) -> tuple[PolicyRun, float]:
        self.ran.append((spec.name, config.run, config.seed))
        show("  10 s  late 0 of 50")
        return made(spec.name, config.run), 0.0


def arguments(*flags: str) -> argparse.Namespace:
    argv = ["compare", "--target", "local", "--policies", "kpa,elastic", "--seeds", "2", *flags]
    return build_parser({}).parse_args(argv)


def test_the_policies_run_in_turn_on_the_same_arrivals_and_are_reported_by_policy() -> None:
    runner = Runner()
    runs = live_runs(arguments(), COMPARISON, lambda text: None, runner)
    assert runner.ran == [("kpa", 0, 0), ("elastic", 0, 0), ("kpa", 1, 0), ("elastic", 1, 0)]
    assert [(run.row.policy, run.row.seed) for run in runs] == [("kpa", 0), ("kpa", 1), ("elastic", 0), ("elastic", 1)]


def test_arrivals_differ_between_runs_only_by_wish() -> None:
    runner = Runner()
    live_runs(arguments("--vary-arrivals"), COMPARISON, lambda text: None, runner)
    assert [seed for _, _, seed in runner.ran] == [0, 0, 1, 1]


def test_progress_names_policy_and_run_and_ends_with_the_outcome() -> None:
    shown: list[str] = []
    live_runs(arguments(), COMPARISON, shown.append, Runner())
    assert shown[1] == "kpa, run 1 of 2:   10 s  late 0 of 50"
    assert shown[2] == "kpa, run 1 of 2: 0 of 10 late, 0 lost, 10 pod-seconds"


def test_the_nominal_start_is_the_given_one_or_that_of_undisturbed_pods() -> None:
    runs = [made("kpa", starts_s=(3.0, 3.2)), made("elastic", starts_s=(7.0, 8.0))]
    assert [bool(run.row.notes) for run in judged(runs, None)] == [False, True]
    assert [bool(run.row.notes) for run in judged(runs, 4.0)] == [False, False]
    assert not judged([made("kpa")], None)[0].row.notes


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_interrupts_and_a_second_one_does_not_disturb_the_restoring(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    shown: list[str] = []
    restored: list[str] = []

    def interrupted() -> None:
        with stopping_once(shown.append):
            try:
                os.kill(os.getpid(), number)
            finally:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGTERM)
                restored.append("knobs")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert restored == ["knobs"]
    assert "being restored" in shown[0]
    assert signal.getsignal(number) is before


def test_the_line_of_progress_has_the_pods_of_the_record(tmp_path: Path) -> None:
    record = tmp_path / "r.jsonl"
    assert pods_text(record) == "pods unknown"
    record.write_text('{"unix_s": 0, "ready": 1}\n{"unix_s": 1e12, "ready": 3, "starting": 2, "terminating": 1}\n')
    assert pods_text(record) == "3 pods ready, 2 starting, 1 terminating"


def test_a_missing_run_to_predict_from_is_refused_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        arguments("--predict-from", "/no/such/run.jsonl")
    assert "must be recorded runs separated by commas, got no file '/no/such/run.jsonl'" in capsys.readouterr().err
