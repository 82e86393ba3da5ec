"""KPA: the decisions of Knative's autoscaler, tick by tick."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler_tuning.policies.kpa.kpa import Kpa, KpaConfig, KpaScaler, sample_size, scraped
from autoscaler_tuning.types import Decision, Observation, Second

ONE = KpaConfig(target_value=1.0)


def scaled(config: KpaConfig, ready: int, stable: float, panic: float) -> int:
    return KpaScaler(config, 0.0, 0).scale(0.0, ready, stable, panic).pods


@pytest.mark.parametrize(
    ("ready", "concurrency", "pods"),
    [
        pytest.param(3, 3.0, 3, id="holds when load matches target"),
        pytest.param(3, 3.1, 4, id="rounds up"),
        pytest.param(10, 0.0, 5, id="halves at most in one tick"),
        pytest.param(5, 0.0, 2, id="rounds half down"),
        pytest.param(0, 1.0, 1, id="counts zero pods as one"),
        pytest.param(1, 0.0, 0, id="scales to zero"),
    ],
)
def test_in_stable_mode_pods_follow_the_load(ready: int, concurrency: float, pods: int) -> None:
    assert scaled(ONE, ready, concurrency, concurrency) == pods


def test_other_scale_down_rates_are_rounded_down_too() -> None:
    assert scaled(replace(ONE, max_scale_down_rate=1.1), 10, 0, 0) == 9
    assert scaled(replace(ONE, max_scale_down_rate=3), 10, 0, 0) == 3


def test_scaling_up_is_limited_by_the_rate_rounded_up() -> None:
    assert scaled(replace(ONE, max_scale_up_rate=1.1, panic_threshold=100), 3, 50, 50) == 4


def test_an_unreachable_revision_may_scale_down_at_once() -> None:
    assert scaled(replace(ONE, reachable=False), 10, 1, 1) == 1


def test_panic_begins_at_exactly_the_threshold() -> None:
    assert KpaScaler(ONE, 0, 0).scale(0, 5, 1, 10).panicking
    assert not KpaScaler(ONE, 0, 0).scale(0, 5, 1, 9).panicking


def test_the_panic_threshold_applies_to_the_wanted_pods_before_the_rate_limits_them() -> None:
    slow = replace(ONE, max_scale_up_rate=1.1)
    assert KpaScaler(slow, 0, 0).scale(0, 10, 1, 20).panicking


def test_zero_ready_pods_count_as_one_for_the_panic_threshold() -> None:
    assert KpaScaler(ONE, 0, 0).scale(0, 0, 1, 2).panicking
    assert not KpaScaler(ONE, 0, 0).scale(0, 0, 1, 1).panicking


def test_panic_never_scales_down_and_lasts_one_stable_window_after_the_last_surge() -> None:
    scaler = KpaScaler(ONE, 0, 0)
    assert scaler.scale(0, 1, 1, 6).pods == 6
    assert scaler.scale(60, 6, 1, 1).pods == 6
    assert scaler.scale(61, 6, 1, 1).pods == 3


def test_panic_takes_the_larger_of_both_windows() -> None:
    surging = replace(ONE, panic_threshold=1)
    assert scaled(surging, 5, 50, 30) == 50
    assert scaled(surging, 5, 20, 30) == 30


def test_without_panic_only_the_stable_window_counts() -> None:
    assert scaled(ONE, 10, 11, 19) == 11


def test_a_surge_during_panic_prolongs_it() -> None:
    scaler = KpaScaler(ONE, 0, 0)
    scaler.scale(0, 1, 1, 6)
    scaler.scale(40, 1, 1, 2)
    assert scaler.scale(100, 6, 1, 1).pods == 6
    assert scaler.scale(101, 6, 1, 1).pods == 3


def test_after_panic_its_peak_is_forgotten() -> None:
    scaler = KpaScaler(ONE, 0, 0)
    scaler.scale(0, 1, 1, 50)
    scaler.scale(61, 50, 1, 1)
    assert scaler.scale(62, 1, 1, 3).pods == 3


def test_it_starts_in_panic_when_it_finds_more_than_one_pod() -> None:
    assert KpaScaler(ONE, 0, 5).scale(2, 5, 1, 1).pods == 5
    assert KpaScaler(ONE, 0, 1).scale(2, 1, 1, 1).pods == 1


def test_it_does_not_start_in_panic_at_zero_pods() -> None:
    assert not KpaScaler(ONE, 0, 0).scale(2, 0, 1, 1).panicking


def test_an_activation_scale_of_one_changes_nothing() -> None:
    assert scaled(replace(ONE, activation_scale=1), 3, 0, 0) == 1


def test_the_activation_scale_may_exceed_the_scale_up_rate() -> None:
    assert scaled(replace(ONE, activation_scale=5, max_scale_up_rate=1.1), 1, 1, 1) == 5


def test_the_activation_scale_raises_any_wanted_pods_above_zero() -> None:
    config = replace(ONE, activation_scale=4)
    assert scaled(config, 0, 1, 1) == 4
    assert scaled(config, 1, 0, 0) == 0


def test_the_scale_down_delay_keeps_the_maximum_of_its_window() -> None:
    scaler = KpaScaler(replace(ONE, scale_down_delay_s=10, panic_threshold=100), 0, 0)
    assert [scaler.scale(t, 4, c, c).pods for t, c in [(0, 4), (8, 1), (9.9, 1), (10, 1)]] == [4, 4, 4, 2]


def test_an_unreachable_revision_has_no_scale_down_delay() -> None:
    scaler = KpaScaler(replace(ONE, scale_down_delay_s=10, panic_threshold=100, reachable=False), 0, 0)
    assert [scaler.scale(t, 4, c, c).pods for t, c in [(0, 4), (2, 1)]] == [4, 1]


def test_excess_burst_capacity_counts_ready_pods_with_their_total_value() -> None:
    config = replace(ONE, target_value=7, total_value=10, target_burst_capacity=5)
    assert KpaScaler(config, 0, 0).scale(0, 0, 1, 1).excess_burst_capacity == -6
    assert KpaScaler(config, 0, 0).scale(0, 2, 1, 3).excess_burst_capacity == 12


@pytest.mark.parametrize(
    ("capacity", "excess"),
    [(0.0, 0), (-1.0, -1), (10.0, -11), (2.5, -4)],
    ids=["none", "unlimited", "usual", "rounds down"],
)
def test_excess_burst_capacity_depends_on_the_target_burst_capacity(capacity: float, excess: int) -> None:
    config = replace(ONE, target_burst_capacity=capacity)
    assert KpaScaler(config, 0, 0).scale(0, 2, 3, 3).excess_burst_capacity == excess


@given(st.integers(0, 50), st.floats(0, 1000), st.floats(0, 1000), st.floats(0, 100))
def test_more_load_never_needs_fewer_pods(ready: int, stable: float, panic: float, more: float) -> None:
    before = scaled(ONE, ready, stable, panic)
    assert 0 <= before <= scaled(ONE, ready, stable + more, panic + more)


def seconds(first: int, *concurrency: float) -> tuple[Second, ...]:
    return tuple(Second(first + offset, 0, value) for offset, value in enumerate(concurrency))


def test_without_data_it_keeps_the_current_pods() -> None:
    assert Kpa().decide(Observation(5.0, 2, 1)).pods == 3
    assert Kpa().decide(Observation(5.0, 2, 1, seconds=seconds(0, 9, 9), fresh=False)).pods == 3


def test_each_second_counts_once() -> None:
    kpa = Kpa()
    kpa.decide(Observation(2.0, 1, 0, seconds=seconds(0, 0.7, 0.7)))
    decision = kpa.decide(Observation(4.0, 1, 0, seconds=seconds(0, 0.7, 0.7, 0.7, 0.7)))
    assert (decision.pods, decision.reason) == (1, "stable: 1 pods for concurrency 0.7 over 60 s")


def test_a_second_counts_when_it_has_ended() -> None:
    kpa = Kpa()
    kpa.decide(Observation(1.0, 1, 0, seconds=seconds(0, 7.0)))
    assert "concurrency 7.0 over 6 s" in kpa.decide(Observation(6.9, 1, 0)).reason
    assert "concurrency 0.0 over 6 s" in kpa.decide(Observation(7.0, 1, 0)).reason


def test_after_a_window_without_reports_it_keeps_the_current_pods() -> None:
    kpa = Kpa()
    kpa.decide(Observation(1.0, 1, 0, seconds=seconds(0, 7.0)))
    assert kpa.decide(Observation(61.9, 2, 1)).reason.startswith("stable: ")
    assert kpa.decide(Observation(62.0, 2, 1)) == Decision(3, "no data: keep 3 pods")


def test_idle_seconds_with_pods_scale_it_to_zero() -> None:
    kpa = Kpa()
    assert kpa.decide(Observation(60.0, 1, 0, seconds=seconds(0, *([0.0] * 60)))).pods == 0


def test_without_pods_idle_seconds_are_not_reported_and_do_not_dilute_a_first_burst() -> None:
    kpa = Kpa(ONE)
    idle = seconds(0, *([0.0] * 100))
    assert kpa.decide(Observation(100.0, 0, 0, seconds=idle)).reason == "no data: keep 0 pods"
    burst = kpa.decide(Observation(101.0, 0, 0, seconds=(*idle, Second(100, 20, 20.0)), arrived=20))
    assert burst.pods == 10  # 1 in the second of the first request, 19 reported in the next


def test_if_no_pod_is_scraped_missing_reports_mean_no_load() -> None:
    kpa = Kpa(replace(ONE, target_burst_capacity=-1))
    assert kpa.decide(Observation(100.0, 1, 0, seconds=seconds(0, *([0.0] * 100)))).pods == 0


def test_the_first_idle_second_without_pods_is_still_reported() -> None:
    kpa = Kpa(ONE)
    assert kpa.decide(Observation(4.0, 0, 0, seconds=seconds(0, 8, 0, 0, 0))).pods == 4


def test_a_first_request_counts_as_one_at_once() -> None:
    kpa = Kpa()
    quiet = seconds(0, *([0.0] * 10))
    assert kpa.decide(Observation(10.0, 0, 0, seconds=quiet)).pods == 0
    assert kpa.decide(Observation(10.4, 0, 0, seconds=quiet, arrived=1, waiting=1)).pods == 2  # 1 at a target of 0.7


def test_a_short_request_after_an_idle_period_counts_as_one_at_once_even_with_a_pod() -> None:
    """Seen on a real Knative: one request of 0.1 s to one pod starts a second pod."""
    kpa = Kpa(KpaConfig(panic_threshold=100))
    assert kpa.decide(Observation(2.0, 1, 0, seconds=(Second(1, 1, 0.1),), arrived=1)).pods == 1  # (1 + 0) over 2 s
    assert Kpa().decide(Observation(1.9, 1, 0, seconds=seconds(0), arrived=1)).pods == 2


def test_while_requests_arrive_every_second_none_is_a_first_one() -> None:
    kpa = Kpa(replace(ONE, panic_threshold=1))
    busy = tuple(Second(index, 1, 0.1) for index in range(20))
    assert "concurrency 0.1 over 6 s" in kpa.decide(Observation(20.0, 1, 0, seconds=busy, arrived=20)).reason


def test_after_each_idle_second_there_is_a_first_request_again() -> None:
    kpa = Kpa(replace(ONE, panic_threshold=0.1 + 1))
    now_and_then = tuple(Second(index, int(index % 4 == 0), 0.1 * (index % 4 == 0)) for index in range(60))
    assert "concurrency 0.2 over 60 s" in kpa.decide(Observation(60.0, 1, 0, seconds=now_and_then, arrived=15)).reason


@pytest.mark.parametrize(("measured", "pods"), [(0.6, 1), (3.0, 2)], ids=["less than counted", "more than counted"])
def test_the_concurrency_counted_for_a_first_request_is_subtracted_from_its_second(measured: float, pods: int) -> None:
    kpa = Kpa(ONE)
    kpa.decide(Observation(10.4, 0, 0, arrived=1, waiting=1))
    seen = Observation(12.0, 0, 1, seconds=(Second(10, 1, measured),), arrived=1, waiting=1)
    assert kpa.decide(seen).pods == pods


def test_a_first_request_is_counted_only_once() -> None:
    kpa = Kpa(ONE)
    assert [kpa.decide(Observation(10.4, 0, 0, arrived=1, waiting=1)).pods for _ in range(3)] == [1, 1, 1]


def test_the_metric_can_be_requests_per_second() -> None:
    kpa = Kpa(KpaConfig(target_value=140, total_value=200, metric="rps"))
    busy = tuple(Second(index, 280, 9.0) for index in range(10))
    decision = kpa.decide(Observation(10.0, 1, 0, seconds=busy, arrived=2800))
    assert (decision.pods, decision.reason) == (2, "panic: 2 pods for rps 280.0 over 6 s")


@pytest.mark.parametrize(("pods", "size"), [(0, 0), (1, 1), (3, 3), (4, 4), (5, 4), (10, 7), (100, 14), (1000, 16)])
def test_more_than_three_pods_are_sampled(pods: int, size: int) -> None:
    assert sample_size(pods) == size


def test_a_sample_is_scaled_to_all_pods() -> None:
    assert scraped([1.0, 2.0, 3.0], 5) == 6
    assert scraped([2.0] * 10, 5) == pytest.approx(20)
    assert scraped([9.0, *([0.0] * 9)], 0) == pytest.approx(9 / 7 * 10)
    assert scraped([*([0.0] * 9), 9.0], 0) == 0


def test_the_samples_of_successive_seconds_cover_every_pod() -> None:
    idle_but_one = [[9.0 * (pod == busy) for pod in range(10)] for busy in range(10)]
    for by_pod in idle_but_one:
        assert sum(scraped(by_pod, second) for second in range(10)) == pytest.approx(90)


def test_if_requests_go_straight_to_pods_the_queue_proxies_report_and_no_request_is_a_first_one() -> None:
    kpa = Kpa(replace(ONE, target_burst_capacity=0))
    busy = tuple(Second(index, 5, 3.0, by_pod=(1.0, 2.0)) for index in range(10))
    assert "concurrency 3.0 over 6 s" in kpa.decide(Observation(10.0, 1, 0, seconds=busy, arrived=50)).reason


def test_weighted_windows_give_newer_seconds_more_weight() -> None:
    rising = Observation(60.0, 1, 0, seconds=seconds(0, *([0.0] * 50), *([9.0] * 10)))
    calm = replace(ONE, panic_threshold=100)
    assert Kpa(calm).decide(rising).pods == 2
    assert Kpa(replace(calm, weighted=True)).decide(rising).pods == 9


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.floats(), st.integers(0, 50), st.integers(0, 50), st.booleans()), max_size=40
    ),
    st.booleans(),
)
def test_any_history_gives_a_valid_decision(steps: list[tuple[float, float, int, int, bool]], weighted: bool) -> None:
    kpa, now_s = Kpa(KpaConfig(weighted=weighted, scale_down_delay_s=10)), 0.0
    for elapsed_s, concurrency, ready, waiting, fresh in steps:
        now_s += elapsed_s
        before = seconds(int(now_s), min(concurrency, 1e9))
        decision = kpa.decide(Observation(now_s + 1, ready, 0, seconds=before, waiting=waiting, fresh=fresh))
        assert isinstance(decision.pods, int)
        assert decision.pods >= 0
        assert decision.reason


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0], ids=["nan", "inf", "negative"])
def test_a_second_with_an_invalid_value_does_not_count(value: float) -> None:
    kpa = Kpa(ONE)
    kpa.decide(Observation(2.0, 3, 0, seconds=seconds(0, 3, value)))
    assert kpa.decide(Observation(4.0, 3, 0, seconds=seconds(2, 3, 3))).pods == 3


@pytest.mark.parametrize(
    "given_value",
    [
        {"total_value": 0},
        {"stable_window_s": 5},
        {"stable_window_s": 3601},
        {"panic_window_s": 0},
        {"panic_window_s": 61},
        {"panic_threshold": float("nan")},
        {"max_scale_up_rate": 1},
        {"max_scale_down_rate": float("inf")},
        {"scale_down_delay_s": -1},
        {"target_burst_capacity": -2},
        {"activation_scale": -1},
        {"tick_s": 0},
    ],
    ids=str,
)
def test_invalid_settings_are_refused_with_their_value(given_value: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r", got .*") as refused:
        KpaConfig(**given_value)  # type: ignore[arg-type]
    assert str(next(iter(given_value.values()))) in str(refused.value)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_an_invalid_target_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="target_value must be"):
        KpaConfig(target_value=value)
