"""The rate forecast: level, trend, jumps, and a margin that its errors set."""

import numpy as np
import pytest

from autoscaler_tuning.forecast import ForecastConfig, RateForecast


def fed(counts: list[int], config: ForecastConfig | None = None) -> RateForecast:
    """A forecast that saw these counts, one a second."""
    forecast = RateForecast(config or ForecastConfig())
    for now_s, arrived in enumerate(np.cumsum([0, *counts]).tolist()):
        forecast.update(float(now_s), arrived)
    return forecast


def test_a_constant_rate_is_learnt() -> None:
    assert fed([10] * 30).level_rps == pytest.approx(10, abs=0.1)


def test_a_jump_is_taken_over_at_once() -> None:
    assert fed([4] * 20 + [40]).level_rps == pytest.approx(40)


def test_a_small_rise_is_not_a_jump() -> None:
    assert fed([16] * 20 + [24]).level_rps < 22


def test_a_rising_rate_is_carried_on() -> None:
    forecast = fed([10 + 2 * second for second in range(30)])
    assert forecast.upper_rps(30.0, 4.0) > forecast.level_rps + 4


def test_a_falling_rate_is_not_carried_on() -> None:
    forecast = fed([100 - 3 * second for second in range(30)])
    assert forecast.upper_rps(30.0, 10.0) >= forecast.level_rps


def test_updates_close_together_are_joined() -> None:
    forecast = RateForecast(ForecastConfig())
    forecast.update(0.0, 0)
    forecast.update(0.01, 5)
    assert forecast.level_rps == 0.0
    forecast.update(1.0, 5)
    assert forecast.level_rps == pytest.approx(5)


def test_the_margin_grows_where_forecasts_were_too_low_and_vanishes_where_they_were_right() -> None:
    rng = np.random.default_rng(0)

    def margin_after(counts: list[int]) -> float:
        forecast = RateForecast(ForecastConfig(jump_sigmas=100))
        for now_s, arrived in enumerate(np.cumsum([0, *counts]).tolist()):
            forecast.update(float(now_s), arrived)
            forecast.upper_rps(float(now_s), 3.0)
        return forecast.margin()

    assert margin_after([20] * 100) < 0.1
    assert margin_after((rng.poisson(20, 100) * rng.choice([0, 3], 100)).tolist()) > 2
