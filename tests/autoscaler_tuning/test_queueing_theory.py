"""Erlang's delay formula, against its sum form and the special case of one server."""

from math import factorial

import pytest

from tests.autoscaler_tuning.queueing_theory import UnstableQueueError, erlang_c


def erlang_c_by_sum(servers: int, load: float) -> float:
    """Return the textbook form, which the recursion avoids because of its large factorials."""
    top = load**servers / factorial(servers) * servers / (servers - load)
    return top / (sum(load**k / factorial(k) for k in range(servers)) + top)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.3), (2, 1.0), (5, 4.5), (20, 13.0)])
def test_erlang_c_agrees_with_the_sum_form(servers: int, load: float) -> None:
    assert erlang_c(servers, load) == pytest.approx(erlang_c_by_sum(servers, load), rel=1e-12)


def test_with_one_server_the_probability_of_waiting_is_the_utilization() -> None:
    assert erlang_c(1, 0.7) == pytest.approx(0.7)


@pytest.mark.parametrize("load", [2.0, 2.5, float("nan")])
def test_an_offered_load_of_at_least_the_servers_is_refused(load: float) -> None:
    with pytest.raises(UnstableQueueError, match=f"must be below servers, 2, got {load}"):
        erlang_c(2, load)
