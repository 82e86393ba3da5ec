"""Demand that goes around the dispatchers, straight to the route: what the pods count beyond what was sent on to them.

Each pod's queue-proxy reports the requests of its last second on port 9090, where Knative's own autoscaler reads them.
Source: knative/serving pkg/queue/protobuf_stats_reporter.go and pkg/autoscaler/metrics/stat.proto.
"""

import struct
from collections import deque
from dataclasses import dataclass, replace
from math import sqrt

from autoscaler_tuning.live.signals import Signals
from autoscaler_tuning.types import Second

# The fields of stat.proto: averages of the last second, of requests in the pod and of arrivals, and seconds of uptime.
AVERAGE_CONCURRENT_REQUESTS, REQUEST_COUNT, PROCESS_UPTIME = 2, 4, 6
VARINT, FIXED64, BYTES = 0, 1, 2

WINDOW_S = 10.0
# Readings with a longer gap do not belong together, and without one for this time nothing is known.
LONGEST_GAP_S = 5.0
# A pod reports whole seconds, which are read up to a second later: what was sent on is compared with that lag, too.
LAGS_S = (0.0, 1.0, 2.0)
# What the pods count may differ from what was sent on by chance (in standard deviations of a Poisson count), and
# because not all pods are read; a smaller excess is no demand.
SIGMAS, SHARE = 3.0, 0.2
SECONDS_KEPT = 120


@dataclass(frozen=True, slots=True)
class PodTraffic:
    """Requests in the pods and arrivals a second, means over about a second; of one pod or of all."""

    concurrency: float
    rate_rps: float


def parse_stat(data: bytes) -> PodTraffic:
    """Return what a queue-proxy reports. Raises ValueError if the bytes are no such message."""
    values = stat_values(data)
    traffic = PodTraffic(values.get(AVERAGE_CONCURRENT_REQUESTS, 0.0), values.get(REQUEST_COUNT, 0.0))
    if not (0 <= traffic.concurrency < 1e6 and 0 <= traffic.rate_rps < 1e6):
        raise ValueError(f"a queue-proxy's averages must be from 0 to 1e6, got {traffic}")
    return traffic


def stat_values(data: bytes) -> dict[int, float]:
    """Return the doubles in a report by field; proto3 leaves out zeros. Raises ValueError if it is no such message."""
    values: dict[int, float] = {}
    at = 0
    try:
        while at < len(data):
            key, at = _varint(data, at)
            field, kind = key >> 3, key & 7
            if kind == VARINT:
                _, at = _varint(data, at)
            elif kind == FIXED64:
                (values[field],) = struct.unpack_from("<d", data, at)
                at += 8
            elif kind == BYTES:
                length, at = _varint(data, at)
                at += length
            else:
                raise ValueError(f"a field of a queue-proxy's report must have type 0, 1 or 2, got {kind}")
    except (IndexError, struct.error) as error:
        raise ValueError(f"a queue-proxy's report must be a whole message, got {data[:40]!r}") from error
    return values


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


@dataclass(frozen=True, slots=True)
class _Round:
    """One reading of the pods: requests that reached them since the last one, and requests sent on in all."""

    at_s: float
    reached: float
    released: int


class RouteTraffic:
    """Estimates the requests that reach the pods without a dispatcher, and adds them to the signals."""

    def __init__(self) -> None:
        self._rounds: deque[_Round] = deque()
        self._by_second: dict[int, float] = {}
        self._arrived = 0.0
        self._rate_rps = self._concurrency = 0.0

    @property
    def rate_rps(self) -> float:
        """Return the present estimate."""
        return self._rate_rps

    def observe(self, signals: Signals, pods: PodTraffic | None) -> None:
        """Add one reading of all ready pods, made about once a second; None if there was none since the last call."""
        now_s = signals.now_s
        last = self._rounds[-1] if self._rounds else None
        if last and (signals.released < last.released or not last.at_s <= now_s < last.at_s + LONGEST_GAP_S):
            self.forget()
            last = None
        if pods is None:
            return
        elapsed_s = now_s - last.at_s if last else 0.0
        self._rounds.append(_Round(now_s, pods.rate_rps * elapsed_s, signals.released))
        while self._rounds[0].at_s < now_s - WINDOW_S - max(LAGS_S):
            self._rounds.popleft()
        self._rate_rps = self._estimate(now_s)
        self._arrived += self._rate_rps * elapsed_s
        self._concurrency = max(0.0, pods.concurrency - signals.in_flight) if self._rate_rps else 0.0
        self._by_second[int(now_s)] = self._rate_rps
        self._by_second.pop(int(now_s) - SECONDS_KEPT, None)

    def forget(self) -> None:
        """Begin anew: a dispatcher restarted, or there was no reading for a while. The count of arrivals stays."""
        self._rounds.clear()
        self._by_second.clear()
        self._rate_rps = self._concurrency = 0.0

    def added_to(self, signals: Signals) -> Signals:
        """Return the signals with what reached the pods without a dispatcher."""
        if not self._arrived:
            return signals
        return replace(
            signals,
            arrived=signals.arrived + int(self._arrived),
            in_flight=signals.in_flight + round(self._concurrency),
            seconds=tuple(self._raised(second, signals.service_time_s or 0.0) for second in signals.seconds),
        )

    def _raised(self, second: Second, service_time_s: float) -> Second:
        rate_rps = self._by_second.get(second.index, 0.0)
        if not rate_rps:
            return second
        concurrency = second.concurrency + rate_rps * service_time_s
        return replace(second, arrivals=second.arrivals + round(rate_rps), concurrency=concurrency)

    def _estimate(self, now_s: float) -> float:
        """Return the requests a second beyond what was sent on, at the lag that explains most; 0 if it may be none."""
        window = [one for one in self._rounds if one.at_s >= now_s - WINDOW_S]
        elapsed_s = window[-1].at_s - window[0].at_s
        if elapsed_s < WINDOW_S / 2:
            return 0.0
        reached = sum(one.reached for one in window[1:])
        sent = max(self._sent(window[0].at_s - lag_s, now_s - lag_s) for lag_s in LAGS_S)
        excess = reached - sent
        return excess / elapsed_s if excess > max(SIGMAS * sqrt(reached), SHARE * reached) else 0.0

    def _sent(self, from_s: float, until_s: float) -> int:
        """Return the requests sent on between two times, as far as they are known."""
        counts = [one.released for one in self._rounds if from_s - 1e-6 <= one.at_s <= until_s + 1e-6]
        return counts[-1] - counts[0] if counts else 0
