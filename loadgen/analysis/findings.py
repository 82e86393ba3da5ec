"""Checks of stress scenarios: each takes a run with named phases and returns a finding."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from loadgen.analysis.columns import Columns, Floats, columns, quantile
from loadgen.analysis.run_diff import Change, DiffError, compare
from loadgen.records import Failure, Record

# Share of the requests of a phase that may be late if the phase is to count as healthy.
LATE_RATIO = 0.05
# Time without a late request after which the server has recovered.
STEADY_S = 2.0


@dataclass(frozen=True, slots=True)
class Span:
    """A phase of the plan as it was carried out, in seconds since the start of the run; rate_rps: its planned rate."""

    name: str
    start_s: float
    end_s: float
    rate_rps: float


@dataclass(frozen=True, slots=True)
class StressRun:
    """The run of a scenario; slow: the records of slow clients, which `records` does not contain."""

    records: tuple[Record, ...]
    spans: tuple[Span, ...]
    slo_s: float
    slow: tuple[Record, ...] = ()

    def span(self, name: str) -> Span:
        """Return the named phase; raise KeyError if the run never reached it."""
        for span in self.spans:
            if span.name == name:
                return span
        raise KeyError(f"no phase {name!r} among {[span.name for span in self.spans]}")

    def due_in(self, span: Span) -> tuple[Record, ...]:
        """Return the requests that were due in a phase."""
        return tuple(record for record in self.records if span.start_s <= record.intended_s < span.end_s)


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check."""

    held: bool
    text: str

    @property
    def line(self) -> str:
        """Return the finding as a line of a report."""
        return f"{'ok  ' if self.held else 'FAIL'}  {self.text}"


Check = Callable[[StressRun], Finding]


def none_lost(phase: str, most_ratio: float = 0.0) -> Check:
    """Check that every request of the phase was successful, however late."""

    def check(run: StressRun) -> Finding:
        due = run.due_in(run.span(phase))
        lost = sum(not record.good for record in due)
        text = f"{phase}: {lost} of {len(due)} requests were not successful (limit {100 * most_ratio:g} %)"
        return Finding(lost <= most_ratio * len(due), text)

    return check


def healthy(phase: str) -> Check:
    """Check that at most LATE_RATIO of the requests of the phase are late."""

    def check(run: StressRun) -> Finding:
        ratio = late_ratio(run.due_in(run.span(phase)), run.slo_s)
        text = f"{phase}: {100 * ratio:.1f} % late, over {run.slo_s:g} s (limit {100 * LATE_RATIO:g} %)"
        return Finding(ratio <= LATE_RATIO, text)

    return check


def recovers(phase: str, within_s: float) -> Check:
    """Check that late requests caused by the previous phase stop within within_s of the start of this phase."""

    def check(run: StressRun) -> Finding:
        span = run.span(phase)
        late_s = [record.intended_s for record in run.due_in(span) if record.slo_latency_s > run.slo_s]
        last_late_s = _end_of_first_late_series(np.array(late_s), span)
        if last_late_s > span.end_s - STEADY_S:
            return Finding(False, f"{phase}: requests are still late at its end, after {span.end_s - span.start_s:g} s")
        after_s = max(0.0, last_late_s - span.start_s)
        return Finding(after_s <= within_s, f"{phase}: recovered after {after_s:.1f} s (limit {within_s:g} s)")

    return check


def no_drift(phase: str) -> Check:
    """Check that the second half of a long steady phase is no slower than the first."""

    def check(run: StressRun) -> Finding:
        span = run.span(phase)
        middle_s = (span.start_s + span.end_s) / 2
        first = run.due_in(replace(span, end_s=middle_s))
        second = run.due_in(replace(span, start_s=middle_s))
        return _no_worse(f"{phase}, second half against first", first, second, run.slo_s)

    return check


def unharmed(phase: str, by: str) -> Check:
    """Check that requests in phase `by` are served as well as those in the other phase."""

    def check(run: StressRun) -> Finding:
        before, after = run.due_in(run.span(phase)), run.due_in(run.span(by))
        return _no_worse(f"{by} against {phase}", before, after, run.slo_s)

    return check


def slow_clients_served() -> Check:
    """Check that every slow client gets a response, even if it is a rejection."""

    def check(run: StressRun) -> Finding:
        answered = sum(record.status > 0 for record in run.slow)
        kinds = ", ".join(sorted({str(record.status or record.failure.value) for record in run.slow}))
        text = f"slow clients: {answered} of {len(run.slow)} got a response ({kinds or 'none sent'})"
        return Finding(bool(run.slow) and answered == len(run.slow), text)

    return check


def first_response(phase: str, within_s: float) -> Check:
    """Check that the first successful response after an idle time, which includes the cold start, comes soon."""

    def check(run: StressRun) -> Finding:
        latencies_s = [record.slo_latency_s for record in run.due_in(run.span(phase))]
        fastest_s, slowest_s = min(latencies_s, default=np.inf), max(latencies_s, default=np.inf)
        text = (
            f"{phase}: first successful response after {fastest_s:.2f} s (limit {within_s:g} s), "
            f"last after {slowest_s:.2f} s"
        )
        return Finding(fastest_s <= within_s, text)

    return check


def degrades_gracefully(steps: Sequence[str], most_broken_ratio: float = 0.01) -> Check:
    """Check that an overloaded server does not drop connections; being slow or rejecting requests is allowed.

    The finding also contains the rate at which the server broke.
    """

    def check(run: StressRun) -> Finding:
        reached = [span for span in run.spans if span.name in steps]
        missed = [span for span in reached if late_ratio(run.due_in(span), run.slo_s) > LATE_RATIO]
        held_rps = max(
            (span.rate_rps for span in reached if not missed or span.start_s < missed[0].start_s), default=0.0
        )
        due = [record for span in reached for record in run.due_in(span)]
        dropped = sum(record.failure in (Failure.CLOSED, Failure.CONNECT, Failure.PROTOCOL) for record in due)
        where = f"broke at {missed[0].rate_rps:g}/s" if missed else "did not break"
        text = f"ramp: healthy up to {held_rps:g}/s, {where}; {dropped} of {len(due)} connections dropped"
        return Finding(dropped <= most_broken_ratio * len(due), text)

    return check


def late_ratio(due: Sequence[Record], slo_s: float) -> float:
    """Return the share of late requests; 0 if there are no requests."""
    return sum(record.slo_latency_s > slo_s for record in due) / len(due) if due else 0.0


def _end_of_first_late_series(late_s: Floats, span: Span) -> float:
    """Return when the late requests end that start with the span; a gap of up to STEADY_S between them is allowed."""
    marks_s = np.concatenate(([span.start_s], np.sort(late_s)))
    gaps = np.flatnonzero(np.diff(marks_s) > STEADY_S)
    return float(marks_s[gaps[0] if gaps.size else -1])


def _no_worse(name: str, first: Sequence[Record], second: Sequence[Record], slo_s: float) -> Finding:
    before, after = _from_zero(columns(first)), _from_zero(columns(second))
    try:
        diff = compare(before, after, slo_s, np.random.default_rng(0))
    except DiffError as error:
        return Finding(False, f"{name}: cannot be compared: {error}")
    p95s_s = [quantile(side.slo_latency_s, 0.95) for side in (before, after)]
    text = f"{name}: p95 {p95s_s[0]:.3f} s, then {p95s_s[1]:.3f} s: {diff.verdict.value}"
    return Finding(diff.verdict is not Change.WORSE, text)


def _from_zero(side: Columns) -> Columns:
    """Shift the times of a phase so that it can be compared as a run of its own."""
    zero_s = float(side.intended_s.min(initial=np.inf)) if side.planned else 0.0
    return Columns(side.intended_s - zero_s, side.sent_s - zero_s, side.done_s - zero_s, side.good)
