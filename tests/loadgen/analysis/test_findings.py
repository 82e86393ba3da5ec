"""Checks of stress scenarios, on runs that have the weakness and on runs that do not."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from loadgen.analysis.findings import (
    Check,
    Span,
    StressRun,
    degrades_gracefully,
    first_response,
    healthy,
    late_ratio,
    no_drift,
    none_lost,
    recovers,
    slow_clients_served,
    unharmed,
)
from loadgen.analysis.stress_scenarios import SCENARIOS, Act, Phase, Scenario, plan_acts
from loadgen.records import Failure, Record
from tests.loadgen.runs import good, lost, queue, refused


def steady(start_s: float, end_s: float, latency_s: float = 0.1, rate_rps: float = 10.0) -> list[Record]:
    return [good(start_s + index / rate_rps, latency_s) for index in range(round((end_s - start_s) * rate_rps))]


def stressed(*parts: tuple[str, Sequence[Record]], slow: Sequence[Record] = ()) -> StressRun:
    """Return a run with phases of ten seconds each, at 10/s, 20/s, 30/s and so on."""
    spans = [Span(name, 10.0 * index, 10.0 * index + 10, 10.0 * (index + 1)) for index, (name, _) in enumerate(parts)]
    return StressRun(tuple(record for _, records in parts for record in records), tuple(spans), 0.5, tuple(slow))


def found(check: Check, run: StressRun) -> tuple[bool, str]:
    finding = check(run)
    return finding.held, finding.text


def test_the_line_of_a_finding_starts_with_its_result() -> None:
    assert none_lost("spike")(stressed(("spike", [refused(1.0)]))).line.startswith("FAIL  spike: 1 of 1")
    assert none_lost("spike")(stressed(("spike", [good(1.0, 9.0)]))).line.startswith("ok    spike: 0 of 1")


def test_unsuccessful_requests_are_lost_and_slow_ones_are_not() -> None:
    spike = [good(1.0, 20.0), refused(2.0), lost(3.0), good(4.0, 0.1)]
    assert found(none_lost("spike"), stressed(("spike", spike))) == (
        False,
        "spike: 2 of 4 requests were not successful (limit 0 %)",
    )
    assert none_lost("spike", most_ratio=0.5)(stressed(("spike", spike))).held


def test_a_check_covers_only_its_own_phase() -> None:
    assert none_lost("after")(stressed(("before", [refused(9.9)]), ("after", [good(10.0, 0.1)]))).held
    assert not none_lost("after")(stressed(("before", []), ("after", [refused(10.0)]))).held


def test_a_phase_is_healthy_if_at_most_five_percent_are_late() -> None:
    assert healthy("a")(stressed(("a", steady(0, 9.5) + [refused(9.6)] * 5))).held
    assert not healthy("a")(stressed(("a", steady(0, 9.4) + [refused(9.6)] * 6))).held
    assert late_ratio([], 0.5) == 0


def test_recovery_comes_after_the_last_late_request_caused_by_the_previous_phase() -> None:
    after = steady(10, 13, latency_s=2.0) + steady(13, 20)
    assert found(recovers("after", within_s=5), stressed(("spike", []), ("after", after))) == (
        True,
        "after: recovered after 2.9 s (limit 5 s)",
    )
    assert not recovers("after", within_s=2)(stressed(("spike", []), ("after", after))).held


def test_a_phase_without_late_requests_recovers_at_once() -> None:
    assert found(recovers("after", within_s=5), stressed(("spike", []), ("after", steady(10, 20))))[1].startswith(
        "after: recovered after 0.0 s"
    )


def test_late_requests_much_later_were_not_caused_by_the_previous_phase() -> None:
    after = [*steady(10, 11, latency_s=2.0), *steady(11, 15), good(15.0, 2.0), *steady(15.1, 20)]
    assert "after 0.9 s" in found(recovers("after", within_s=5), stressed(("spike", []), ("after", after)))[1]


def test_a_phase_that_is_late_to_its_end_has_not_recovered() -> None:
    assert found(recovers("after", within_s=60), stressed(("spike", []), ("after", steady(10, 20, latency_s=2.0)))) == (
        False,
        "after: requests are still late at its end, after 10 s",
    )


def test_a_soak_that_becomes_slower_drifts() -> None:
    level = StressRun(queue(1, 0.02, 120).records, (Span("soak", 0, 120, 20),), 0.5)
    rising = replace(level, records=tuple(good(r.intended_s, 0.1 + r.intended_s / 500) for r in level.records))
    assert no_drift("soak")(level).held
    finding = no_drift("soak")(rising)
    assert (finding.held, finding.text[-5:]) == (False, "WORSE")


def test_a_phase_that_is_too_short_to_compare_does_not_pass() -> None:
    assert found(no_drift("soak"), stressed(("soak", steady(0, 10)))) == (
        False,
        "soak, second half against first: cannot be compared: a run must last at least 5 s, got 4.9 s",
    )


def test_slow_clients_harm_the_others_if_those_become_slower() -> None:
    calm, worse = steady(0, 10), steady(10, 20, latency_s=0.3)
    assert unharmed("before", by="slow")(stressed(("before", calm), ("slow", steady(10, 20)))).held
    assert not unharmed("before", by="slow")(stressed(("before", calm), ("slow", worse))).held


def test_slow_clients_may_be_rejected_but_must_get_a_response() -> None:
    assert slow_clients_served()(stressed(slow=[good(0.0, 11.0), refused(0.0)])).held
    assert found(slow_clients_served(), stressed(slow=[good(0.0, 11.0), lost(0.0)])) == (
        False,
        "slow clients: 1 of 2 got a response (200, timeout)",
    )
    assert not slow_clients_served()(stressed()).held


def test_the_first_successful_response_ends_the_cold_start() -> None:
    herd = [good(0.0, 3.0), good(0.0, 8.0), refused(0.0, 0.001)]
    held, text = found(first_response("herd", within_s=5), stressed(("herd", herd)))
    assert (held, text) == (True, "herd: first successful response after 3.00 s (limit 5 s), last after inf s")
    assert not first_response("herd", within_s=2)(stressed(("herd", herd))).held
    assert not first_response("herd", within_s=2)(stressed(("herd", []))).held


def dropped(intended_s: float) -> Record:
    record = refused(intended_s)
    record.status, record.failure, record.done_s = 0, Failure.CLOSED, None
    return record


def test_a_ramp_reports_the_rate_at_which_it_broke() -> None:
    run = stressed(("1x", steady(0, 10)), ("2x", steady(10, 20)), ("4x", steady(20, 30, latency_s=2.0)))
    assert found(degrades_gracefully(["1x", "2x", "4x", "8x"]), run) == (
        True,
        "ramp: healthy up to 20/s, broke at 30/s; 0 of 300 connections dropped",
    )


def test_a_ramp_reports_that_it_did_not_break() -> None:
    assert (
        "healthy up to 20/s, did not break"
        in found(degrades_gracefully(["1x", "2x"]), stressed(("1x", steady(0, 10)), ("2x", steady(10, 20))))[1]
    )


def test_an_overloaded_server_may_reject_requests_but_not_drop_connections() -> None:
    refusing = stressed(("1x", steady(0, 10)), ("2x", [refused(10 + index / 10) for index in range(100)]))
    dropping = stressed(("1x", steady(0, 10)), ("2x", [dropped(10 + index / 10) for index in range(100)]))
    assert degrades_gracefully(["1x", "2x"])(refusing).held
    assert not degrades_gracefully(["1x", "2x"])(dropping).held


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_every_scenario_is_bounded_and_checks_existing_phases(scenario: Scenario) -> None:
    acts = plan_acts(scenario, rate_rps=10, stretch=1, seed=0)
    assert sum(act.times_s.size for act in acts) <= 10_000
    assert sum(act.spans[-1].end_s for act in acts) <= 600
    spans = tuple(span for act in acts for span in act.spans)
    run = StressRun(
        tuple(good(float(time_s), 0.1) for act in acts for time_s in act.times_s), spans, 0.5, (good(0.0, 11.0),)
    )
    assert all(check(run).text for check in scenario.checks)


def test_a_plan_has_the_rate_of_each_phase() -> None:
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


def test_stretch_changes_lengths_and_not_rates() -> None:
    scenario = Scenario("", "", (Act((Phase("a", 10, 1), Phase("b", 1, 1))),), ())
    (act,) = plan_acts(scenario, rate_rps=5, stretch=0.5, seed=0)
    assert [(span.start_s, span.end_s) for span in act.spans] == [(0, 5), (5, 6)]
    assert act.times_s.size == 30


def test_a_herd_arrives_at_one_time() -> None:
    (act,) = plan_acts(SCENARIOS["herd"], rate_rps=10, stretch=1, seed=0)
    herd = act.spans[1]
    due_s = act.times_s[(act.times_s >= herd.start_s) & (act.times_s < herd.end_s)]
    assert (due_s.size, set(due_s.tolist())) == (200, {60.0})


def test_slow_clients_start_in_the_first_half_of_their_phase() -> None:
    (act,) = plan_acts(SCENARIOS["slow-clients"], rate_rps=10, stretch=1, seed=0)
    assert (act.slow_times_s.size, act.slow_times_s.min(), act.slow_times_s.max()) == (50, 20, 30)
