"""Pods as processes of this machine: what Knative does for a Revision, without a cluster.

Start, readiness, drain, stop, replacement with back-off; zero to many. Nothing here runs by itself: the owner calls
poll() in a loop. The kernel kills the pods when the *thread* that started them ends, so call scale_to() and poll()
from the main thread, or one that lives as long.
"""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from knative.backoff import Backoff
from knative.errors import LocalPodsError
from knative.objects import Phase
from knative.ports import free_port
from knative.probe import ReadinessProbe
from knative.process import PodProcess, check_platform
from knative.procfs import ProcessUsage, tree_usage

USAGE_EVERY_S = 1.0
KILL_WAIT_S = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LocalPodSpec:
    """What every pod runs.

    argv: the program; its environment says where to listen, HOST and PORT, and its name, POD_NAME.
    env: added to this process's environment.
    drain_delay_s: from `terminating` to SIGTERM, for whoever sends requests to hear of it first.
    grace_s: from SIGTERM to SIGKILL.
    start_timeout_s: a pod that is not ready by then is killed and counts as died.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    readiness_path: str = "/health/readiness"
    drain_delay_s: float = 0.3
    grace_s: float = 20
    start_timeout_s: float = 60

    def __post_init__(self) -> None:
        if not self.argv:
            raise LocalPodsError("argv must name a program, was empty")
        if not self.readiness_path.startswith("/"):
            raise LocalPodsError(f"readiness_path must begin with /, was {self.readiness_path!r}")
        for name in ("drain_delay_s", "grace_s", "start_timeout_s"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise LocalPodsError(f"{name} must be finite and not negative, was {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class LocalPod:
    """One pod, as poll() last saw it; times are of time.monotonic(). Usage is None until first measured."""

    name: str
    url: str
    phase: Phase
    pid: int
    started_s: float
    ready_s: float | None
    cpu_seconds: float | None
    resident_bytes: int | None


@dataclass(frozen=True, slots=True)
class LocalStatus:
    """All pods, oldest first, and how many were started and died unasked since the beginning."""

    pods: tuple[LocalPod, ...]
    started: int
    died: int


class _Pod:
    """What LocalPods remembers of one pod."""

    def __init__(self, name: str, port: int, process: PodProcess, probe: ReadinessProbe, now_s: float) -> None:
        self.name, self.port, self.process, self.probe = name, port, process, probe
        self.phase: Phase = "starting"
        self.started_s = now_s
        self.ready_s: float | None = None
        self.term_s = self.kill_s = float("inf")
        self.usage: ProcessUsage | None = None
        self.usage_due_s = now_s

    def view(self) -> LocalPod:
        cpu_seconds = self.usage.cpu_seconds if self.usage else None
        resident_bytes = self.usage.resident_bytes if self.usage else None
        url = f"http://127.0.0.1:{self.port}"
        return LocalPod(
            self.name, url, self.phase, self.process.pid, self.started_s, self.ready_s, cpu_seconds, resident_bytes
        )


class LocalPods:
    """0 to max_pods pods; starts none until scale_to().

    log_dir: where each pod's output goes, as NAME.log; None keeps it only for the message when the pod dies.
    """

    def __init__(
        self,
        spec: LocalPodSpec,
        max_pods: int = 8,
        log_dir: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_pods < 1:
            raise LocalPodsError(f"max_pods must be at least 1, was {max_pods}")
        check_platform()
        self._spec, self._max_pods, self._log_dir, self._clock = spec, max_pods, log_dir, clock
        self._pods: list[_Pod] = []
        self._wanted = 0
        self._backoff = Backoff()
        self._serial = count(1)
        self._started = self._died = 0
        self._closed = False

    def scale_to(self, pods: int) -> None:
        """Want so many pods, not counting terminating ones; missing ones start at once."""
        if not 0 <= pods <= self._max_pods:
            raise LocalPodsError(f"0 <= pods <= max_pods: got {pods} with max_pods {self._max_pods}")
        if self._closed:
            raise LocalPodsError("these pods are closed")
        self._wanted = pods
        self._match_wanted(self._clock())

    def poll(self) -> LocalStatus:
        """Move all pods along and tell how they are; never waits. To be called every 50 ms or so."""
        now_s = self._clock()
        for pod in list(self._pods):
            self._advance(pod, now_s)
        self._match_wanted(now_s)
        return LocalStatus(tuple(pod.view() for pod in self._pods), self._started, self._died)

    def close(self, deadline_s: float = 10) -> None:
        """Drain and stop all pods; what still runs after deadline_s is killed. Nothing is left when this returns."""
        self._closed = True
        self._wanted = 0
        end_s = time.monotonic() + deadline_s  # it sleeps, so whatever the clock says, this is real time
        try:
            while self.poll().pods and time.monotonic() < end_s:
                time.sleep(0.02)
        finally:
            self._kill_all()

    def _match_wanted(self, now_s: float) -> None:
        phases = [pod.phase for pod in self._pods]
        for index in to_stop(phases, self._wanted):
            self._drain(self._pods[index], now_s)
        missing = self._wanted - sum(phase != "terminating" for phase in phases)
        for _ in range(missing):
            if now_s >= self._backoff.next_start_s:
                self._start(now_s)

    def _start(self, now_s: float) -> None:
        name = f"pod-{next(self._serial)}"
        port = free_port(taken={pod.port for pod in self._pods})
        env = {**os.environ, **self._spec.env, "HOST": "127.0.0.1", "PORT": str(port), "POD_NAME": name}
        log_file = self._log_dir / f"{name}.log" if self._log_dir else None
        try:
            process = PodProcess(self._spec.argv, env, log_file)
        except OSError as error:
            self._backoff = self._backoff.died(now_s, started_s=now_s, ready_s=None)
            log.error("%s cannot be started: %s", name, error)
            return
        self._pods.append(_Pod(name, port, process, ReadinessProbe(port, self._spec.readiness_path, name), now_s))
        self._started += 1
        log.info("%s starts on port %d, pid %d", name, port, process.pid)

    def _drain(self, pod: _Pod, now_s: float) -> None:
        # nobody sends to a pod that never was ready
        delay_s = self._spec.drain_delay_s if pod.phase == "ready" else 0.0
        pod.phase = "terminating"
        pod.probe.close()
        pod.term_s = now_s + delay_s
        pod.kill_s = pod.term_s + self._spec.grace_s

    def _advance(self, pod: _Pod, now_s: float) -> None:
        status = pod.process.reap()
        if status is not None:
            self._ended(pod, status, now_s)
            return
        if pod.phase == "starting":
            self._await_ready(pod, now_s)
        elif pod.phase == "ready" and pod.ready_s is not None:
            self._backoff = self._backoff.settled(now_s, pod.started_s, pod.ready_s)
        if now_s >= pod.kill_s:
            log.warning("%s did not end within %g s of SIGTERM: killed", pod.name, self._spec.grace_s)
            pod.process.kill()
            pod.kill_s = float("inf")
        if now_s >= pod.term_s:
            pod.process.terminate()
            pod.term_s = float("inf")
        if now_s >= pod.usage_due_s:
            pod.usage = tree_usage(pod.process.pid) or pod.usage
            pod.usage_due_s = now_s + USAGE_EVERY_S

    def _await_ready(self, pod: _Pod, now_s: float) -> None:
        if pod.probe.step(now_s):
            pod.phase, pod.ready_s = "ready", now_s
            log.info("%s is ready after %.2f s", pod.name, now_s - pod.started_s)
        elif now_s - pod.started_s >= self._spec.start_timeout_s:
            log.error("%s is not ready after %g s: killed", pod.name, self._spec.start_timeout_s)
            pod.process.kill()

    def _ended(self, pod: _Pod, status: int, now_s: float) -> None:
        """The process is gone: as asked, or a death to be counted and told."""
        if pod.phase != "terminating":
            self._died += 1
            self._backoff = self._backoff.died(now_s, pod.started_s, pod.ready_s)
            wait_s = max(0.0, self._backoff.next_start_s - now_s)
            output = pod.process.log_tail() or "(no output)"
            how = f"signal {-status}" if status < 0 else f"exit status {status}"
            log.error(
                "%s died while %s (%s); next start in %.0f s; its last lines:\n%s",
                pod.name,
                pod.phase,
                how,
                wait_s,
                output,
            )
        self._forget(pod)

    def _forget(self, pod: _Pod) -> None:
        pod.probe.close()
        pod.process.close()
        self._pods.remove(pod)

    def _kill_all(self) -> None:
        """A killed process is gone in a moment, unless the kernel itself hangs on its behalf: then it is only told."""
        for pod in self._pods:
            pod.process.kill()
        end_s = time.monotonic() + KILL_WAIT_S
        for pod in list(self._pods):
            while pod.process.reap() is None and time.monotonic() < end_s:
                time.sleep(0.001)
            if pod.process.reap() is None:
                log.error("%s, pid %d, does not end even when killed", pod.name, pod.process.pid)
            self._forget(pod)


def to_stop(phases: Sequence[Phase], wanted: int) -> list[int]:
    """Which pods to stop, given their phases oldest first: starting ones before ready ones, newest before oldest."""
    newest_first = range(len(phases) - 1, -1, -1)
    order = [i for phase in ("starting", "ready") for i in newest_first if phases[i] == phase]
    return order[: max(0, len(order) - wanted)]
