"""The dispatcher's signals, and the observation of a policy that they become."""

from dataclasses import dataclass
from math import isfinite
from typing import Any

from autoscaler_tuning.types import Observation, PodPhase, PodSample, Second


class ScrapeError(Exception):
    """The dispatcher did not respond, or its response was malformed."""


@dataclass(frozen=True, slots=True)
class Signals:
    """The response to GET /signals of the dispatcher; now_s is the dispatcher's monotonic clock.

    released: attempts to send a request to a pod so far, repeated ones included.
    """

    now_s: float
    seconds: tuple[Second, ...]
    arrived: int
    waiting: int
    in_flight: int
    oldest_wait_s: float
    feasible_backlog_s: float
    service_time_s: float | None
    released: int = 0


def parse_signals(body: Any) -> Signals:
    """Return the signals in a response body.

    Raises ScrapeError, which names the field, if one is missing, not a number, negative or not finite.
    """
    try:
        arrivals, concurrency = body["arrivals"], body["concurrency"]
        first = _count("since_s", arrivals["since_s"])
        rows = zip(arrivals["per_second"], concurrency["per_second"], strict=True)
        mean = body["service_time_s"]["mean"]
        signals = Signals(
            now_s=_number("now_s", body["now_s"]),
            seconds=tuple(
                Second(first + offset, _count("arrivals", count), _number("concurrency", load))
                for offset, (count, load) in enumerate(rows)
            ),
            arrived=_count("arrivals.count", arrivals["count"]),
            waiting=_count("waiting", body["waiting"]),
            in_flight=_count("in_flight", body["in_flight"]),
            oldest_wait_s=_number("oldest_wait_s", body["oldest_wait_s"]),
            feasible_backlog_s=_number("feasible_backlog_s", body["feasible_backlog_s"]),
            service_time_s=None if mean is None else _number("service_time_s.mean", mean),
            released=_count("released", body["released"]) + _count("retried", body["retried"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ScrapeError(f"malformed /signals response: {error!r}") from error
    return signals


def _count(name: str, value: Any) -> int:
    return int(_number(name, value))


def _number(name: str, value: Any) -> float:
    number = float(value)
    if not (isfinite(number) and number >= 0):
        raise ValueError(f"{name} must be finite and at least 0, got {value!r}")
    return number


def observe(signals: Signals, pods: tuple[PodSample, ...], fresh: bool, concurrency: int = 1) -> Observation:
    """Return an observation of the signals and the pods, whose times must be on the clock of the signals.

    A pod that cannot start does not count as starting: no policy may wait for it.
    """
    phases = [pod.phase for pod in pods if not pod.stuck]
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
        concurrency=concurrency,
    )
