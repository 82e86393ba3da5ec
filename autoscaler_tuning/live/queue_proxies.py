"""Reads the queue-proxies of ready pods once a second, in a thread, because a pod that does not answer takes time."""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence

import urllib3
from prometheus_client import CollectorRegistry, Gauge

from autoscaler_tuning.live.route_traffic import PodTraffic, RouteTraffic, parse_stat
from autoscaler_tuning.live.signals import Signals
from autoscaler_tuning.live.sources import AnnouncedCapacity, SignalSource
from autoscaler_tuning.live.troubles import Troubles

EVERY_S, TIMEOUT_S = 1.0, 0.5
# Of more pods than this a random sample is read, as Knative's own autoscaler does.
MOST_PODS = 10
# Longest time after which pods that cannot be reached are tried again: a controller outside the cluster never reaches
# them.
PAUSE_S = 30.0
UNMEASURED = "demand that goes around the dispatchers is not measured"

log = logging.getLogger(__name__)


class QueueProxies:
    """Returns what the pods' queue-proxies report, as a sum over all ready pods."""

    def __init__(self, addresses: Callable[[], Sequence[str]]) -> None:
        """addresses: returns those of the ready pods' queue-proxies."""
        self._addresses = addresses
        self._pool = urllib3.PoolManager(num_pools=2 * MOST_PODS, timeout=TIMEOUT_S, retries=False)
        self._troubles = Troubles()
        self._lock = threading.Lock()
        self._new: PodTraffic | None = None

    def start(self) -> None:
        """Read in a thread that ends with the process."""
        threading.Thread(target=self._run, daemon=True).start()

    def take(self) -> PodTraffic | None:
        """Return the last reading; None if there is none since the last call."""
        with self._lock:
            taken, self._new = self._new, None
        return taken

    def read(self) -> bool:
        """Read the pods once; return whether one answered, or there is none."""
        addresses = list(self._addresses())
        asked = random.sample(addresses, min(MOST_PODS, len(addresses)))
        answers: list[PodTraffic] = []
        error: Exception | None = None
        for address in asked:
            try:
                answers.append(parse_stat(self._pool.request("GET", f"{address}/metrics").data))
            except (urllib3.exceptions.HTTPError, ValueError) as one:  # a pod that has just ended, if it is one of many
                error = one
        if asked and not answers:
            self._troubles.failed(UNMEASURED, time.monotonic(), f"{error}")
            return False
        self._troubles.worked(UNMEASURED, time.monotonic())
        scale = len(addresses) / max(1, len(answers))
        concurrency, rate_rps = sum(one.concurrency for one in answers), sum(one.rate_rps for one in answers)
        with self._lock:
            self._new = PodTraffic(scale * concurrency, scale * rate_rps)
        return True

    def _run(self) -> None:
        pause_s = EVERY_S
        while True:
            time.sleep(pause_s)
            pause_s = next_pause_s(pause_s, self.read())


def next_pause_s(pause_s: float, answered: bool) -> float:
    """Return the time until the next reading; a single failure may be that of a pod that has just ended."""
    return EVERY_S if answered else min(2 * pause_s, PAUSE_S)


class WithRouteTraffic:
    """A source whose signals contain what reached the pods without a dispatcher."""

    def __init__(self, inner: SignalSource, proxies: QueueProxies, registry: CollectorRegistry) -> None:
        self._inner, self._proxies = inner, proxies
        self._traffic = RouteTraffic()
        about = "Requests a second that reach the pods without a dispatcher, an estimate"
        self._rate_rps = Gauge("autoscaler_route_requests_per_second", about, registry=registry)

    def signals(self) -> Signals:
        """Return the source's signals and the other traffic. Raises ScrapeError."""
        signals = self._inner.signals()
        before_rps = self._traffic.rate_rps
        self._traffic.observe(signals, self._proxies.take())
        self._rate_rps.set(self._traffic.rate_rps)
        if bool(before_rps) != bool(self._traffic.rate_rps):
            log.info("%.1f requests/s reach the pods without a dispatcher", self._traffic.rate_rps)
        return self._traffic.added_to(signals)

    def announce(self, capacity: AnnouncedCapacity, valid_s: float) -> None:
        """Announce to the source. Raises ScrapeError."""
        self._inner.announce(capacity, valid_s)
