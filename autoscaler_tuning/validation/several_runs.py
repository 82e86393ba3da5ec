"""Judges the simulator, fitted to some recorded runs, on other runs, beside the spread between repeated real runs."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from autoscaler_tuning.validation.recorded_run import RecordedError, RecordedRun
from autoscaler_tuning.validation.resimulate import Choices, setup_of_run
from autoscaler_tuning.validation.validate import Figures, Tolerances, Validation, validate_by

# A larger error of the pod-seconds is never accepted, however far apart repeated real runs are.
MOST_POD_SECONDS_RATIO = 0.08


@dataclass(frozen=True, slots=True)
class RepeatSpread:
    """How far repeated real runs of one set-up are apart: largest minus smallest, by the smallest.

    late: the difference, in requests.
    """

    pod_seconds_ratio: float
    p99_ratio: float
    late: int


@dataclass(frozen=True, slots=True)
class JudgedRun:
    """One run beside its simulations; repeats is None if no other run repeats it."""

    name: str
    trace: str
    validation: Validation
    repeats: RepeatSpread | None
    misses: tuple[str, ...]


def judge(
    fit_on: Sequence[RecordedRun], runs: Mapping[str, RecordedRun], choices: Choices, tolerances: Tolerances
) -> list[JudgedRun]:
    """Simulate each run with the settings fitted to other ones; raise RecordedError, which names the run.

    The pod-seconds may differ by twice the spread of repeated runs if that is more than the tolerance.
    """
    found: dict[str, Validation] = {}
    for name, run in runs.items():
        try:
            slo_s = setup_of_run(run).slo_s
            found[name] = validate_by(fit_on, run, choices, replace(tolerances, slo_s=slo_s))
        except RecordedError as error:
            raise error if str(error).startswith(name) else RecordedError(f"{name}: {error}") from error
    groups: dict[Hashable, list[Figures]] = {}
    for name, run in runs.items():
        groups.setdefault(experiment(run), []).append(found[name].parts[-1].real)
    judged = []
    for name, run in runs.items():
        repeats = spread(groups[experiment(run)])
        allowed = tolerances if repeats is None else widened(tolerances, repeats)
        misses = tuple(found[name].misses(allowed))
        judged.append(JudgedRun(name, setup_of_run(run).trace, found[name], repeats, misses))
    return judged


def experiment(run: RecordedRun) -> Hashable:
    """Return what two runs have in common if one repeats the other: policy, path and traffic."""
    setup = setup_of_run(run)
    traffic = (setup.trace, setup.from_s, setup.seconds, setup.scale, setup.seed)
    return (setup.policy, setup.target, setup.path, setup.max_pods, *traffic)


def spread(figures: Sequence[Figures]) -> RepeatSpread | None:
    """Return how far these real runs are apart; None for a single one."""
    if len(figures) < 2:
        return None
    pods, p99_s, late = ([getattr(one, name) for one in figures] for name in ("pod_seconds", "p99_s", "late"))
    return RepeatSpread(max(pods) / min(pods) - 1, max(p99_s) / min(p99_s) - 1, max(late) - min(late))


def widened(tolerances: Tolerances, repeats: RepeatSpread) -> Tolerances:
    """Accept twice the spread of repeated real runs, up to MOST_POD_SECONDS_RATIO, if that is more."""
    accepted = max(tolerances.pod_seconds_ratio, min(MOST_POD_SECONDS_RATIO, 2 * repeats.pod_seconds_ratio))
    return replace(tolerances, pod_seconds_ratio=accepted)
