"""KPA: what Knative's autoscaler does at one tick."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler_tuning import conformance
from autoscaler_tuning.policies.kpa import Kpa, KpaConfig, KpaScaler
from autoscaler_tuning.types import Observation, Second

ONE = KpaConfig(target_value=1.0)


def scaled(config: KpaConfig, ready: int, stable: float, panic: float) -> int:
    return KpaScaler(config, 0.0, 0).scale(0.0, ready, stable, panic).pods


@pytest.mark.parametrize(
    ("ready", "concurrency", "pods"),
    [
        pytest.param(3, 3.0, 3, id="holds when load matches target"),
        pytest.param(3, 3.1, 4, id="rounds up"),
        pytest.param(10, 0.0, 5, id="halves at most in one tick"),
        pytest.param(5, 0.0, 2, id="half is rounded down"),
        pytest.param(0, 1.0, 1, id="counts zero pods as one"),
        pytest.param(1, 0.0, 0, id="comes down to zero"),
    ],
)
def test_stable_mode(ready: int, concurrency: float, pods: int) -> None:
    assert scaled(ONE, ready, concurrency, concurrency) == pods


def test_growth_is_bounded_by_the_rate_rounded_up() -> None:
    assert scaled(replace(ONE, max_scale_up_rate=1.1, panic_threshold=100), 3, 50, 50) == 4


def test_an_unreachable_revision_may_fall_at_once() -> None:
    assert scaled(replace(ONE, reachable=False), 10, 1, 1) == 1


def test_panic_begins_at_exactly_the_threshold() -> None:
    assert KpaScaler(ONE, 0, 0).scale(0, 5, 1, 10).panicking
    assert not KpaScaler(ONE, 0, 0).scale(0, 5, 1, 9).panicking


def test_the_threshold_looks_at_what_is_wanted_before_the_rate_bounds_it() -> None:
    slow = replace(ONE, max_scale_up_rate=1.1)
    assert KpaScaler(slow, 0, 0).scale(0, 10, 1, 20).panicking


def test_zero_ready_pods_count_as_one_for_the_threshold() -> None:
    assert KpaScaler(ONE, 0, 0).scale(0, 0, 1, 2).panicking
    assert not KpaScaler(ONE, 0, 0).scale(0, 0, 1, 1).panicking


def test_panic_never_scales_down_and_lasts_one_stable_window_after_the_last_surge() -> None:
    scaler = KpaScaler(ONE, 0, 0)
    assert scaler.scale(0, 1, 1, 6).pods == 6
    assert scaler.scale(60, 6, 1, 1).pods == 6
    assert scaler.scale(61, 6, 1, 1).pods == 3


def test_a_surge_during_panic_makes_it_last_longer() -> None:
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


def test_the_activation_scale_lifts_any_wish_but_none() -> None:
    config = replace(ONE, activation_scale=4)
    assert scaled(config, 0, 1, 1) == 4
    assert scaled(config, 1, 0, 0) == 0


def test_the_scale_down_delay_keeps_the_maximum_of_its_window() -> None:
    scaler = KpaScaler(replace(ONE, scale_down_delay_s=10, panic_threshold=100), 0, 0)
    assert [scaler.scale(t, 4, c, c).pods for t, c in [(0, 4), (8, 1), (9.9, 1), (10, 1)]] == [4, 4, 4, 2]


@pytest.mark.parametrize(
    ("capacity", "excess"),
    [(0.0, 0), (-1.0, -1), (10.0, -11), (2.5, -4)],
    ids=["none", "unlimited", "usual", "rounds down"],
)
def test_excess_burst_capacity(capacity: float, excess: int) -> None:
    config = replace(ONE, target_burst_capacity=capacity)
    assert KpaScaler(config, 0, 0).scale(0, 2, 3, 3).excess_burst_capacity == excess


@given(st.integers(0, 50), st.floats(0, 1000), st.floats(0, 1000), st.floats(0, 100))
def test_more_load_never_wants_fewer_pods(ready: int, stable: float, panic: float, more: float) -> None:
    before = scaled(ONE, ready, stable, panic)
    assert 0 <= before <= scaled(ONE, ready, stable + more, panic + more)


def seconds(first: int, *concurrency: float) -> tuple[Second, ...]:
    return tuple(Second(first + offset, 0, value) for offset, value in enumerate(concurrency))


def test_without_data_it_keeps_what_there_is() -> None:
    assert Kpa().decide(Observation(5.0, 2, 1)).pods == 3
    assert Kpa().decide(Observation(5.0, 2, 1, seconds=seconds(0, 9, 9), fresh=False)).pods == 3


def test_the_policy_averages_each_second_once() -> None:
    kpa = Kpa()
    kpa.decide(Observation(2.0, 1, 0, seconds=seconds(0, 0.7, 0.7)))
    decision = kpa.decide(Observation(4.0, 1, 0, seconds=seconds(0, 0.7, 0.7, 0.7, 0.7)))
    assert (decision.pods, decision.reason) == (1, "stable: 1 pods for concurrency 0.7 over 60 s")


def test_a_poke_from_zero_wants_a_pod_at_once() -> None:
    kpa = Kpa()
    quiet = seconds(0, *([0.0] * 10))
    assert kpa.decide(Observation(10.0, 0, 0, seconds=quiet)).pods == 0
    assert kpa.decide(Observation(10.4, 0, 0, seconds=quiet, waiting=1)).pods >= 1


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_an_impossible_target_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="target_value must be"):
        KpaConfig(target_value=value)


@pytest.mark.parametrize("name", ["kpa.json.gz", "hpa.json.gz"])
def test_every_vector_of_the_real_autoscalers_agrees(shared_dir: Path, name: str) -> None:
    found = list(conformance.lines(shared_dir / "conformance" / name))
    assert len(found) == 2
    assert all(agrees for _, agrees in found), found
