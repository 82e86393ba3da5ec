"""Queueing formulas, against their other forms and the special cases that have one."""

from math import exp, factorial

import pytest

from autoscaler_tuning.queueing import UnstableQueueError, erlang_c, pods_for, wait_tail


def erlang_c_by_sum(servers: int, load: float) -> float:
    """The textbook form, which the recursion avoids for its large factorials."""
    top = load**servers / factorial(servers) * servers / (servers - load)
    return top / (sum(load**k / factorial(k) for k in range(servers)) + top)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.3), (2, 1.0), (5, 4.5), (20, 13.0)])
def test_erlang_c_agrees_with_the_sum_form(servers: int, load: float) -> None:
    assert erlang_c(servers, load) == pytest.approx(erlang_c_by_sum(servers, load), rel=1e-12)


def test_with_one_server_a_request_waits_as_often_as_the_server_is_busy() -> None:
    assert erlang_c(1, 0.7) == pytest.approx(0.7)


@pytest.mark.parametrize("load", [2.0, 2.5, float("nan")])
def test_as_much_work_as_servers_or_more_is_refused(load: float) -> None:
    with pytest.raises(UnstableQueueError):
        erlang_c(2, load)


def test_the_wait_tail_decays_twice_as_fast_as_in_m_m_c() -> None:
    assert wait_tail(1, 5.0, 0.1, 0.2) == pytest.approx(0.5 * exp(-2 * (10 - 5) * 0.2))


def test_no_rate_needs_no_pod() -> None:
    assert pods_for(0.0, 0.1, 0.5, 1e-3) == 0


@pytest.mark.parametrize(
    ("rate_rps", "service_time_s", "pods"),
    [
        pytest.param(0.1, 0.1, 1, id="a little needs one"),
        pytest.param(44, 0.035, 2, id="with time to wait, pods may be nearly full"),
        pytest.param(440, 0.035, 16, id="many pods share well"),
        pytest.param(44, 0.2, 11, id="little time to wait needs slack"),
    ],
)
def test_pods_for_a_rate_within_half_a_second(rate_rps: float, service_time_s: float, pods: int) -> None:
    assert pods_for(rate_rps, service_time_s, 0.5, 1e-3) == pods


def test_one_pod_fewer_would_be_late_too_often() -> None:
    pods = pods_for(44, 0.2, 0.5, 1e-3)
    assert wait_tail(pods, 44, 0.2, 0.3) <= 1e-3 < wait_tail(pods - 1, 44, 0.2, 0.3)


def test_a_service_time_above_the_slo_still_gets_an_answer() -> None:
    assert pods_for(2, 1.0, 0.5, 1e-3) >= 3
