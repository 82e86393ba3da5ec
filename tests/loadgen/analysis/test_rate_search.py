"""The search for the highest rate that meets the SLOs, with servers whose limit is known."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from loadgen.analysis.rate_search import Limits, RateSearch, SearchEnd, TrialOutcome

LIMITS = Limits(first_rps=10, least_rps=1, most_rps=1000)


def searched(holds: Callable[[float], bool], limits: Limits = LIMITS) -> RateSearch:
    search = RateSearch(limits)
    while (rate_rps := search.next_rps()) is not None:
        search.record(TrialOutcome.HELD if holds(rate_rps) else TrialOutcome.MISSED)
    return search


def rates(outcomes: Sequence[TrialOutcome], limits: Limits = LIMITS) -> list[float | None]:
    search, tried = RateSearch(limits), []
    for outcome in outcomes:
        tried.append(search.next_rps())
        search.record(outcome)
    return [*tried, search.next_rps()]


@pytest.mark.parametrize("limit_rps", [1.5, 9.9, 10.0, 37.0, 640.0, 999.0])
def test_the_search_ends_with_a_narrow_bracket_around_the_limit(limit_rps: float) -> None:
    search = searched(lambda rate_rps: rate_rps <= limit_rps)
    assert search.end is SearchEnd.FOUND
    assert search.held_rps <= limit_rps < search.missed_rps
    assert search.missed_rps <= 1.05 * search.held_rps


def test_the_rate_doubles_until_a_miss_and_then_halves_the_ratio() -> None:
    held, missed = [TrialOutcome.HELD] * 2, [TrialOutcome.MISSED] * 2
    tried = rates([*held, *held, *missed, *missed])
    assert tried == [
        10,
        10,
        20,
        20,
        40,
        40,
        pytest.approx(math.sqrt(800)),
        pytest.approx(math.sqrt(800)),
        pytest.approx(math.sqrt(20 * math.sqrt(800))),
    ]


def test_the_rate_halves_if_the_first_rate_misses() -> None:
    assert rates([TrialOutcome.MISSED] * 4) == [10, 10, 5, 5, 2.5]


def test_two_equal_votes_decide_and_a_third_trial_runs_only_if_they_differ() -> None:
    assert rates([TrialOutcome.HELD, TrialOutcome.MISSED, TrialOutcome.HELD]) == [10, 10, 10, 20]
    assert rates([TrialOutcome.HELD, TrialOutcome.MISSED, TrialOutcome.MISSED]) == [10, 10, 10, 5]


def test_the_search_ends_at_the_highest_and_lowest_allowed_rate() -> None:
    highest, lowest = searched(lambda _: True), searched(lambda _: False)
    assert (highest.end, highest.held_rps) == (SearchEnd.MOST, 1000)
    assert (lowest.end, lowest.missed_rps, lowest.held_rps) == (SearchEnd.LEAST, 1, 0)


def test_the_search_ends_without_a_limit_if_the_generator_cannot_keep_up() -> None:
    search = RateSearch(LIMITS)
    for outcome in [TrialOutcome.HELD, TrialOutcome.HELD, TrialOutcome.INVALID, TrialOutcome.INVALID]:
        search.record(outcome)
    assert (search.end, search.next_rps()) == (SearchEnd.GENERATOR, None)
    assert list(search.lines())[-1] == "Highest rate that meets the SLOs: at least 10/s; no valid trial missed them"


def test_an_invalid_trial_is_repeated() -> None:
    assert rates([TrialOutcome.INVALID, TrialOutcome.HELD, TrialOutcome.HELD]) == [10, 10, 10, 20]


def test_the_search_never_exceeds_its_limit_on_trials() -> None:
    limits = Limits(10, 1, 1000, tolerance_ratio=1.0001, most_trials=9)
    search = searched(lambda rate_rps: rate_rps <= 37, limits)
    assert (search.end, search.trials) == (SearchEnd.TRIALS, 9)
    assert search.held_rps <= 37 < search.missed_rps


def test_chance_near_the_limit_changes_the_result_only_slightly() -> None:
    rng = np.random.default_rng(5)

    def holds(rate_rps: float) -> bool:
        """Hold below 90/s, miss above 110/s, and decide at random in between."""
        return rate_rps < 90 + 20 * rng.random()

    found = [searched(holds).held_rps for _ in range(50)]
    assert min(found) > 84
    assert max(found) < 111


def test_the_result_contains_both_ends_of_the_bracket_and_their_votes() -> None:
    *_, last = searched(lambda rate_rps: rate_rps <= 37).lines()
    assert last.startswith("Highest rate that meets the SLOs: 36.")
    assert last.endswith("(met in 2 of 2 trials at the lower rate, missed in 2 of 2 at the higher)")


def test_the_result_contains_rates_at_which_trials_differed() -> None:
    search = RateSearch(LIMITS)
    for outcome in [TrialOutcome.HELD, TrialOutcome.MISSED, TrialOutcome.HELD]:
        search.record(outcome)
    assert "Near the limit, trials differ: at 10/s, 2 of 3 met the SLOs" in list(search.lines())
