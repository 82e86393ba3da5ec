"""Validation of runs whose set-up is data: any policy of the registry, and runs that were tampered with."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoscaler_tuning.cli import main
from autoscaler_tuning.policies.base import Bounded, Recorded
from autoscaler_tuning.policies.registry import policy_named
from autoscaler_tuning.simulator.cluster import Cluster
from autoscaler_tuning.simulator.simulate import ControlLoop
from autoscaler_tuning.simulator.world import SimConfig
from autoscaler_tuning.validation.fit import uncontended_s
from autoscaler_tuning.validation.recorded_run import from_record
from autoscaler_tuning.validation.resimulate import ClockAhead
from autoscaler_tuning.validation.run_file import PodsLine, RequestLine, RunRecord, read_run, write_run
from autoscaler_tuning.validation.run_setup import RunSetup, knobs_of
from autoscaler_tuning.validation.several_runs import RepeatSpread, spread, widened
from autoscaler_tuning.validation.validate import Figures, Part, Tolerances

RATES_RPS = [4] * 60 + [24] * 60 + [8] * 120 + [20] * 60


def recorded(policy: str, ahead_s: float = 0.0) -> RunRecord:
    """Return a simulated run from zero pods, sampled twice a second; ahead_s: see ClockAhead."""
    spec = policy_named(policy)
    world = SimConfig(
        service_time_s=0.1,
        service_cv=0.02,
        cold_start_s=(2.9, 3.1),
        start_serial_s=0.2,
        readiness_delay_s=0.1,
        actuation_s=0.1,
        order=spec.order,
    )
    rng = np.random.default_rng(5)
    arrivals_s = np.sort(np.concatenate([at + rng.uniform(0, 1, rate) for at, rate in enumerate(RATES_RPS)]))
    wanted = Recorded(ClockAhead(Bounded(spec.on_knative(), 0, 40), ahead_s))
    loop = ControlLoop(Cluster(world, arrivals_s, rng), wanted, world, 0.3)
    loop.run_until(360.0)
    times_s = np.arange(0, 359, 0.5)
    counts = zip(times_s.tolist(), *(one.tolist() for one in loop.cluster.pods_at(times_s)), strict=True)
    changes_s = [at_s for at_s, _ in wanted.wanted_pods]
    desired = [None, *(pods for _, pods in wanted.wanted_pods)]
    setup = RunSetup(
        policy=policy,
        target="simulated",
        path=("ingress", "activator", "queue-proxy"),
        knobs=knobs_of(spec),
        order=spec.order,
    )
    requests = tuple(
        RequestLine(at_s, at_s, done_s if np.isfinite(done_s) else None, 200 if np.isfinite(done_s) else 503)
        for at_s, done_s in zip(arrivals_s.tolist(), loop.cluster.done_s.tolist(), strict=True)
    )
    pods = tuple(
        PodsLine(at_s, ready, starting, ending, desired[int(np.searchsorted(changes_s, at_s, side="right"))])
        for at_s, ready, starting, ending in counts
    )
    return RunRecord(setup, requests, pods)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "kpa.jsonl.gz"
    write_run(path, recorded("kpa"))
    return path


def validated(folder: Path, record: RunRecord, *flags: str) -> int:
    write_run(folder / "run.jsonl.gz", record)
    return main(["validate", str(folder / "run.jsonl.gz"), "--seeds", "3", *flags])


@pytest.mark.parametrize("policy", ["kpa[window=10]", "elastic"])
def test_a_policy_agrees_with_a_run_of_its_own_that_was_only_sampled(policy: str, tmp_path: Path) -> None:
    assert validated(tmp_path, recorded(policy)) == 0


def test_whether_a_panic_window_of_one_second_is_ever_full_is_fitted(tmp_path: Path) -> None:
    """The autoscaler's clock decides in which of its seconds a report comes: before a tick, or after it."""
    full, empty = recorded("kpa[window=10]"), recorded("kpa[window=10]", ahead_s=0.99)
    pods = [sum(one.ready_pods + one.starting_pods for one in record.pods) for record in (full, empty)]
    assert pods[1] < 0.85 * pods[0]
    assert validated(tmp_path, empty) == 0


def test_another_window_of_kpa_does_not_agree(tmp_path: Path) -> None:
    """The set-up is what is simulated: a run with a window of 10 s is not one with Knative's default."""
    tampered = recorded("kpa[window=10]")
    setup = replace(tampered.setup, policy="kpa", knobs=knobs_of(policy_named("kpa")))
    assert validated(tmp_path, replace(tampered, setup=setup)) == 1


def test_a_run_with_half_of_its_pods_does_not_agree(run: Path, tmp_path: Path) -> None:
    record = read_run(run)
    halved = tuple(one._replace(ready_pods=one.ready_pods // 2) for one in record.pods)
    assert validated(tmp_path, replace(record, pods=halved)) == 1


def test_a_run_whose_late_responses_moved_does_not_agree(run: Path, tmp_path: Path) -> None:
    """Those of the first half are on time, and as many of the second half are late."""
    record = read_run(run)
    late = [one for one in record.requests if one.done_s and one.done_s - one.intended_s > 0.5]
    spared = iter([one for one in record.requests if one.intended_s > 150][: len(late)])
    delayed = {id(one) for one in spared}
    moved = tuple(
        one._replace(done_s=one.intended_s + (1.2 if id(one) in delayed else 0.1))
        if one in late or id(one) in delayed
        else one
        for one in record.requests
    )
    assert validated(tmp_path, replace(record, requests=moved)) == 1


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"policy": "pin-8"}, "cannot simulate the policy 'pin-8' (unknown policy 'pin-8'"),
        ({"knobs": {"window_s": 10.0}}, "cannot simulate the policy 'kpa': window_s must be 60.0 as in this version"),
        ({"knobs": {"gain": 3}}, "gain must be absent as in this version, got 3"),
    ],
    ids=["unknown policy", "other knob", "unknown knob"],
)
def test_a_policy_that_cannot_be_simulated_is_refused_by_name(
    run: Path, tmp_path: Path, changes: dict[str, object], rule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    record = read_run(run)
    other = replace(record, setup=replace(record.setup, **changes))  # type: ignore[arg-type]  # by name
    assert validated(tmp_path, other) == 2
    printed = capsys.readouterr().err
    assert rule in printed
    assert "--policy recorded repeats its decisions" in printed
    assert printed.count("\n") == 1


def test_the_decisions_of_an_unknown_policy_can_be_repeated(run: Path, tmp_path: Path) -> None:
    record = read_run(run)
    unknown = replace(record, setup=replace(record.setup, policy="pin-8"))
    assert validated(tmp_path, unknown, "--policy", "recorded") == 0


def test_decisions_that_did_not_set_the_pods_cannot_be_repeated(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under a pin, min-scale holds 8 pods while Knative's autoscaler wants one."""
    record = read_run(run)
    pinned = tuple(one._replace(ready_pods=8, starting_pods=0, desired_pods=1) for one in record.pods)
    assert validated(tmp_path, replace(record, pods=pinned), "--policy", "recorded") == 2
    assert "must be those that set the pods, within 1 most of the time" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("real", "simulated", "accepted"), [(100, 130, True), (100, 131, False), (4, 8, True), (0, 3, False)]
)
def test_late_requests_may_differ_by_a_share_or_twice_the_root_of_their_number(
    real: int, simulated: int, accepted: bool
) -> None:
    figures = Figures(pod_seconds=10.0, p50_s=0.1, p99_s=0.2, late=real, mean_ready_pods=1.0)
    ours = replace(figures, late=simulated)
    assert (Part("whole", figures, ours, ours, ours, 0.0).misses(Tolerances()) == []) is accepted


def judged(folder: Path, fit_on: RunRecord, *records: RunRecord, flags: tuple[str, ...] = ()) -> int:
    """Fit to one run and judge on others; returns the exit status of the command."""
    write_run(folder / "fit.jsonl.gz", fit_on)
    paths = [folder / f"run-{number}.jsonl.gz" for number in range(len(records))]
    for path, record in zip(paths, records, strict=True):
        write_run(path, record)
    argv = ["validate", *map(str, paths), "--fit-runs", str(folder / "fit.jsonl.gz"), "--seeds", "5", *flags]
    return main(argv)


def test_a_fit_to_one_run_is_judged_on_others_in_one_table(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elastic = recorded("elastic")
    assert judged(tmp_path, read_run(run), elastic, flags=("--markdown", str(tmp_path / "table.md"))) == 0
    printed = capsys.readouterr().out
    name = f"{tmp_path.name}/run-0"
    assert f"fitted to {tmp_path.name}/fit; medians of 5 simulations" in printed
    assert f"{name}: within tolerance" in printed
    assert f"| {name} | elastic |" in (tmp_path / "table.md").read_text()


def test_a_doctored_run_fails_in_the_table_and_is_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = read_run(run)
    halved = tuple(one._replace(ready_pods=one.ready_pods // 2) for one in record.pods)
    assert judged(tmp_path, record, replace(record, pods=halved)) == 1
    assert f"{tmp_path.name}/run-0: judged, 0 to 300 s: pod-seconds must be within 5%" in capsys.readouterr().out


def test_the_order_of_the_queue_is_simulated_as_recorded(run: Path, tmp_path: Path) -> None:
    """In a backlog, first come first served and by deadline differ: a run with the other order is not accepted."""
    burst = recorded("kpa@deadline")
    assert burst.setup.order == "deadline"
    assert judged(tmp_path, read_run(run), burst) == 0
    assert judged(tmp_path, read_run(run), replace(burst, setup=replace(burst.setup, order="fifo"))) == 1


def test_hpa_needs_the_cpu_use_of_a_busy_pod(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = read_run(run)
    setup = replace(
        record.setup, policy="hpa70", knobs=knobs_of(policy_named("hpa70")), path=("ingress", "queue-proxy")
    )
    unknown = replace(record, setup=setup)
    assert judged(tmp_path, record, unknown) == 2
    assert "the CPU use of a busy pod must be known to simulate HPA" in capsys.readouterr().err
    assert judged(tmp_path, record, unknown, flags=("--utilization-percent", "90")) == 1
    assert "CPU use of a busy pod: 90 % of its request, as given" in capsys.readouterr().out
    stated = replace(setup, cpu_per_request_s=0.01, service_time_s=0.1, cpu_request_cores=0.125)
    assert judged(tmp_path, record, replace(record, setup=stated)) == 1
    assert "CPU use of a busy pod: 80 % of its request, as given" in capsys.readouterr().out


def test_several_runs_need_runs_to_fit_to(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(run), str(run)]) == 2
    assert "several runs need --fit-runs, the runs to fit to, got 2 runs" in capsys.readouterr().err


def test_repeated_runs_have_a_spread_and_others_have_none() -> None:
    figures = Figures(pod_seconds=100.0, p50_s=0.1, p99_s=0.2, late=5, mean_ready_pods=1.0)
    other = replace(figures, pod_seconds=103.0, p99_s=0.25, late=9)
    assert spread([figures]) is None
    apart = spread([figures, other])
    assert apart is not None
    assert apart.pod_seconds_ratio == pytest.approx(0.03)
    assert apart.p99_ratio == pytest.approx(0.25)
    assert apart.late == 4


@pytest.mark.parametrize(("ratio", "accepted"), [(0.01, 0.05), (0.03, 0.06), (0.2, 0.08)])
def test_pod_seconds_may_differ_by_twice_the_spread_of_repeated_runs_but_not_by_more_than_8_percent(
    ratio: float, accepted: float
) -> None:
    assert widened(Tolerances(), RepeatSpread(ratio, 0.0, 0)).pod_seconds_ratio == pytest.approx(accepted)


def test_the_decisions_of_kpa_in_shadow_mode_are_not_taken_for_those_that_set_the_pods(run: Path) -> None:
    """On a real Knative, our controller only watches KPA; what it would have wanted is in the record."""
    record = read_run(run)
    setup = replace(record.setup, target="knative", path=("dispatcher", "ingress", "activator", "queue-proxy"))
    assert (from_record(record).desired_pods >= 0).any()
    assert (from_record(replace(record, setup=setup)).desired_pods == -1).all()


def test_service_times_are_fitted_to_requests_sent_while_no_pod_starts() -> None:
    """Pods that start take processor time from those that serve."""
    record = recorded("kpa")
    before = uncontended_s(from_record(record), 0, 300)
    starting_s = {one.t_s for one in record.pods if one.starting_pods}
    slowed = tuple(
        one._replace(done_s=one.done_s + 0.2)
        if one.done_s and any(abs(at - one.intended_s) < 0.3 for at in starting_s)
        else one
        for one in record.requests
    )
    assert uncontended_s(from_record(replace(record, requests=slowed)), 0, 300).mean() == pytest.approx(
        before.mean(), rel=0.02
    )
