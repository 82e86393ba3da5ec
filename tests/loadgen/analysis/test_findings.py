"""What stress scenarios look for: each check on runs that have the weakness and on runs that do not."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from loadgen.analysis.findings import (
    Check,
    Seen,
    Span,
    breaks_well,
    first_answer,
    in_order,
    late_ratio,
    no_drift,
    none_lost,
    recovers,
    slow_served,
    unharmed,
)
from loadgen.analysis.stress_scenarios import SCENARIOS, Act, Phase, Scenario, plan_acts
from loadgen.records import Failure, Record
from tests.loadgen.runs import good, lost, queue, refused


def steady(start_s: float, end_s: float, latency_s: float = 0.1, rate_rps: float = 10.0) -> list[Record]:
    return [good(start_s + index / rate_rps, latency_s) for index in range(round((end_s - start_s) * rate_rps))]


def seen(*parts: tuple[str, Sequence[Record]], slow: Sequence[Record] = ()) -> Seen:
    """Phases of ten seconds each, 10/s, 20/s, 30/s and so on."""
    spans = [Span(name, 10.0 * index, 10.0 * index + 10, 10.0 * (index + 1)) for index, (name, _) in enumerate(parts)]
    return Seen(tuple(record for _, records in parts for record in records), tuple(spans), 0.5, tuple(slow))


def found(check: Check, run: Seen) -> tuple[bool, str]:
    finding = check(run)
    return finding.held, finding.words


def test_a_line_says_whether_it_held() -> None:
    assert none_lost("spike")(seen(("spike", [refused(1.0)]))).line.startswith("FAIL  spike: 1 of 1")
    assert none_lost("spike")(seen(("spike", [good(1.0, 9.0)]))).line.startswith("ok    spike: 0 of 1")


def test_lost_is_who_got_no_good_answer_and_slow_is_not_lost() -> None:
    spike = [good(1.0, 20.0), refused(2.0), lost(3.0), good(4.0, 0.1)]
    assert found(none_lost("spike"), seen(("spike", spike))) == (
        False,
        "spike: 2 of 4 got no good answer (at most 0 % may)",
    )
    assert none_lost("spike", most_ratio=0.5)(seen(("spike", spike))).held


def test_only_the_phase_itself_counts() -> None:
    assert none_lost("after")(seen(("before", [refused(9.9)]), ("after", [good(10.0, 0.1)]))).held
    assert not none_lost("after")(seen(("before", []), ("after", [refused(10.0)]))).held


def test_a_phase_is_in_order_while_at_most_five_percent_are_late() -> None:
    assert in_order("a")(seen(("a", steady(0, 9.5) + [refused(9.6)] * 5))).held
    assert not in_order("a")(seen(("a", steady(0, 9.4) + [refused(9.6)] * 6))).held
    assert late_ratio([], 0.5) == 0


def test_recovery_is_the_last_late_request_of_the_trouble_that_came_over() -> None:
    after = steady(10, 13, latency_s=2.0) + steady(13, 20)
    assert found(recovers("after", within_s=5), seen(("spike", []), ("after", after))) == (
        True,
        "after: in order again after 2.9 s (at most 5 s)",
    )
    assert not recovers("after", within_s=2)(seen(("spike", []), ("after", after))).held


def test_a_phase_without_trouble_recovers_at_once() -> None:
    assert found(recovers("after", within_s=5), seen(("spike", []), ("after", steady(10, 20))))[1].startswith(
        "after: in order again after 0.0 s"
    )


def test_trouble_much_later_is_not_what_came_over() -> None:
    after = [*steady(10, 11, latency_s=2.0), *steady(11, 15), good(15.0, 2.0), *steady(15.1, 20)]
    assert "after 0.9 s" in found(recovers("after", within_s=5), seen(("spike", []), ("after", after)))[1]


def test_trouble_to_the_end_is_no_recovery() -> None:
    assert found(recovers("after", within_s=60), seen(("spike", []), ("after", steady(10, 20, latency_s=2.0)))) == (
        False,
        "after: still late at its end, 10 s later",
    )


def test_a_soak_that_becomes_slower_drifts() -> None:
    level = Seen(queue(1, 0.02, 120).records, (Span("soak", 0, 120, 20),), 0.5)
    rising = replace(level, records=tuple(good(r.intended_s, 0.1 + r.intended_s / 500) for r in level.records))
    assert no_drift("soak")(level).held
    finding = no_drift("soak")(rising)
    assert (finding.held, finding.words[-5:]) == (False, "WORSE")


def test_a_phase_that_is_too_short_to_compare_does_not_pass() -> None:
    assert found(no_drift("soak"), seen(("soak", steady(0, 10)))) == (
        False,
        "soak, second half against first: cannot be told: a run must last 5 s to be compared, was 4.9 s",
    )


def test_others_are_harmed_when_they_become_slower() -> None:
    calm, worse = steady(0, 10), steady(10, 20, latency_s=0.3)
    assert unharmed("before", by="slow")(seen(("before", calm), ("slow", steady(10, 20)))).held
    assert not unharmed("before", by="slow")(seen(("before", calm), ("slow", worse))).held


def test_slow_clients_may_be_refused_but_not_left_without_an_answer() -> None:
    assert slow_served()(seen(slow=[good(0.0, 11.0), refused(0.0)])).held
    assert found(slow_served(), seen(slow=[good(0.0, 11.0), lost(0.0)])) == (
        False,
        "slow clients: 1 of 2 got an answer (200, timeout)",
    )
    assert not slow_served()(seen()).held


def test_the_first_good_answer_ends_the_cold_start() -> None:
    herd = [good(0.0, 3.0), good(0.0, 8.0), refused(0.0, 0.001)]
    held, words = found(first_answer("herd", within_s=5), seen(("herd", herd)))
    assert (held, words) == (True, "herd: first good answer after 3.00 s (at most 5 s), last after inf s")
    assert not first_answer("herd", within_s=2)(seen(("herd", herd))).held
    assert not first_answer("herd", within_s=2)(seen(("herd", []))).held


def dropped(intended_s: float) -> Record:
    record = refused(intended_s)
    record.status, record.failure, record.done_s = 0, Failure.CLOSED, None
    return record


def test_a_ramp_tells_where_it_broke() -> None:
    run = seen(("1x", steady(0, 10)), ("2x", steady(10, 20)), ("4x", steady(20, 30, latency_s=2.0)))
    assert found(breaks_well(["1x", "2x", "4x", "8x"]), run) == (
        True,
        "ramp: held up to 20/s, broke at 30/s; 0 of 300 connections dropped",
    )


def test_a_ramp_that_never_broke_says_so() -> None:
    assert (
        "held up to 20/s, did not break"
        in found(breaks_well(["1x", "2x"]), seen(("1x", steady(0, 10)), ("2x", steady(10, 20))))[1]
    )


def test_breaking_by_refusals_is_well_and_by_dropped_connections_is_not() -> None:
    refusing = seen(("1x", steady(0, 10)), ("2x", [refused(10 + index / 10) for index in range(100)]))
    dropping = seen(("1x", steady(0, 10)), ("2x", [dropped(10 + index / 10) for index in range(100)]))
    assert breaks_well(["1x", "2x"])(refusing).held
    assert not breaks_well(["1x", "2x"])(dropping).held


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_every_scenario_is_bounded_and_checks_phases_that_it_has(scenario: Scenario) -> None:
    acts = plan_acts(scenario, rate_rps=10, stretch=1, seed=0)
    assert sum(act.times_s.size for act in acts) <= 10_000
    assert sum(act.spans[-1].end_s for act in acts) <= 600
    spans = tuple(span for act in acts for span in act.spans)
    run = Seen(
        tuple(good(float(time_s), 0.1) for act in acts for time_s in act.times_s), spans, 0.5, (good(0.0, 11.0),)
    )
    assert all(check(run).words for check in scenario.checks)


def test_a_plan_has_each_phases_rate_in_its_place() -> None:
    scenario = Scenario("", "", (Act((Phase("a", 2, 1), Phase("b", 3, 4), Phase("c", 1, 0))),), ())
    (act,) = plan_acts(scenario, rate_rps=5, stretch=1, seed=0)
    assert [(span.name, span.start_s, span.end_s, span.rate_rps) for span in act.spans] == [
        ("a", 0, 2, 5),
        ("b", 2, 5, 20),
        ("c", 5, 6, 0),
    ]
    assert [int(((act.times_s >= span.start_s) & (act.times_s < span.end_s)).sum()) for span in act.spans] == [
        10,
        60,
        0,
    ]


def test_stretch_changes_seconds_and_not_rates() -> None:
    scenario = Scenario("", "", (Act((Phase("a", 10, 1), Phase("b", 1, 1))),), ())
    (act,) = plan_acts(scenario, rate_rps=5, stretch=0.5, seed=0)
    assert [(span.start_s, span.end_s) for span in act.spans] == [(0, 5), (5, 6)]
    assert act.times_s.size == 30


def test_a_herd_comes_at_one_moment() -> None:
    (act,) = plan_acts(SCENARIOS["herd"], rate_rps=10, stretch=1, seed=0)
    herd = act.spans[1]
    due_s = act.times_s[(act.times_s >= herd.start_s) & (act.times_s < herd.end_s)]
    assert (due_s.size, set(due_s.tolist())) == (200, {60.0})


def test_slow_clients_begin_over_the_first_half_of_their_phase() -> None:
    (act,) = plan_acts(SCENARIOS["slow-clients"], rate_rps=10, stretch=1, seed=0)
    assert (act.slow_times_s.size, act.slow_times_s.min(), act.slow_times_s.max()) == (50, 20, 30)
