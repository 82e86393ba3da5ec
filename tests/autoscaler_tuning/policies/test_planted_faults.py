"""The tests of elastic's parts find each of these one-line faults in them."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

from tests.paths import ROOT

POLICIES, TESTS = "autoscaler_tuning.policies", "tests.autoscaler_tuning.policies"

FAULTS = [
    pytest.param(
        ("elastic.recurrence", "self.misses <= MISSES_A_HIT * self.hits", "True"),
        ("test_recurrence", "test_an_interval_that_proved_true_survives_two_misses_and_one_that_never_did_none", ()),
        id="an interval is never given up",
    ),
    pytest.param(
        ("elastic.recurrence", "expected[1].misses += 1", "expected[1].misses += 0"),
        ("test_recurrence", "test_a_burst_that_never_comes_again_is_prepared_for_once_at_each_interval", ()),
        id="a burst that does not come is no miss",
    ),
    pytest.param(
        ("elastic.recurrence", "- now_s) <= one[1].tolerance_s]", "- now_s) <= 9 * one[1].tolerance_s]"),
        ("test_recurrence", "test_a_burst_counts_as_expected_only_within_the_tolerance", ()),
        id="any burst is a hit",
    ),
    pytest.param(
        ("elastic.recurrence", "np.maximum(expected, self", "np.add(expected, self"),
        ("test_recurrence", "test_traffic_that_is_already_as_high_needs_nothing_more", ()),
        id="a burst is added to traffic that contains it",
    ),
    pytest.param(
        ("elastic.elastic", "self._error_paths.explain([", "list(["),
        ("test_bounded_waste", "test_between_bursts_that_are_expected_no_pod_is_kept_for_them", (3, 25, 2)),
        id="an expected burst counts as an error of the forecast",
    ),
    pytest.param(
        ("elastic.elastic", "self._recurs = bool(explained_s)", "self._recurs = False"),
        ("test_elastic", "test_capacity_is_held_for_one_start_where_bursts_follow_a_known_interval", ()),
        id="capacity is held as if the next burst were unknown",
    ),
    pytest.param(
        ("elastic.elastic", "is_due = cause == FOR_DUE", "is_due = False"),
        ("test_elastic", "test_pods_for_a_burst_that_was_due_and_did_not_come_are_held_for_one_start", ()),
        id="pods for a burst that did not come are held like others",
    ),
    pytest.param(
        ("elastic.error_paths", "self._unexplained[rows + self._rows] = 0.0", "self._unexplained[rows] = 1.0"),
        ("test_error_paths", "test_a_burst_that_is_explained_is_neither_an_error_nor_a_sign_of_others", ()),
        id="the paths of an explained burst still count",
    ),
    pytest.param(
        ("elastic.error_paths", "log(self._mean_rps + 1)", "log(level_rps + 1)"),
        ("test_error_paths", "test_paths_from_a_lull_count_less_in_a_calm_that_lasts", ()),
        id="what the rate was before does not count",
    ),
    pytest.param(
        ("elastic.error_paths", "(times_s - growing_s / 2)", "times_s"),
        ("test_error_paths", "test_in_the_highest_noise_scenario_a_rate_that_jumped_rises_on_for_growth_s", ()),
        id="a rate that jumped rises without end",
    ),
    pytest.param(
        ("elastic.elastic", "self._forecast.growth_rps_s if obs.ready_pods else 0.0", "self._forecast.growth_rps_s"),
        ("test_elastic", "test_from_zero_only_requests_that_have_come_count_not_the_growth_of_their_rate", ()),
        id="from zero the growth of the rate counts",
    ),
    pytest.param(
        ("elastic.forecast", "recent_rps - self._rates[0][1]", "recent_rps - self.level_rps"),
        ("test_forecast", "test_a_jump_has_the_growth_of_the_last_second", ()),
        id="the growth is that of one tick",
    ),
    pytest.param(
        ("elastic.recurrence", "tried = proven or [", "tried = ["),
        ("test_recurrence", "test_once_an_interval_is_proven_no_other_is_tried", ()),
        id="intervals are tried although one explains the bursts",
    ),
    pytest.param(
        ("elastic.elastic", "min(surprise_rps, prior.surprise_factor * self._forecast.level_rps)", "surprise_rps"),
        ("test_bounded_waste", "test_calm_traffic_gets_no_reserve_after_its_first_minute", ()),
        id="calm traffic gets the whole reserve",
    ),
    pytest.param(
        ("elastic.elastic", "self._pods = min(most, self._pods)", "pass"),
        ("test_elastic", "test_from_zero_there_is_at_most_one_pod_for_each_request_until_a_pod_is_ready", ()),
        id="from zero it wants pods without requests",
    ),
    pytest.param(
        ("elastic.elastic", "self._busy_s = self._updated_s = obs.now_s", "self._updated_s = obs.now_s"),
        ("test_memory", "test_after_a_restart_it_knows_that_there_is_traffic", ()),
        id="a restart makes it idle",
    ),
    pytest.param(
        ("elastic.memory", 'state.get("version") != VERSION', "False"),
        (
            "test_memory",
            "test_a_state_of_another_kind_is_refused_with_the_rule_and_the_value",
            ({"version": 2}, "1, got"),
        ),
        id="a state of any version is taken",
    ),
    pytest.param(
        ("elastic.queueing", "max(share, 1 - pods / load)", "share"),
        ("test_queueing", "test_the_limits", (2, 8.0, 0.75)),
        id="an overload makes few responses late",
    ),
    pytest.param(
        ("elastic.queueing", "exp(-_decay(utilization) * pods", "exp(-_decay(utilization)"),
        ("test_queueing", "test_it_agrees_with_a_simulation_within_a_factor_of_two", (3, 2.7)),
        id="three pods drain a queue no faster than one",
    ),
    pytest.param(
        ("never_worse", "self._overspent >= least", "False"),
        ("test_never_worse", "test_while_it_has_overspent_the_pods_of_stock_kpa_are_wanted", ()),
        id="stock KPA never decides",
    ),
    pytest.param(
        ("never_worse", "allowance.ratio * (stock - stock_before)", "allowance.ratio * (live - live_before)"),
        ("test_never_worse", "test_while_it_has_overspent_the_pods_of_stock_kpa_are_wanted", ()),
        id="the live cost is compared with itself",
    ),
    pytest.param(
        ("never_worse", "decision.pods >= 0", "decision.pods >= -9"),
        ("test_never_worse", "test_an_invalid_decision_is_replaced_by_that_of_stock_kpa", (-1,)),
        id="negative pods pass",
    ),
    pytest.param(
        ("never_worse", "if obs.fresh and is_valid(stock) and", "if obs.fresh and"),
        ("test_never_worse", "test_if_every_decision_is_invalid_the_pods_stay", ()),
        id="invalid pods of stock KPA pass",
    ),
]


@contextmanager
def planted(module: str, old: str, new: str, tests: str) -> Iterator[ModuleType]:
    """Import the tests anew with one line of the policies replaced; put everything back afterwards."""
    ours = ("autoscaler_tuning", "tests.autoscaler_tuning")
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith(ours)}
    try:
        name = f"{POLICIES}.{module}"
        path = ROOT / f"{name.replace('.', '/')}.py"
        source = path.read_text()
        assert source.count(old) == 1, f"{old!r} must be in {path.name} once, to plant the fault there"
        importlib.import_module(name.rpartition(".")[0])
        faulty = sys.modules[name] = ModuleType(name)
        exec(compile(source.replace(old, new), str(path), "exec"), faulty.__dict__)
        yield importlib.import_module(f"{TESTS}.{tests}")
    finally:
        for name in [name for name in sys.modules if name.startswith(ours)]:
            del sys.modules[name]
        sys.modules.update(before)


@pytest.mark.parametrize(("fault", "found_by"), FAULTS)
def test_a_planted_fault_is_found(fault: tuple[str, str, str], found_by: tuple[str, str, tuple[Any, ...]]) -> None:
    tests, name, arguments = found_by
    with planted(*fault, tests) as module:
        test: Callable[..., None] = getattr(module, name)
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            test(*arguments)


@pytest.mark.parametrize("found_by", [pytest.param(fault.values[1], id=str(fault.id)) for fault in FAULTS])
def test_without_the_fault_the_same_test_passes(found_by: tuple[str, str, tuple[Any, ...]]) -> None:
    tests, name, arguments = found_by
    getattr(importlib.import_module(f"{TESTS}.{tests}"), name)(*arguments)
