"""Signals: strict parsing of the dispatcher's response, and merging of several dispatchers."""

import copy
import math
from typing import Any

import pytest

from autoscaler_tuning.live.signals import ScrapeError, observe, parse_signals
from autoscaler_tuning.types import PodPhase, PodSample, Second

BODY: dict[str, Any] = {
    "now_s": 7.5,
    "arrivals": {"since_s": 5, "count": 12, "per_second": [3, 4]},
    "concurrency": {"since_s": 5, "per_second": [0.5, 1.5]},
    "waiting": 2,
    "in_flight": 1,
    "oldest_wait_s": 0.25,
    "feasible_backlog_s": 0.2,
    "service_time_s": {"mean": 0.1, "p95": 0.2},
    "released": 9,
    "rejected": 0,
    "retried": 0,
}


def changed(**fields: object) -> dict[str, Any]:
    return {**copy.deepcopy(BODY), **fields}


def test_seconds_carry_arrivals_and_concurrency() -> None:
    assert parse_signals(BODY).seconds == (Second(5, 3, 0.5), Second(6, 4, 1.5))


def test_repeated_attempts_count_as_sent_on_because_the_pods_count_them_too() -> None:
    assert parse_signals(changed(released=9, retried=2)).released == 11


def test_an_unmeasured_service_time_is_none_and_not_zero() -> None:
    assert parse_signals(changed(service_time_s={"mean": None, "p95": None})).service_time_s is None


@pytest.mark.parametrize(
    "body",
    [
        pytest.param([], id="not an object"),
        pytest.param(changed(now_s=float("nan")), id="nan"),
        pytest.param(changed(oldest_wait_s=-1), id="negative"),
        pytest.param(changed(waiting="many"), id="a word"),
        *(
            pytest.param(changed(**{name: value}), id=f"{name} {value}")
            for name in ("waiting", "in_flight", "released", "retried")
            for value in (-3, math.inf, math.nan)
        ),
        pytest.param(changed(waiting=10**400), id="more than a number can be"),
        *(
            pytest.param(changed(arrivals={"since_s": 5, "count": 12, "per_second": [3, 4], **part}), id=f"{part}")
            for value in (-3, math.inf)
            for part in ({"since_s": value}, {"count": value}, {"per_second": [3, value]})
        ),
        pytest.param(changed(arrivals={"since_s": 5, "count": 12, "per_second": [3]}), id="columns of unequal length"),
        pytest.param({key: value for key, value in BODY.items() if key != "in_flight"}, id="missing field"),
    ],
)
def test_a_malformed_response_is_rejected(body: object) -> None:
    with pytest.raises(ScrapeError):
        parse_signals(body)


def test_an_observation_counts_pods_by_phase() -> None:
    pods = (
        PodSample("a", PodPhase.READY, 0.0),
        PodSample("b", PodPhase.STARTING, 1.0),
        PodSample("c", PodPhase.TERMINATING, 0.0),
    )
    obs = observe(parse_signals(BODY), pods, fresh=True)
    assert (obs.ready_pods, obs.starting_pods, obs.waiting) == (1, 1, 2)
