"""Reads the dispatcher's signals into what policies observe."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import requests

from autoscaler_tuning.types import Observation, PodPhase, PodSample, Second


class ScrapeError(Exception):
    """The signals could not be read, or are not what was agreed."""


@dataclass(frozen=True, slots=True)
class Signals:
    """The dispatcher's GET /signals. now_s is the dispatcher's monotonic clock."""

    now_s: float
    seconds: tuple[Second, ...]
    arrived: int
    waiting: int
    in_flight: int
    oldest_wait_s: float
    feasible_backlog_s: float
    service_time_s: float | None


def parse_signals(body: Any) -> Signals:
    """Raises ScrapeError, naming the field, if one is missing, not a number, negative or not finite."""
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
        raise ScrapeError(f"signals are not as agreed: {error!r}") from error
    return signals


def _number(name: str, value: Any) -> float:
    number = float(value)
    if not (isfinite(number) and number >= 0):
        raise ValueError(f"{name} must be finite and not negative, was {value!r}")
    return number


def merge(dispatchers: Sequence[Signals]) -> Signals:
    """Several dispatchers as one: counts add up; seconds are those of the first, whose clock is taken.

    Their clocks start at different times, so the others' seconds are aligned by their newest.
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
    """Signals and pods as one observation; the pods' times must be on the signals' clock."""
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
    """The dispatchers that a controller listens to and tells the capacity; one or several."""

    def __init__(self, urls: Sequence[str], timeout_s: float = 2.0) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._timeout_s = timeout_s
        self._session = requests.Session()

    def signals(self) -> Signals:
        """Raises ScrapeError if any does not answer: half the traffic is not the traffic."""
        try:
            answers = [self._session.get(f"{url}/signals", timeout=self._timeout_s) for url in self._urls]
            for answer in answers:
                answer.raise_for_status()
            return merge([parse_signals(answer.json()) for answer in answers])
        except (requests.RequestException, ValueError) as error:
            raise ScrapeError(f"no signals: {error}") from error

    def announce(self, ready_pods: int, concurrency: int, valid_s: float, backends: Sequence[str] | None) -> None:
        """Tell each dispatcher its share of the capacity; the first get what does not divide.

        Raises ScrapeError if one cannot be told; the others were.
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
            raise ScrapeError(f"capacity not told: {'; '.join(failed)}")
