"""A leak is found, and noise is not taken for one."""

import numpy as np
import pytest

from tests.soak.trend import Trend, Verdict, trend

HOUR = np.arange(0, 3600, 6.0)


def noise(sigma: float, seed: int = 1, memory: float = 0.8) -> np.ndarray:
    """Return noise whose neighbours are alike, as memory in use is."""
    steps = np.random.default_rng(seed).normal(0, sigma, len(HOUR))
    values = np.zeros(len(HOUR))
    for at in range(1, len(HOUR)):
        values[at] = memory * values[at - 1] + steps[at]
    return values


def test_a_leak_of_a_hundred_bytes_a_request_is_found() -> None:
    requests_per_s = 20
    leaked_mb = 100 * requests_per_s * HOUR / 1e6
    found = trend(HOUR.tolist(), (120 + noise(0.1) + leaked_mb).tolist())
    assert found.low < 100 * requests_per_s * 3600 / 1e6 < found.high
    assert found.verdict(5.0) is Verdict.GROWS


def test_a_descriptor_a_minute_is_found() -> None:
    open_files = np.floor(HOUR / 60) + np.round(noise(1.0))
    assert trend(HOUR.tolist(), (30 + open_files).tolist()).verdict(10) is Verdict.GROWS


@pytest.mark.parametrize("seed", range(10))
def test_noise_is_no_leak(seed: int) -> None:
    found = trend(HOUR.tolist(), (120 + noise(0.5, seed)).tolist())
    assert found.verdict(20.0) is Verdict.FLAT
    assert found.low < found.high


def test_the_interval_holds_the_truth_nearly_always_however_alike_neighbours_are() -> None:
    held = 0
    for seed in range(100):
        found = trend(HOUR.tolist(), (noise(1.0, seed) + 3 * HOUR / 3600).tolist(), warm_up=0)
        held += found.low <= 3.0 <= found.high
    assert held >= 85


def test_the_warm_up_is_left_out() -> None:
    values = np.minimum(HOUR, 600.0) / 10
    assert abs(trend(HOUR.tolist(), values.tolist()).per_hour) < 1e-6


def test_a_short_run_cannot_tell() -> None:
    assert Trend(5.0, -40.0, 50.0).verdict(20.0) is Verdict.UNSURE


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 20 samples must remain after the warm-up, got 7"):
        trend(list(range(9)), list(range(9)))
