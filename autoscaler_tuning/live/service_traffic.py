"""The traffic of a running Service, from its dispatchers, from its queue-proxies or from Prometheus."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import requests

from autoscaler_tuning.live.direct import direct_session
from autoscaler_tuning.live.route_traffic import (
    AVERAGE_CONCURRENT_REQUESTS,
    PROCESS_UPTIME,
    REQUEST_COUNT,
    stat_values,
)
from autoscaler_tuning.live.signals import ScrapeError, parse_signals
from knative.client import KnativeClient
from knative.errors import ClusterError
from knative.objects import SERVICE_LABEL, Pod, living_pods

# Dispatchers keep two minutes of whole seconds.
DISPATCHER_EVERY_S = 60.0
# queue-proxy reports once a second.
PROXY_EVERY_S = 0.5
PROXY_PORT = 9090
PODS_EVERY_S = 2.0
MOST_SAMPLES = 11_000

Show = Callable[[str], None]


class TrafficError(Exception):
    """The traffic cannot be read, or there is none; the message states the rule and the value."""


@dataclass(frozen=True, slots=True)
class SeenTraffic:
    """What was seen of a Service's traffic.

    counts: requests in each second.
    step_s: how finely they were seen; within a step they are spread at random.
    service_time_s, start_s: mean service time and the range of pod starts, if they were seen; else None.
    """

    counts: tuple[int, ...]
    source: str
    step_s: float = 1.0
    service_time_s: float | None = None
    start_s: tuple[float, float] | None = None


def from_dispatchers(
    urls: Sequence[str], key: str | None, minutes: float, show: Show, clock: Callable[[], float] = time.monotonic
) -> SeenTraffic:
    """Return the arrivals at the dispatchers over some minutes, of which the past two are there at once.

    Raises TrafficError.
    """
    session = direct_session()
    if key is not None:
        session.headers["Authorization"] = f"Bearer {key}"
    seen: list[dict[int, int]] = [{} for _ in urls]
    service_s: list[float] = []
    end_s = clock() + max(0.0, 60 * minutes - 2 * DISPATCHER_EVERY_S)
    while True:
        for url, seconds in zip(urls, seen, strict=True):
            signals = _signals(session, url)
            if seconds and signals.seconds and signals.seconds[-1].index < max(seconds):
                raise TrafficError(f"{url} restarted while its arrivals were read; ask again")
            seconds.update((second.index, second.arrivals) for second in signals.seconds)
            service_s += [] if signals.service_time_s is None else [signals.service_time_s]
        left_s = end_s - clock()
        if left_s <= 0:
            break
        show(f"reading the dispatchers: {left_s:.0f} s left")
        time.sleep(min(DISPATCHER_EVERY_S, left_s))
    counts = _summed(seen)
    mean_s = float(np.median(service_s)) if service_s else None
    return SeenTraffic(counts, f"{len(urls)} dispatcher(s)", service_time_s=mean_s)


def _signals(session: requests.Session, url: str) -> Any:
    try:
        response = session.get(f"{url.rstrip('/')}/signals", timeout=5)
        response.raise_for_status()
        return parse_signals(response.json())
    except (requests.RequestException, ValueError, ScrapeError) as error:
        raise TrafficError(f"cannot read the signals of {url}: {error}") from error


def _summed(seen: Sequence[dict[int, int]]) -> tuple[int, ...]:
    """Return the sum over dispatchers, whose clocks differ: they are aligned by their newest second."""
    longest = max((max(one) - min(one) + 1 for one in seen if one), default=0)
    total = np.zeros(longest, dtype=int)
    for one in seen:
        for index, count in one.items():
            total[longest - 1 - (max(one) - index)] += count
    return tuple(total.tolist())


class ProxyLog:
    """Collects what queue-proxies report: a pure sum over time, per pod without gaps or double counts."""

    def __init__(self) -> None:
        self._uptime_s: dict[str, float] = {}
        self._offset_s: dict[str, float] = {}
        self._arrived: dict[int, float] = {}
        self._busy_s = 0.0

    @property
    def service_time_s(self) -> float | None:
        """Return the mean time of a request in a pod, by Little's law; None without a request."""
        arrived = sum(self._arrived.values())
        return self._busy_s / arrived if arrived and self._busy_s else None

    def add(self, pod: str, at_s: float, stat: bytes) -> None:
        """Add a report that was read at at_s; one that was read before has the same uptime.

        Reports that were missed in between count as if they had said the same. A report is dated by the pod's uptime,
        for it is read up to half a second late, now more and now less: dated by that, steady traffic would look bursty.
        """
        concurrency, rate_rps, uptime_s = stat_fields(stat)
        offset_s = self._offset_s[pod] = min(at_s - uptime_s, self._offset_s.get(pod, math.inf))
        before_s = self._uptime_s.get(pod, max(0.0, uptime_s - 1.0))
        self._uptime_s[pod] = uptime_s
        begin_s, end_s = before_s + offset_s, uptime_s + offset_s
        for second in range(math.floor(begin_s), math.ceil(end_s)):
            overlap_s = min(end_s, second + 1) - max(begin_s, second)
            self._arrived[second] = self._arrived.get(second, 0.0) + rate_rps * overlap_s
        self._busy_s += concurrency * max(0.0, end_s - begin_s)

    def counts(self, seconds: int) -> tuple[int, ...]:
        """Return whole requests in each second; the running total is off by at most a half."""
        totals = np.cumsum([self._arrived.get(second, 0.0) for second in range(seconds)])
        return tuple(np.diff(np.rint(totals), prepend=0.0).astype(int).tolist())


def stat_fields(stat: bytes) -> tuple[float, float, float]:
    """Return concurrency, requests per second and uptime of a queue-proxy's report. Raises TrafficError."""
    try:
        values = stat_values(stat)
    except ValueError as error:
        raise TrafficError(f"a report of queue-proxy must be its Stat message, got {stat[:20]!r}") from error
    concurrency, rate_rps, uptime_s = (
        values.get(field, 0.0) for field in (AVERAGE_CONCURRENT_REQUESTS, REQUEST_COUNT, PROCESS_UPTIME)
    )
    return concurrency, rate_rps, uptime_s


def from_queue_proxies(client: KnativeClient, service: str, minutes: float, show: Show) -> SeenTraffic:
    """Return the requests that reach the Service's pods from now on, read through the API server.

    Raises TrafficError if no request was seen, ClusterError if the pods cannot be listed.
    """
    log, starts_s = ProxyLog(), dict[str, float]()
    began_s = listed_s = time.monotonic()
    seconds = round(60 * minutes)
    pods = _pods(client, service, starts_s)
    while (elapsed_s := time.monotonic() - began_s) < seconds:
        if time.monotonic() - listed_s >= PODS_EVERY_S:
            pods, listed_s = _pods(client, service, starts_s), time.monotonic()
            show(f"reading the queue-proxies of {len(pods)} pods: {seconds - elapsed_s:.0f} s left")
        for pod in pods:
            try:
                stat = client.pod_get(pod.name, PROXY_PORT, "metrics")
            except ClusterError:
                continue  # a pod that has just ended
            log.add(pod.name, time.monotonic() - began_s, stat)
        time.sleep(PROXY_EVERY_S)
    start_s = (min(starts_s.values()), max(starts_s.values())) if starts_s else None
    return SeenTraffic(
        log.counts(seconds), f"the queue-proxies of {service}", service_time_s=log.service_time_s, start_s=start_s
    )


def _pods(client: KnativeClient, service: str, starts_s: dict[str, float]) -> list[Pod]:
    pods = living_pods(client.api.pods(f"{SERVICE_LABEL}={service}"))
    starts_s |= {pod.name: pod.ready_unix_s - pod.created_unix_s for pod in pods if pod.ready_unix_s is not None}
    return [pod for pod in pods if pod.phase == "ready"]


def from_prometheus(url: str, query: str, minutes: float, step_s: float, now_unix_s: float) -> SeenTraffic:
    """Return the increase of counters over the past minutes, from a Prometheus server. Raises TrafficError."""
    steps = round(60 * minutes / step_s)
    if not 1 <= steps <= MOST_SAMPLES:
        raise TrafficError(f"--minutes must be 1 to {MOST_SAMPLES} times --step-s, got {steps} times")
    start_s = now_unix_s - steps * step_s
    asked = {"query": query, "start": f"{start_s:.3f}", "end": f"{now_unix_s:.3f}", "step": f"{step_s:g}"}
    try:
        response = direct_session().get(f"{url.rstrip('/')}/api/v1/query_range", params=asked, timeout=60)
        body = response.json()
        if body["status"] != "success":
            raise TrafficError(f"Prometheus rejected the query {query!r}: {body.get('error')}")
        series = [[(float(t), float(v)) for t, v in one["values"]] for one in body["data"]["result"]]
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        raise TrafficError(f"cannot read a range from Prometheus at {url}: {error}") from error
    if not series:
        raise TrafficError(f"Prometheus must have a counter of requests for the query {query!r}, got no series")
    increases = increases_of(series, start_s, steps, step_s)
    return SeenTraffic(spread_over_seconds(increases, step_s), f"Prometheus, {query}", step_s=step_s)


def increases_of(
    series: Sequence[Sequence[tuple[float, float]]], start_s: float, steps: int, step_s: float
) -> list[float]:
    """Return the increase of all counters in each step; a counter that falls was reset, and began again at 0.

    series: (time, value) samples of each counter. One that appears within the range began at 0.
    """
    total = [0.0] * steps
    for samples in series:
        before = 0.0 if samples[0][0] > start_s + step_s / 2 else samples[0][1]
        for time_s, value in samples:
            step = min(steps - 1, max(0, round((time_s - start_s) / step_s) - 1))
            total[step] += value - before if value >= before else value
            before = value
    return total


def spread_over_seconds(increases: Sequence[float], step_s: float) -> tuple[int, ...]:
    """Return requests in each second; those of a step fall at random within it, always in the same way."""
    rng = np.random.default_rng(0)
    counts = np.zeros(max(1, round(len(increases) * step_s)), dtype=int)
    whole = np.diff(np.rint(np.cumsum(increases)), prepend=0.0).astype(int)
    for step, count in enumerate(whole.tolist()):
        at_s = step * step_s + rng.uniform(0, step_s, count)
        np.add.at(counts, np.minimum(at_s.astype(int), len(counts) - 1), 1)
    return tuple(counts.tolist())
