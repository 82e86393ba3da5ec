"""Synthetic families: shapes, noise, seeds, and refused settings."""

from collections.abc import Callable
from math import exp
from pathlib import Path

import numpy as np
import pytest

from loadgen.workload.arrivals import arrival_times
from loadgen.workload.families import COMMON, FAMILIES, family_counts, family_rates
from loadgen.workload.renewal import Gaps, gamma_gaps, weibull_gaps, weibull_shape
from loadgen.workload.workload import WorkloadError, read_workload


def rates(spec: str) -> list[float]:
    return [float(rate) for rate in family_rates(spec)]


def test_a_step_is_high_between_two_times() -> None:
    assert rates("step:seconds=6,low=1,high=9") == [1, 1, 9, 9, 1, 1]
    assert rates("step:seconds=5,low=1,high=9,at_s=1,until_s=4") == [1, 9, 9, 9, 1]


def test_a_ramp_ends_at_high() -> None:
    assert rates("ramp:seconds=5,low=2,high=10") == [2, 4, 6, 8, 10]


def test_a_day_is_low_at_its_ends_high_in_its_middle_and_repeats() -> None:
    day = rates("diurnal:seconds=48,period_s=24,low=0,high=10")
    assert day[:24] == pytest.approx(day[24:])
    assert day[:24] == pytest.approx(day[23::-1])
    assert [max(day), min(day)] == pytest.approx([10, 0], abs=0.1)
    assert sum(day[:24]) == pytest.approx(24 * 5)


def test_a_flash_crowd_rises_linearly_and_decays_exponentially() -> None:
    crowd = rates("flash:seconds=60,low=0,high=10,at_s=5,rise_s=5,decay_s=10")
    assert crowd[:11] == pytest.approx([0, 0, 0, 0, 0, 2, 4, 6, 8, 10, 10 * exp(-0.1)])
    assert crowd[19] == pytest.approx(10 * exp(-1))


def test_on_off_is_idle_between_bursts() -> None:
    assert rates("on-off:seconds=7,high=3,on_s=2,off_s=3") == [3, 3, 0, 0, 0, 3, 3]


def test_mmpp_stays_in_its_states_for_the_given_mean_times() -> None:
    seen = family_rates("mmpp:seconds=400000,low=0,high=1,low_s=60,high_s=20,seed=1")
    assert seen[0] == 0
    assert seen.mean() == pytest.approx(20 / 80, rel=0.05)
    # the autocorrelation of an on-off source decays with rate 1/low_s + 1/high_s
    lag_s = 10
    correlation = np.corrcoef(seen[:-lag_s], seen[lag_s:])[0, 1]
    assert correlation == pytest.approx(exp(-lag_s * (1 / 60 + 1 / 20)), abs=0.04)


def test_mmpp_counts_are_much_burstier_than_poisson() -> None:
    """The index of dispersion is 1 for Poisson; here it is 1 + variance of the rate / mean of the rate."""
    counts = np.array(family_counts("mmpp:seconds=100000,low=5,high=45,low_s=60,high_s=20,seed=2"))
    share = 20 / 80
    expected = 1 + 40**2 * share * (1 - share) / (5 + 40 * share)
    assert counts.var() / counts.mean() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("name", ["gamma", "weibull"])
@pytest.mark.parametrize("cv", [0.5, 1, 2, 4, 8, 16])
def test_renewal_families_have_the_mean_and_the_dispersion_of_their_distribution(name: str, cv: float) -> None:
    """Counts of long windows have an index of dispersion of cv squared (renewal theory), and a mean of rate x time."""
    rate, seconds = 40, 100_000
    counts = np.array(family_counts(f"{name}:seconds={seconds},rate={rate},cv={cv},seed=3"))
    assert counts.mean() == pytest.approx(rate, rel=max(0.01, 4 * cv / (rate * seconds) ** 0.5))
    windows = counts.reshape(400, -1).sum(axis=1)
    assert windows.var() / windows.mean() == pytest.approx(cv * cv, rel=0.35)


@pytest.mark.parametrize("cv", [0.5, 1, 4, 16])
@pytest.mark.parametrize("gaps", [gamma_gaps, weibull_gaps])
def test_gaps_between_requests_have_mean_1_and_this_coefficient_of_variation(
    gaps: Callable[[float], tuple[Gaps, Gaps]], cv: float
) -> None:
    drawn = gaps(cv)[0](np.random.default_rng(1), 4_000_000)
    assert drawn.mean() == pytest.approx(1, rel=5 * cv / 2000)
    assert drawn.std() / drawn.mean() == pytest.approx(cv, rel=0.01 + 0.01 * cv)


@pytest.mark.parametrize("name", ["gamma", "weibull"])
def test_a_renewal_family_is_as_busy_in_its_first_second_as_later(name: str) -> None:
    """Starting with a whole gap, bursty traffic would be many times as busy at first."""
    first = [family_counts(f"{name}:seconds=1,rate=5,cv=4,seed={seed}")[0] for seed in range(6000)]
    assert np.mean(first) == pytest.approx(5, abs=0.5)


def test_gamma_and_weibull_with_a_cv_of_1_are_poisson() -> None:
    assert weibull_shape(1.0) == pytest.approx(1.0)
    for name in ("gamma", "weibull"):
        counts = np.array(family_counts(f"{name}:seconds=20000,rate=20,cv=1"))
        assert counts.var() / counts.mean() == pytest.approx(1, abs=0.05)


def test_noise_is_poisson_by_default() -> None:
    counts = np.array(family_counts("step:seconds=20000,low=20,high=20"))
    assert counts.mean() == pytest.approx(20, rel=0.01)
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.05)
    bare = np.cumsum(family_counts("step:seconds=8,low=0.3,high=0.3,noise=none"))
    assert np.all(np.abs(bare - 0.3 * np.arange(1, 9)) <= 0.5)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_seed_determines_the_counts_and_a_longer_run_starts_with_the_same(name: str) -> None:
    kept = "at_s=30,until_s=60" if name == "step" else "at_s=30" if name == "flash" else ""
    kept = "period_s=90" if name == "diurnal" else kept
    counts = family_counts(f"{name}:seed=1,seconds=90,{kept}")
    assert counts == family_counts(f"{name}:seed=1,seconds=90,{kept}")
    assert counts != family_counts(f"{name}:seed=2,seconds=90,{kept}")
    if name != "ramp":  # a line from low to high over the whole run
        assert family_counts(f"{name}:seed=1,seconds=200,{kept}")[:90] == counts


def test_counts_are_independent_of_the_arrival_times_within_their_second() -> None:
    """With a shared stream, the arrival times of a busy second would differ from those of a quiet one."""
    counts = family_counts("step:seconds=4000,low=1,high=1,seed=7")
    times_s = arrival_times(counts, "count", seed=7)
    first_s = np.array(
        [times_s[times_s.astype(int) == second][0] - second for second, n in enumerate(counts) if n == 1]
    )
    assert first_s.mean() == pytest.approx(0.5, abs=0.03)


def test_read_workload_accepts_a_family_unless_a_file_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_workload("ramp").duration_s == COMMON["seconds"]
    assert read_workload(Path("ramp:seconds=3")).counts == family_counts("ramp:seconds=3")
    Path("ramp").write_text("7")
    assert read_workload("ramp").counts == (7,)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        pytest.param("step:seconds=0", "seconds must be an integer from 1 to 2678400, got '0'", id="no second"),
        pytest.param("step:seconds=1.5", "got '1.5'", id="half a second"),
        pytest.param("step:low=-1", "low must be a number from 0 to 1000000, got '-1'", id="negative"),
        pytest.param("step:high=nan", "got 'nan'", id="nan"),
        pytest.param("step:high=many", "got 'many'", id="a word"),
        pytest.param("step:high=1e7", "got '1e7'", id="too many"),
        pytest.param("mmpp:low_s=0", "low_s must be a number from 1e-09 to inf, got '0'", id="no stay"),
        pytest.param("mmpp:low_s=inf", "got 'inf'", id="endless"),
        pytest.param(
            "ramp:at_s=3",
            "settings of ramp must be seconds, seed, low, high, noise (poisson or none), got 'at_s=3'",
            id="a setting of another family",
        ),
        pytest.param("gamma:cv=17", "cv must be a number from 0.1 to 16, got '17'", id="burstier than any fit"),
        pytest.param("weibull:noise=none", "settings of weibull must be seconds, seed, rate, cv, got", id="no noise"),
        pytest.param("gamma:rate=0", "rate must be a number from 1e-06 to 1000000, got '0'", id="no rate"),
        pytest.param(
            "gamma:rate=1e6,seconds=11", "seconds x rate must be at most 10000000 requests, got 11000000", id="too much"
        ),
        pytest.param("ramp:noise=pink", "got 'noise=pink'", id="another noise"),
    ],
)
def test_an_invalid_setting_is_refused(spec: str, words: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        read_workload(spec)
    assert words in str(caught.value)
