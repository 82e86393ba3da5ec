"""What a controller exports: metrics, a record as JSON lines, and the integral of its pods over time."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from prometheus_client import CollectorRegistry, Counter, Gauge

from autoscaler_tuning.live.targets import TargetState
from autoscaler_tuning.policies.start_times import NewlyReady
from autoscaler_tuning.types import Decision, PodPhase, PodSample


class RecordError(Exception):
    """The file of the record cannot be written."""


class Recorder:
    """Writes one JSON line for each second and each decision; the report's plots are drawn from them."""

    def __init__(self, path: Path | None) -> None:
        """Create the file. Raises RecordError."""
        try:
            self._file: IO[str] | None = path.open("w", buffering=1, encoding="utf-8") if path else None
        except OSError as error:
            raise RecordError(f"cannot write the record to {path}: {error.strerror}") from error
        self._newly_ready = NewlyReady()

    def write(self, line: dict[str, object], pods: Sequence[PodSample] = (), unix_offset_s: float = 0.0) -> None:
        """Write one line, with the starts of the pods that have become ready since the last one.

        unix_offset_s: from the clock of the pods to Unix time. Raises OSError, for example if the disk is full.
        """
        if self._file:
            starts = [
                {
                    "pod": pod.name,
                    "created_unix_s": pod.started_s + unix_offset_s,
                    "ready_unix_s": ready_s + unix_offset_s,
                }
                for pod, ready_s in self._newly_ready.update(pods)
            ]
            self._file.write(json.dumps({**line, "starts": starts}) + "\n")


class ControllerMetrics:
    """The metrics that the controller exports in the caller's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.wanted = Gauge("autoscaler_wanted_pods", "Pods that the policy wants", ["policy"], registry=registry)
        self.pods = Gauge("autoscaler_pods", "Pods by phase", ["phase"], registry=registry)
        self.decisions = Counter("autoscaler_decisions", "Decisions that changed the pods wanted", registry=registry)
        about = "Figures behind the last decision"
        self.figures = Gauge("autoscaler_figure", about, ["policy", "name"], registry=registry)
        self.failures = Counter("autoscaler_failed_ticks", "Ticks that failed, by step", ["step"], registry=registry)
        for step in ("step", "signals", "capacity"):  # a counter that begins with its first event hides it from rate()
            self.failures.labels(step)
        about = "Whether the capacity of the pods is announced (1) or not (0)"
        self.announcing = Gauge("autoscaler_announcing", about, registry=registry)
        about = "1 for the reason why pods cannot start at the moment"
        self.problem = Gauge("autoscaler_start_problem", about, ["reason"], registry=registry)
        about = "Unix time of the last control step that worked, to about a second"
        self.stepped = Gauge("autoscaler_last_step_timestamp_seconds", about, registry=registry)

    def export(self, policy: str, decision: Decision, counts: dict[str, int], problem: str | None) -> None:
        """Set the gauges; the reason of a problem is its first word, as in `ImagePullBackOff: ...`."""
        for phase, pods in counts.items():
            self.pods.labels(phase).set(pods)
        self.wanted.labels(policy).set(decision.pods)
        self.stepped.set_to_current_time()
        for name, value in decision.record.items():
            self.figures.labels(policy, name).set(value)
        self.problem.clear()
        if problem:
            self.problem.labels(problem.partition(":")[0]).set(1)


@dataclass(slots=True)
class PodSecondsMeter:
    """Integrates the number of pods over time."""

    updated_s: float | None = None
    pod_seconds: float = 0.0
    terminating_pod_seconds: float = 0.0

    def account(self, now_s: float, state: TargetState) -> None:
        """Add the time since the last call, a few hundredths of a second, multiplied by the current number of pods."""
        if self.updated_s is not None:
            elapsed_s = now_s - self.updated_s
            terminating = sum(1 for pod in state.pods if pod.phase is PodPhase.TERMINATING)
            self.pod_seconds += (len(state.pods) - terminating) * elapsed_s
            self.terminating_pod_seconds += terminating * elapsed_s
        self.updated_s = now_s


def counts_by_phase(phases: Sequence[PodPhase]) -> dict[str, int]:
    """Return the number of pods in each phase."""
    return {phase.value: phases.count(phase) for phase in PodPhase}
