"""The headline: who wins, in words with the figures, and whether two comparisons agree."""

from statistics import fmean

import pytest

from autoscaler_tuning.report.headline import LIVE, SIMULATED, Headline, Standing, differences, headline

KPA = Standing("kpa", 0.02, 0, 1000.0)


def ours(late_ratio: float, pod_seconds: float, lost: int = 0) -> Standing:
    return Standing("elastic", late_ratio, lost, pod_seconds)


@pytest.mark.parametrize(
    ("standing", "title", "ending"),
    [
        pytest.param(ours(0.01, 500.0), "elastic wins against kpa", "(50 % fewer): elastic wins.", id="better in both"),
        pytest.param(ours(0.02, 500.0), "elastic wins against kpa", "elastic wins.", id="cheaper, as late"),
        pytest.param(ours(0.03, 1200.0), "elastic loses against kpa", "(20 % more): kpa wins.", id="worse in both"),
        pytest.param(ours(0.02, 1200.0), "elastic loses against kpa", "kpa wins.", id="dearer, as late"),
        pytest.param(ours(0.0201, 1019.0), "elastic is level with kpa", "neither wins.", id="within the noise"),
        pytest.param(
            ours(0.01, 1200.0),
            "elastic is better in one figure and worse in the other than kpa",
            "neither wins in both.",
            id="fewer late, but dearer",
        ),
    ],
)
def test_the_headline_names_the_winner_even_if_that_is_another_one(standing: Standing, title: str, ending: str) -> None:
    found = headline([KPA, standing], "elastic", SIMULATED)
    assert found.title == title
    assert found.sentences[0].endswith(ending)


def test_each_other_policy_has_a_sentence_with_the_figures_of_both() -> None:
    hpa = Standing("hpa", 0.0, 0, 9000.0)
    found = headline([KPA, hpa, ours(0.0025, 500.0)], "elastic", SIMULATED)
    assert found.title == "elastic wins against kpa and is better in one figure and worse in the other than hpa"
    assert found.sentences[0] == (
        "elastic and kpa: 0.25 % and 2.00 % of the requests late, 500 and 1,000 pod-seconds (50 % fewer): elastic wins."
    )
    assert "0.25 % and 0.00 %" in found.sentences[1]


def test_lost_requests_are_named_only_if_there_are_any() -> None:
    assert "3 and 0 requests lost" in headline([KPA, ours(0.01, 500.0, lost=3)], "elastic", SIMULATED).sentences[0]
    assert "lost" not in headline([KPA, ours(0.01, 500.0)], "elastic", SIMULATED).sentences[0]


def several(policy: str, *runs: tuple[float, float]) -> Standing:
    """Return the means of several runs, each its share of late requests and its pod-seconds."""
    late_ratio, pod_seconds = (fmean(figures) for figures in zip(*runs, strict=True))
    return Standing(policy, late_ratio, 0, pod_seconds, runs)


@pytest.mark.parametrize(
    ("runs", "title"),
    [
        pytest.param(
            [(0.002, 500.0), (0.03, 500.0)],
            "elastic is better in one figure and worse in the other than hpa",
            id="both runs have more late requests, of a wide spread",
        ),
        pytest.param([(0.0, 500.0), (0.032, 500.0)], "elastic wins against hpa", id="one run has fewer late requests"),
        pytest.param([(0.0, 8500.0), (0.032, 9000.0)], "elastic is level with hpa", id="the runs disagree in both"),
        pytest.param(
            [(0.002, 500.0)],
            "elastic is better in one figure and worse in the other than hpa",
            id="fewer runs, of which each is compared with all",
        ),
        pytest.param([(0.002, 9000.0)], "elastic loses against hpa", id="fewer runs, within the others"),
    ],
)
def test_a_difference_counts_if_no_run_contradicts_it(runs: list[tuple[float, float]], title: str) -> None:
    hpa = several("hpa", (0.001, 8000.0), (0.001, 10_000.0))
    found = headline([hpa, several("elastic", *runs)], "elastic", SIMULATED)
    assert found.title == title
    assert found.sentences[-1].endswith("count as none, and so do those in which the runs disagree.")
    assert "disagree" not in headline([KPA, ours(0.01, 5.0)], "elastic", SIMULATED).sentences[-1]


def test_one_policy_alone_and_comparisons_without_ours_have_a_headline_too() -> None:
    assert headline([KPA], "elastic", SIMULATED).title == "Only kpa ran"
    assert headline([KPA, Standing("peak", 0.5, 0, 2000.0)], "elastic", SIMULATED).title == "peak loses against kpa"


def test_in_markdown_the_winner_is_a_paragraph_and_each_other_policy_an_item() -> None:
    assert Headline("a wins against b", ("By much.", "Of two.")).markdown() == (
        "**a wins against b.**\n\n- By much.\n- Of two."
    )


def test_an_invalid_run_makes_the_headline_warn() -> None:
    invalid = Standing("kpa", 0.02, 0, 1000.0, valid=False)
    title = headline([invalid, ours(0.01, 5.0)], "elastic", LIVE).title
    assert title == "no reliable result, because runs are INVALID (kpa): elastic wins against kpa"


def test_two_comparisons_differ_only_where_they_order_two_policies_in_opposite_ways() -> None:
    live, model = ([KPA, ours(0.02, 1300.0)], LIVE, "live"), ([KPA, ours(0.01, 500.0)], SIMULATED, "simulated")
    assert differences(live, model) == ["kpa has fewer pod-seconds than elastic in live, more in simulated"]
    level = ([KPA, ours(0.02, 1030.0)], LIVE, "live")
    assert differences(level, model) == []
    assert differences(model, model) == []
