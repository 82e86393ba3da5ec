"""Reads the dispatcher's signals and converts them to observations of a policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import requests

from autoscaler_tuning.types import Observation, PodPhase, PodSample, Second


class ScrapeError(Exception):
    """The dispatcher did not respond, or its response was malformed."""


@dataclass(frozen=True, slots=True)
class Signals:
    """The response to GET /signals of the dispatcher; now_s is the dispatcher's monotonic clock."""

    now_s: float
    seconds: tuple[Second, ...]
    arrived: int
    waiting: int
    in_flight: int
    oldest_wait_s: float
    feasible_backlog_s: float
    service_time_s: float | None


def parse_signals(body: Any) -> Signals:
    """Return the signals in a response body.

    Raises ScrapeError, which names the field, if one is missing, not a number, negative or not finite.
    """
    try:
        arrivals, concurrency = body["arrivals"], body["concurrency"]
        first = int(arrivals["since_s"])
        rows = zip(arrivals["per_second"], concurrency["per_second"], strict=True)
        mean = body["service_time_s"]["mean"]
        signals = Signals(
            now_s=_number("now_s", body["now_s"]),
            seconds=tuple(
                Second(first + offset, int(count), _number("concurrency", load))
                for offset, (count, load) in enumerate(rows)
            ),
            arrived=int(arrivals["count"]),
            waiting=int(body["waiting"]),
            in_flight=int(body["in_flight"]),
            oldest_wait_s=_number("oldest_wait_s", body["oldest_wait_s"]),
            feasible_backlog_s=_number("feasible_backlog_s", body["feasible_backlog_s"]),
            service_time_s=None if mean is None else _number("service_time_s.mean", mean),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ScrapeError(f"malformed /signals response: {error!r}") from error
    return signals


def _number(name: str, value: Any) -> float:
    number = float(value)
    if not (isfinite(number) and number >= 0):
        raise ValueError(f"{name} must be finite and at least 0, got {value!r}")
    return number


def merge(dispatchers: Sequence[Signals]) -> Signals:
    """Return the signals of several dispatchers as those of one, on the clock of the first.

    Counts are added. The clocks start at different times, so the seconds are aligned by the newest of each dispatcher.
    """
    if len(dispatchers) == 1:
        return dispatchers[0]
    first = dispatchers[0]
    length = min(len(signals.seconds) for signals in dispatchers)
    aligned = zip(*(signals.seconds[len(signals.seconds) - length :] for signals in dispatchers), strict=True)
    measured = [signals.service_time_s for signals in dispatchers if signals.service_time_s is not None]
    return Signals(
        now_s=first.now_s,
        seconds=tuple(
            Second(row[0].index, sum(second.arrivals for second in row), sum(second.concurrency for second in row))
            for row in aligned
        ),
        arrived=sum(signals.arrived for signals in dispatchers),
        waiting=sum(signals.waiting for signals in dispatchers),
        in_flight=sum(signals.in_flight for signals in dispatchers),
        oldest_wait_s=max(signals.oldest_wait_s for signals in dispatchers),
        feasible_backlog_s=sum(signals.feasible_backlog_s for signals in dispatchers),
        service_time_s=sum(measured) / len(measured) if measured else None,
    )


def observe(signals: Signals, pods: tuple[PodSample, ...], fresh: bool) -> Observation:
    """Return an observation of the signals and the pods, whose times must be on the clock of the signals."""
    phases = [pod.phase for pod in pods]
    return Observation(
        now_s=signals.now_s,
        ready_pods=phases.count(PodPhase.READY),
        starting_pods=phases.count(PodPhase.STARTING),
        seconds=signals.seconds,
        arrived=signals.arrived,
        waiting=signals.waiting,
        in_flight=signals.in_flight,
        oldest_wait_s=signals.oldest_wait_s,
        feasible_backlog_s=signals.feasible_backlog_s,
        service_time_s=signals.service_time_s,
        pods=pods,
        fresh=fresh,
    )


class Dispatchers:
    """One or several dispatchers, from which a controller reads signals and to which it announces capacity."""

    def __init__(self, urls: Sequence[str], timeout_s: float = 2.0) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._timeout_s = timeout_s
        self._session = requests.Session()

    def signals(self) -> Signals:
        """Return the merged signals.

        Raises ScrapeError if any dispatcher fails, because the signals would then miss part of the traffic.
        """
        try:
            responses = [self._session.get(f"{url}/signals", timeout=self._timeout_s) for url in self._urls]
            for response in responses:
                response.raise_for_status()
            return merge([parse_signals(response.json()) for response in responses])
        except (requests.RequestException, ValueError) as error:
            raise ScrapeError(f"cannot read signals: {error}") from error

    def announce(self, ready_pods: int, concurrency: int, valid_s: float, backends: Sequence[str] | None) -> None:
        """Announce to each dispatcher its share of the capacity; the first ones get the remainder.

        Raises ScrapeError if any announcement fails, after all have been tried.
        """
        failed: list[str] = []
        for index, url in enumerate(self._urls):
            share = ready_pods // len(self._urls) + (index < ready_pods % len(self._urls))
            body: dict[str, object] = {"ready_pods": share, "concurrency": concurrency, "valid_s": valid_s}
            if backends is not None:
                body["backends"] = list(backends)
            try:
                self._session.put(f"{url}/capacity", json=body, timeout=self._timeout_s).raise_for_status()
            except requests.RequestException as error:
                failed.append(str(error))
        if failed:
            raise ScrapeError(f"cannot announce capacity: {'; '.join(failed)}")
