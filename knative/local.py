"""Pods as processes on this machine: what Knative does for a Revision, without a cluster.

Pods are started, probed, drained, stopped, and replaced with back-off. There is no background thread: the owner calls
poll() in a loop. The kernel kills the pods when the *thread* that started them ends, so scale_to() and poll() must be
called from the main thread or one that lives as long.
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
    """The program that every pod runs, and its timeouts.

    argv: the program; the environment variables HOST, PORT and POD_NAME give it its address and name.
    env: added to this process's environment.
    drain_delay_s: time from `terminating` to SIGTERM, so that senders of requests can notice first.
    grace_s: time from SIGTERM to SIGKILL.
    start_timeout_s: a pod that is not ready in this time is killed and counts as died.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    readiness_path: str = "/health/readiness"
    drain_delay_s: float = 0.3
    grace_s: float = 20
    start_timeout_s: float = 60

    def __post_init__(self) -> None:
        if not self.argv:
            raise LocalPodsError("argv must name a program, got ()")
        if not self.readiness_path.startswith("/"):
            raise LocalPodsError(f"readiness_path must begin with /, got {self.readiness_path!r}")
        for name in ("drain_delay_s", "grace_s", "start_timeout_s"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise LocalPodsError(f"{name} must be finite and at least 0, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class LocalPod:
    """One pod at the last poll(); times are of time.monotonic(), and usage is None until first measured."""

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
    """All pods, oldest first, and the total numbers of pods that were started and that died."""

    pods: tuple[LocalPod, ...]
    started: int
    died: int


class _Pod:
    """The state of one pod in LocalPods."""

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
    """Runs 0 to max_pods pods; the first ones start with scale_to().

    log_dir: folder for each pod's output, NAME.log; None keeps the output only for the message if the pod dies.
    """

    def __init__(
        self,
        spec: LocalPodSpec,
        max_pods: int = 8,
        log_dir: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_pods < 1:
            raise LocalPodsError(f"max_pods must be at least 1, got {max_pods}")
        check_platform()
        self._spec, self._max_pods, self._log_dir, self._clock = spec, max_pods, log_dir, clock
        self._pods: list[_Pod] = []
        self._wanted = 0
        self._backoff = Backoff()
        self._serial = count(1)
        self._started = self._died = 0
        self._closed = False

    def scale_to(self, pods: int) -> None:
        """Set the wanted number of pods, terminating ones not counted; missing pods start at once."""
        if not 0 <= pods <= self._max_pods:
            raise LocalPodsError(f"pods must be from 0 to max_pods, {self._max_pods}, got {pods}")
        if self._closed:
            raise LocalPodsError("cannot scale: close() was called")
        self._wanted = pods
        self._match_wanted(self._clock())

    def poll(self) -> LocalStatus:
        """Advance all pods and return their status; never blocks. Call it about every 50 ms."""
        now_s = self._clock()
        for pod in list(self._pods):
            self._advance(pod, now_s)
        self._match_wanted(now_s)
        return LocalStatus(tuple(pod.view() for pod in self._pods), self._started, self._died)

    def close(self, deadline_s: float = 10) -> None:
        """Drain and stop all pods, kill those that still run after deadline_s, and return once none is left."""
        self._closed = True
        self._wanted = 0
        end_s = time.monotonic() + deadline_s  # real time even with another clock, because this sleeps
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
            log.error("cannot start %s: %s", name, error)
            return
        self._pods.append(_Pod(name, port, process, ReadinessProbe(port, self._spec.readiness_path, name), now_s))
        self._started += 1
        log.info("%s is starting on port %d, pid %d", name, port, process.pid)

    def _drain(self, pod: _Pod, now_s: float) -> None:
        # a pod that was never ready receives no requests
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
            log.warning("%s did not exit within %g s of SIGTERM: killed", pod.name, self._spec.grace_s)
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
            log.info("%s ready after %.2f s", pod.name, now_s - pod.started_s)
        elif now_s - pod.started_s >= self._spec.start_timeout_s:
            log.error("%s not ready after %g s: killed", pod.name, self._spec.start_timeout_s)
            pod.process.kill()

    def _ended(self, pod: _Pod, status: int, now_s: float) -> None:
        """Handle the exit of a pod's process; unless the pod was terminating, it died, which is counted and logged."""
        if pod.phase != "terminating":
            self._died += 1
            self._backoff = self._backoff.died(now_s, pod.started_s, pod.ready_s)
            wait_s = max(0.0, self._backoff.next_start_s - now_s)
            output = pod.process.log_tail() or "(no output)"
            how = f"signal {-status}" if status < 0 else f"exit status {status}"
            log.error(
                "%s died while %s (%s); next start in %.0f s; last lines of its output:\n%s",
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
        """Kill all pods and wait until they are gone, except for any that hang in the kernel: those are only logged."""
        for pod in self._pods:
            pod.process.kill()
        end_s = time.monotonic() + KILL_WAIT_S
        for pod in list(self._pods):
            while pod.process.reap() is None and time.monotonic() < end_s:
                time.sleep(0.001)
            if pod.process.reap() is None:
                log.error("%s, pid %d, still exists after SIGKILL", pod.name, pod.process.pid)
            self._forget(pod)


def to_stop(phases: Sequence[Phase], wanted: int) -> list[int]:
    """Return which pods to stop, given their phases oldest first: starting before ready, newest before oldest."""
    newest_first = range(len(phases) - 1, -1, -1)
    order = [i for phase in ("starting", "ready") for i in newest_first if phases[i] == phase]
    return order[: max(0, len(order) - wanted)]
