"""Reads the dispatcher's signals and converts them to observations of a policy."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import requests

from autoscaler_tuning.live.direct import direct_session
from autoscaler_tuning.types import Observation, PodPhase, PodSample, Second

log = logging.getLogger(__name__)

# A dispatcher that did not answer is asked again after this time; while it is asked, the controller may wait for long.
SILENT_S = 10.0


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


@dataclass(slots=True)
class _Dispatcher:
    """One dispatcher. last: what it answered last; silent_until_s: when it is asked again, after a failure."""

    url: str
    last: Signals | None = None
    silent_until_s: float | None = None


class Dispatchers:
    """One or several dispatchers, from which a controller reads signals and to which it announces capacity.

    One that does not answer is left out, and its share goes to the others, until it answers again.
    """

    def __init__(
        self, urls: Sequence[str], clock: Callable[[], float], key: str | None = None, timeout_s: float = 2.0
    ) -> None:
        """clock: monotonic seconds. key: of the dispatchers' --control-key-file."""
        self._dispatchers = [_Dispatcher(url.rstrip("/")) for url in urls]
        self._clock, self._timeout_s = clock, timeout_s
        self._session = direct_session()
        if key is not None:
            self._session.headers["Authorization"] = f"Bearer {key}"

    def signals(self) -> Signals:
        """Return the merged signals of the dispatchers that answer.

        What a silent one had counted stays in the count of arrivals, which never falls. Raises ScrapeError if none
        answers.
        """
        answered, failed = self._each([one for one in self._dispatchers if self._is_due(one)], self._read)
        if not answered:
            raise ScrapeError(f"cannot read signals: {'; '.join(failed) or 'no dispatcher answers'}")
        missing = sum(one.last.arrived for one in self._dispatchers if one.last and one not in answered)
        merged = merge([one.last for one in answered if one.last])
        return replace(merged, arrived=merged.arrived + missing)

    def announce(
        self,
        ready_pods: int,
        concurrency: int,
        valid_s: float,
        backends: Sequence[str] | None,
        problem: str | None = None,
    ) -> None:
        """Announce to each dispatcher that answers its share of the capacity; the first ones get the remainder.

        While a pod is ready each share is at least 1: a dispatcher that is told 0 would never send its requests.
        Raises ScrapeError if any announcement fails, after all have been tried.
        """
        due = [one for one in self._dispatchers if len(self._dispatchers) == 1 or one.silent_until_s is None]
        if not due:
            raise ScrapeError("cannot announce capacity: no dispatcher answers")
        least = min(1, ready_pods)
        shares = {
            one.url: max(least, ready_pods // len(due) + (index < ready_pods % len(due)))
            for index, one in enumerate(due)
        }
        body: dict[str, object] = {"concurrency": concurrency, "valid_s": valid_s}
        if backends is not None:
            body["backends"] = list(backends)
        if problem is not None:
            body["problem"] = problem

        def put(one: _Dispatcher) -> None:
            told = {"ready_pods": shares[one.url], **body}
            self._session.put(f"{one.url}/capacity", json=told, timeout=self._timeout_s).raise_for_status()

        _, failed = self._each(due, put)
        if failed:
            raise ScrapeError(f"cannot announce capacity: {'; '.join(failed)}")

    def _read(self, one: _Dispatcher) -> None:
        response = self._session.get(f"{one.url}/signals", timeout=self._timeout_s)
        response.raise_for_status()
        one.last = parse_signals(response.json())

    def _each(
        self, asked: Sequence[_Dispatcher], ask: Callable[[_Dispatcher], None]
    ) -> tuple[list[_Dispatcher], list[str]]:
        """Ask each of these dispatchers; return those that answered, and the errors of the others."""
        answered: list[_Dispatcher] = []
        failed: list[str] = []
        for one in asked:
            try:
                ask(one)
            except (requests.RequestException, ScrapeError, ValueError) as error:
                failed.append(str(error))
                self._fails(one, error)
            else:
                answered.append(one)
                if one.silent_until_s is not None:
                    one.silent_until_s = None
                    log.info("%s answers again", one.url)
        return answered, failed

    def _is_due(self, one: _Dispatcher) -> bool:
        """Return whether a dispatcher is asked for its signals now; the only one is always asked."""
        return len(self._dispatchers) == 1 or one.silent_until_s is None or self._clock() >= one.silent_until_s

    def _fails(self, one: _Dispatcher, error: Exception) -> None:
        if one.silent_until_s is None:
            log.warning("%s does not answer and is left out until it does: %s", one.url, error)
        one.silent_until_s = self._clock() + SILENT_S
