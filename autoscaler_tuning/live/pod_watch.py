"""Records the pods of a Revision that Knative's own autoscaler scales, in the form of the controller's record."""

import threading
import time
from pathlib import Path
from typing import Self

from autoscaler_tuning.live.recording import PodSecondsMeter, Recorder, counts_by_phase
from autoscaler_tuning.live.targets import TargetState
from autoscaler_tuning.live.troubles import Troubles
from autoscaler_tuning.types import PodPhase, PodSample
from knative.client import KnativeClient
from knative.errors import ClusterError
from knative.objects import REVISIONS

POLL_EVERY_S = 0.25
# The pods that Knative wants are read less often than the pods: its autoscaler decides every two seconds.
WANTED_EVERY_S = 1.0


class PodWatch:
    """Watches a Revision inside a with block, in a thread.

    It writes a line when the pods change and once a second. The wanted pods are those in the Revision's status, which
    Knative's autoscaler desires. A failed read leaves a gap, in which the pods count as unchanged.
    """

    def __init__(self, client: KnativeClient, revision: str, record: Path) -> None:
        self._client, self._revision = client, revision
        self._recorder = Recorder(record)
        self._meter, self._troubles = PodSecondsMeter(), Troubles()
        self._names: set[str] = set()
        self._wanted: int | None = None
        self._wanted_read_s = self._written_s = float("-inf")
        self._written: object = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        """Write the first line, and then watch; raise ClusterError if the pods cannot be read."""
        self.poll(time.monotonic(), time.time())
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopping.set()
        self._thread.join()

    def poll(self, now_s: float, unix_s: float) -> None:
        """Read the pods and write a line if one is due. Raises ClusterError."""
        if now_s - self._wanted_read_s >= WANTED_EVERY_S:
            status = self._client.api.get(REVISIONS, self._revision).get("status") or {}
            self._wanted, self._wanted_read_s = status.get("desiredReplicas"), now_s
        pods = self._client.pods(self._revision)
        self._names |= {pod.name for pod in pods}
        samples = tuple(PodSample(pod.name, PodPhase(pod.phase), pod.created_unix_s) for pod in pods)
        self._meter.account(now_s, TargetState(samples, None, len(self._names)))
        counts = counts_by_phase([sample.phase for sample in samples])
        if (counts, self._wanted) != self._written or now_s - self._written_s >= 1:
            self._written, self._written_s = (counts, self._wanted), now_s
            self._recorder.write(
                {
                    "unix_s": unix_s,
                    **counts,
                    "wanted_pods": self._wanted,
                    "reason": "Knative's autoscaler",
                    "waiting": None,
                    "pod_seconds": self._meter.pod_seconds,
                    "terminating_pod_seconds": self._meter.terminating_pod_seconds,
                    "cold_starts": len(self._names),
                }
            )

    def _run(self) -> None:
        while not self._stopping.wait(POLL_EVERY_S):
            now_s = time.monotonic()
            try:
                self.poll(now_s, time.time())
                self._troubles.worked("reading the pods", now_s)
            except ClusterError as error:
                self._troubles.failed("reading the pods", now_s, error)
