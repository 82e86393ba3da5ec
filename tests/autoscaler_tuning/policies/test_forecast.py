"""The rate forecast: its level, and jumps."""

import numpy as np
import pytest

from autoscaler_tuning.policies.elastic.forecast import ForecastConfig, RateForecast


def fed(counts: list[int], config: ForecastConfig | None = None) -> RateForecast:
    """Return a forecast that was updated with these counts, one per second."""
    forecast = RateForecast(config or ForecastConfig())
    for now_s, arrived in enumerate(np.cumsum([0, *counts]).tolist()):
        forecast.update(float(now_s), arrived)
    return forecast


def test_a_constant_rate_becomes_the_level() -> None:
    assert fed([10] * 30).level_rps == pytest.approx(10, abs=0.1)


def test_a_jump_becomes_the_level_at_once() -> None:
    jumped = fed([4] * 20 + [40])
    assert jumped.jumped
    assert jumped.level_rps == pytest.approx(40)


def test_a_jump_has_the_growth_of_the_last_second() -> None:
    assert fed([4] * 20 + [40]).growth_rps_s == pytest.approx(36)
    assert fed([4] * 20 + [40, 70]).growth_rps_s == pytest.approx(30)
    assert fed([4] * 20 + [40, 70, 70]).growth_rps_s == 0.0
    forecast = RateForecast(ForecastConfig())
    for tick, arrived in enumerate(np.cumsum([0] + [2] * 40 + [10, 20]).tolist()):  # twice a second
        forecast.update(tick / 2, arrived)
    assert forecast.growth_rps_s == pytest.approx(30 - 4)


def test_a_small_rise_is_not_a_jump() -> None:
    assert fed([16] * 20 + [24]).level_rps < 22


def test_without_arrivals_none_are_expected() -> None:
    assert fed([]).level_rps == 0.0
    assert fed([0] * 10).level_rps == 0.0


@pytest.mark.parametrize("gain", [0.0, -0.1, 1.1, float("nan")])
def test_a_level_gain_outside_0_to_1_is_refused(gain: float) -> None:
    with pytest.raises(ValueError, match=f"level_gain must be above 0 and at most 1, got {gain}"):
        ForecastConfig(level_gain=gain)


@pytest.mark.parametrize("sigmas", [0.0, -1.0, float("nan"), float("inf")])
def test_an_invalid_jump_limit_is_refused(sigmas: float) -> None:
    with pytest.raises(ValueError, match=f"must be above 0 and finite, got {sigmas}, 1.0"):
        ForecastConfig(jump_sigmas=sigmas)
