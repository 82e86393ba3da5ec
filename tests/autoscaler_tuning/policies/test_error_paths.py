"""Error paths: scenarios from past forecast errors, combined with a prior."""

import numpy as np
import pytest

from autoscaler_tuning.policies.elastic.error_paths import PRIOR, ErrorPathConfig, ErrorPaths

TICK_S = 0.5


def fed(counts: list[int], config: ErrorPathConfig, level_rps: float) -> ErrorPaths:
    """Return the error paths after these counts, one per tick, all forecast at the same level."""
    error_paths = ErrorPaths(config, TICK_S)
    for arrived in np.cumsum([0, *counts]).tolist():
        error_paths.update(arrived, level_rps)
    return error_paths


def test_without_experience_the_scenarios_are_poisson_noise_and_one_burst() -> None:
    config = ErrorPathConfig(steps=4, prior=40.0, surprise=0.2)
    paths, weights = ErrorPaths(config, TICK_S).draw(np.array([5.0, 10.0]), 10.0, 30.0)
    assert paths.shape == (2, len(PRIOR) + 1)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[-1] == pytest.approx(0.2)
    assert paths[:, -1].tolist() == [5.0 + 15.0, 10.0 + 30.0]
    assert paths[0, :-1].std() == pytest.approx(np.sqrt(5.0), rel=0.1)


def test_past_errors_recur_in_standard_deviations_of_the_level() -> None:
    error_paths = fed([2, 2, 10, 2], ErrorPathConfig(steps=2, prior=1e-9, surprise=0.0), level_rps=4.0)
    paths, weights = error_paths.draw(np.array([8.0, 16.0]), 16.0, 0.0)
    likely = paths[:, weights > 1e-6]
    # at a level of 4/s, 2 arrivals are expected per tick: an excess of 8 is 4 deviations, which is 16 at a level of 16/s
    assert likely.T.tolist() == [[8.0, 16.0], [8.0, 32.0], [24.0, 32.0]]


def test_paths_from_another_level_count_less() -> None:
    error_paths = fed(
        [2] * 10 + [20] * 10,
        ErrorPathConfig(steps=1, likeness=4.0, long_likeness=0.0, prior=40.0, surprise=0.0),
        level_rps=4.0,
    )
    _, near = error_paths.draw(np.array([2.0]), 4.0, 0.0)
    _, far = error_paths.draw(np.array([50.0]), 100.0, 0.0)
    assert near[:20].sum() > 0.3
    assert far[:20].sum() < 0.01


def test_paths_from_a_lull_count_less_in_a_calm_that_lasts() -> None:
    """A lull after 20/s and a lasting calm have the same level; only their past differs."""
    config = ErrorPathConfig(steps=1, long_likeness=4.0, prior=40.0, surprise=0.0)
    error_paths, arrived = ErrorPaths(config, TICK_S), 0
    for level_rps in [20.0] * 200 + [4.0] * 3:
        arrived += round(level_rps * TICK_S)
        error_paths.update(arrived, level_rps)
    _, in_lull = error_paths.draw(np.array([2.0]), 4.0, 0.0)
    for _ in range(250):
        arrived += 2
        error_paths.update(arrived, 4.0)
    _, in_calm = error_paths.draw(np.array([2.0]), 4.0, 0.0)
    lull = slice(200, 202)  # paths that began in the lull
    assert in_lull[lull].max() > 3 * in_lull[:200].max()
    assert in_calm[lull].max() < 0.1 * in_calm[400:440].min()


def test_in_the_highest_noise_scenario_a_rate_that_jumped_rises_on_for_growth_s() -> None:
    error_paths = ErrorPaths(ErrorPathConfig(steps=4, growth_s=1.0), TICK_S)
    expected = np.array([5.0, 10.0, 15.0, 20.0])
    without, _ = error_paths.draw(expected, 10.0, 30.0)
    growing, _ = error_paths.draw(expected, 10.0, 30.0, growth_rps_s=8.0)
    # after 1 s the rate is 8/s higher and stays so
    assert (growing - without)[:, -2].tolist() == pytest.approx([1.0, 4.0, 8.0, 12.0])
    assert (growing - without)[:, :-2].any() == (growing - without)[:, -1].any() == np.False_


def test_a_path_is_forgotten_exactly_when_it_is_older_than_the_memory() -> None:
    config = ErrorPathConfig(steps=1, memory_s=2.0, long_likeness=0.0, surprise=0.0)
    paths, weights = fed([9] + [2] * 3, config, level_rps=4.0).draw(np.array([2.0]), 4.0, 0.0)
    assert np.unique(weights[:4]).size == 1
    assert paths[0, :4].tolist() == [9.0, 2.0, 2.0, 2.0]
    paths, _ = fed([9] + [2] * 4, config, level_rps=4.0).draw(np.array([2.0]), 4.0, 0.0)
    assert paths[0, :4].tolist() == [2.0] * 4


def bursts(number: int, config: ErrorPathConfig) -> ErrorPaths:
    """Return the error paths after some bursts of 40 requests in a tick, 15 s apart, at a level of 4/s."""
    return fed(([40] + [2] * 29) * number, config, level_rps=4.0)


def test_recurring_bursts_are_remembered_longer() -> None:
    config = ErrorPathConfig(memory_s=10.0, long_memory_s=100.0, often=4, steps=4, surprise=0.0)
    for number, remembered in ((3, 20), (4, 117)):  # 120 ticks; the paths of the last ones are not complete yet
        error_paths = bursts(number, config)
        assert error_paths.jumps_recur is (number >= config.often)
        paths, _ = error_paths.draw(np.array([2.0]), 4.0, 0.0)
        assert paths.shape[1] == remembered + len(PRIOR) + 1


def test_bursts_are_forgotten_after_the_long_memory() -> None:
    config = ErrorPathConfig(memory_s=10.0, long_memory_s=100.0, steps=4)
    error_paths = bursts(4, config)
    arrived = 4 * (40 + 29 * 2)
    for tick in range(1, 202):
        error_paths.update(arrived + 2 * tick, 4.0)
    assert not error_paths.jumps_recur


def test_a_burst_that_is_explained_is_neither_an_error_nor_a_sign_of_others() -> None:
    """Four bursts began about 120, 90, 60 and 30 ticks ago; the paths that contain those of 90 and 30 do not count."""
    error_paths = bursts(4, ErrorPathConfig(steps=4, surprise=0.0))
    error_paths.explain([90, 30])
    assert not error_paths.jumps_recur
    paths, weights = error_paths.draw(np.array([2.0, 4.0, 6.0, 8.0]), 4.0, 0.0)
    assert np.flatnonzero((paths[-1] > 40) & (weights > 0)).tolist() == [0, 57, 58, 59, 60]


def test_the_weight_of_a_surprise_burst_fades_while_none_comes() -> None:
    config = ErrorPathConfig(surprise_s=100.0)
    shares = [fed([2] * ticks, config, 4.0).draw(np.array([2.0]), 4.0, 9.0)[1][-1] for ticks in (0, 50, 200, 800)]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < shares[0] / 50


def test_no_path_spans_missed_ticks() -> None:
    error_paths = ErrorPaths(ErrorPathConfig(steps=2), TICK_S)
    for arrived in (0, 1):
        error_paths.update(arrived, 1.0)
    error_paths.interrupt()
    error_paths.update(1000, 1.0)
    paths, _ = error_paths.draw(np.array([1.0, 2.0]), 1.0, 0.0)
    assert paths.shape[1] == len(PRIOR) + 1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"steps": 0}, "steps must be above 0 and finite, got 0"),
        ({"memory_s": float("nan")}, "memory_s must be above 0 and finite, got nan"),
        ({"surprise": 1.5}, "surprise must be from 0 to 1, got 1.5"),
        ({"surprise_pods": -1.0}, "surprise_pods must be finite and at least 0, got -1.0"),
        ({"long_likeness": float("inf")}, "long_likeness must be finite and at least 0, got inf"),
        ({"long_s": 0.0}, "long_s must be above 0 and finite, got 0.0"),
        ({"growth_s": -0.5}, "growth_s must be finite and at least 0, got -0.5"),
    ],
)
def test_invalid_settings_are_refused(setting: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ErrorPathConfig(**setting)  # type: ignore[arg-type]
