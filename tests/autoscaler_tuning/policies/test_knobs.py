"""KPA's knobs: from Knative's annotations to the autoscaler's settings, and back to annotations."""

import pytest

from autoscaler_tuning.policies.kpa.knobs import KpaKnobs
from autoscaler_tuning.policies.registry import policy_named


def test_annotations_contain_only_what_differs_from_knatives_defaults() -> None:
    assert KpaKnobs().annotations() == {}
    knobs = KpaKnobs(window_s=12.0, scale_down_delay_s=30.0, target_burst_capacity=-1, min_scale=2)
    assert knobs.annotations() == {
        "window": "12s",
        "scale-down-delay": "30s",
        "target-burst-capacity": "-1",
        "min-scale": "2",
    }


def test_annotations_keep_all_digits_and_whole_numbers_are_integers() -> None:
    knobs = KpaKnobs(max_scale=1_000_000, target_burst_capacity=1_234_567, target=0.015625, window_s=3600)
    assert knobs.annotations() == {
        "max-scale": "1000000",
        "target-burst-capacity": "1234567",
        "target": "0.015625",
        "window": "3600s",
    }


def test_annotations_in_a_policy_name_give_the_same_knobs() -> None:
    knobs = KpaKnobs(target_utilization_percentage=55, window_s=8, panic_threshold_percentage=150, max_scale=9)
    settings = ",".join(f"{name}={value}" for name, value in knobs.annotations().items())
    assert policy_named(f"kpa[{settings}]").knobs == knobs


def test_the_target_is_at_most_the_container_concurrency() -> None:
    assert KpaKnobs(target=5).config(concurrency=1).total_value == 1
    assert KpaKnobs(target=5).config(concurrency=10).target_value == pytest.approx(3.5)


@pytest.mark.parametrize(
    ("window_s", "percentage", "panic_s"),
    [
        pytest.param(60, 10, 6, id="Knative's defaults"),
        pytest.param(6, 10, 1, id="never under a second"),
        pytest.param(30, 5, 2, id="1.5 s are rounded up, as Go's Duration.Round does"),
        pytest.param(28, 5, 1, id="1.4 s are rounded down"),
    ],
)
def test_the_panic_window_is_a_share_of_the_window_in_whole_seconds(
    window_s: float, percentage: float, panic_s: float
) -> None:
    knobs = KpaKnobs(window_s=window_s, panic_window_percentage=percentage)
    assert knobs.config().panic_window_s == panic_s
