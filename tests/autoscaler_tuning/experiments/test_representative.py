"""The representative part of a workload: chosen from the workload alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler_tuning.experiments import representative
from autoscaler_tuning.experiments.representative import distance, representative_part

COUNTS = st.lists(st.integers(0, 60), min_size=1, max_size=60)
SECONDS = st.integers(1, 70)


@given(COUNTS, SECONDS)
def test_the_part_lies_inside_and_no_other_one_is_nearer(counts: list[int], seconds: int) -> None:
    part = representative_part(counts, seconds)
    assert part.seconds == min(seconds, len(counts))
    assert 0 <= part.from_s <= len(counts) - part.seconds
    rates = np.array(counts, float)
    others = [distance(rates[at : at + part.seconds], rates) for at in range(len(counts) - part.seconds + 1)]
    assert part.distance <= min(others)


@given(COUNTS, SECONDS, st.sampled_from([2, 4, 8]))
def test_a_workload_with_a_multiple_of_the_rates_has_the_same_part(counts: list[int], seconds: int, by: int) -> None:
    assert representative_part([by * count for count in counts], seconds) == representative_part(counts, seconds)


def test_a_part_with_the_mean_but_without_the_bursts_is_not_chosen() -> None:
    steady, bursts = [10] * 20, [0, 20] * 40
    assert representative_part([*steady, *bursts], 20).from_s > 0


def test_a_part_with_the_rates_but_without_their_changes_is_farther() -> None:
    whole = np.array([0.0, 20.0] * 20)
    assert distance(np.sort(whole[:20]), whole) > distance(whole[:20], whole)


def test_the_earliest_of_equal_parts_is_chosen() -> None:
    assert representative_part([5] * 50, 10).from_s == 0


def test_a_long_workload_is_searched_at_spaced_seconds_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(representative, "MOST_CANDIDATES", 3)
    assert representative_part([*[0] * 50, *[9, 1] * 5], 10).from_s in (0, 25, 50)
