"""The page that says who wins where: its verdicts and its words."""

import pytest

from autoscaler_tuning.report.headline import LIVE
from scripts.comparison import Match, match_table, standing, standings, words


def match(stock: tuple[float, float], ours: tuple[float, float], traffic: str = "a.txt", where: str = "here") -> Match:
    return Match(traffic, where, standing("kpa", [stock]), standing("elastic", [ours]))


@pytest.mark.parametrize(
    ("stock", "ours", "verdict"),
    [
        ((0.02, 100.0), (0.01, 50.0), "elastic in both"),
        ((0.01, 50.0), (0.02, 100.0), "kpa in both"),
        ((0.02, 50.0), (0.01, 100.0), "elastic has fewer late, kpa is cheaper"),
        ((0.01, 100.0), (0.0101, 50.0), "elastic is cheaper"),
        ((0.02, 100.0), (0.01, 101.0), "elastic has fewer late"),
        ((0.01, 100.0), (0.01, 101.0), "no difference"),
    ],
)
def test_a_verdict_names_who_is_later_and_who_is_dearer(
    stock: tuple[float, float], ours: tuple[float, float], verdict: str
) -> None:
    assert match(stock, ours).verdict == verdict


def test_a_difference_in_which_the_seeds_disagree_or_that_is_noise_live_is_none() -> None:
    stock = standing("kpa", [(0.02, 100.0), (0.01, 100.0)])
    ours = standing("elastic", [(0.01, 100.0), (0.0105, 100.0)])
    assert Match("a.txt", "here", stock, ours).verdict == "no difference"
    once = standing("kpa", [(0.0015, 100.0)]), standing("elastic", [(0.0, 96.0)])
    assert Match("a.txt", "here", *once).verdict == "elastic in both"
    assert Match("a.txt", "live", *once, noise=LIVE).verdict == "no difference"


def test_the_words_count_the_rows_and_name_those_that_are_lost() -> None:
    matches = [match((0.02, 100.0), (0.01, 50.0)), match((0.0, 100.0), (0.01, 200.0), "calm.txt")]
    live = [match((0.03, 100.0), (0.01, 60.0), where="live"), match((0.02, 100.0), (0.01, 55.0), where="simulated")]
    text = words(matches, live, [])
    assert "fewer late requests and fewer pod-seconds in 1 of 2 rows, and KPA has both in 1" in text
    assert "1.00 % of the requests are late under `elastic` and 1.00 % under KPA, at 1.00 times" in text
    assert (
        "costs more than KPA in 1: calm.txt (here: late 1.00 % and KPA 0.00 %, at 2.00 times the pod-seconds)" in text
    )
    assert "On a real Knative (a.txt; 1 and 1 runs), `elastic`" in text
    assert "had 1.00 % late requests and stock KPA 3.00 %, at 0.60 times KPA's pod-seconds; the simulator says" in text
    assert "On a real Knative" not in words(matches, [], [])


def test_standings_are_means_over_the_seeds_and_a_row_shows_all_policies() -> None:
    rows = [{"policy": "kpa", "late_ratio": late, "pod_seconds": pods} for late, pods in ((0.01, 10), (0.03, 30))]
    ordered = {"policy": "kpa@deadline", "late_ratio": 0.015, "pod_seconds": 20}
    found = standings([*rows, ordered, {"policy": "elastic", "late_ratio": 0.01, "pod_seconds": 10}])
    assert (found["kpa"].late_ratio, found["kpa"].pod_seconds) == (0.02, 20.0)
    assert found["kpa"].runs == ((0.01, 10.0), (0.03, 30.0))
    table = match_table([Match("a.txt", "here", found["kpa"], found["elastic"], found["kpa@deadline"])])
    assert table.lines == (("a.txt", "here", "2.000", "1.500", "1.000", "20", "10", "0.50", "elastic in both"),)
    live = match_table([Match("a.txt", "live", found["kpa"], found["elastic"])])
    assert live.lines[0][3] == "–"
