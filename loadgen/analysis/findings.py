"""What a stress scenario looks for: each check reads a run whose plan has named phases, and says what it found."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from loadgen.analysis.columns import Columns, Floats, columns, quantile
from loadgen.analysis.run_diff import Change, DiffError, compare
from loadgen.records import Failure, Record

# Of the requests of a phase that may be late for it still to count as in order.
LATE_RATIO = 0.05
# So long without a late request, and the server has recovered.
STEADY_S = 2.0


@dataclass(frozen=True, slots=True)
class Span:
    """A phase of the plan as it was carried out; seconds from the run's zero. rate_rps: what was asked for in it."""

    name: str
    start_s: float
    end_s: float
    rate_rps: float


@dataclass(frozen=True, slots=True)
class Seen:
    """A scenario's run. slow: what the slow clients got, who are not among the records."""

    records: tuple[Record, ...]
    spans: tuple[Span, ...]
    slo_s: float
    slow: tuple[Record, ...] = ()

    def span(self, name: str) -> Span:
        """By its name; raises KeyError if it was never come to."""
        for span in self.spans:
            if span.name == name:
                return span
        raise KeyError(f"no phase {name!r} among {[span.name for span in self.spans]}")

    def due_in(self, span: Span) -> tuple[Record, ...]:
        """The requests that were due in a phase."""
        return tuple(record for record in self.records if span.start_s <= record.intended_s < span.end_s)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a verdict."""

    held: bool
    words: str

    @property
    def line(self) -> str:
        """For people and logs."""
        return f"{'ok  ' if self.held else 'FAIL'}  {self.words}"


Check = Callable[[Seen], Finding]


def none_lost(phase: str, most_ratio: float = 0.0) -> Check:
    """Whoever came in this phase got a good answer, however late."""

    def check(seen: Seen) -> Finding:
        due = seen.due_in(seen.span(phase))
        lost = sum(not record.good for record in due)
        words = f"{phase}: {lost} of {len(due)} got no good answer (at most {100 * most_ratio:g} % may)"
        return Finding(lost <= most_ratio * len(due), words)

    return check


def in_order(phase: str) -> Check:
    """The phase by itself holds the SLO."""

    def check(seen: Seen) -> Finding:
        ratio = late_ratio(seen.due_in(seen.span(phase)), seen.slo_s)
        words = f"{phase}: {100 * ratio:.1f} % late over {seen.slo_s:g} s (at most {100 * LATE_RATIO:g} % may)"
        return Finding(ratio <= LATE_RATIO, words)

    return check


def recovers(phase: str, within_s: float) -> Check:
    """The phase begins in trouble left by the one before, and is out of it soon."""

    def check(seen: Seen) -> Finding:
        span = seen.span(phase)
        late_s = [record.intended_s for record in seen.due_in(span) if record.useful_s > seen.slo_s]
        trouble_s = _end_of_trouble(np.array(late_s), span)
        if trouble_s > span.end_s - STEADY_S:
            return Finding(False, f"{phase}: still late at its end, {span.end_s - span.start_s:g} s later")
        after_s = max(0.0, trouble_s - span.start_s)
        return Finding(after_s <= within_s, f"{phase}: in order again after {after_s:.1f} s (at most {within_s:g} s)")

    return check


def no_drift(phase: str) -> Check:
    """The second half of a long steady phase is no slower than the first."""

    def check(seen: Seen) -> Finding:
        span = seen.span(phase)
        middle_s = (span.start_s + span.end_s) / 2
        first = seen.due_in(replace(span, end_s=middle_s))
        second = seen.due_in(replace(span, start_s=middle_s))
        return _no_worse(f"{phase}, second half against first", (first, second), seen.slo_s)

    return check


def unharmed(phase: str, by: str) -> Check:
    """Whoever comes in phase `by` fares as well as in the other."""

    def check(seen: Seen) -> Finding:
        sides = (seen.due_in(seen.span(phase)), seen.due_in(seen.span(by)))
        return _no_worse(f"{by} against {phase}", sides, seen.slo_s)

    return check


def slow_served() -> Check:
    """Slow clients get an answer, if only a refusal; none is left without one."""

    def check(seen: Seen) -> Finding:
        answered = sum(record.status > 0 for record in seen.slow)
        kinds = ", ".join(sorted({str(record.status or record.failure.value) for record in seen.slow}))
        words = f"slow clients: {answered} of {len(seen.slow)} got an answer ({kinds or 'none sent'})"
        return Finding(bool(seen.slow) and answered == len(seen.slow), words)

    return check


def first_answer(phase: str, within_s: float) -> Check:
    """Out of idleness, somebody is served soon: the cold start."""

    def check(seen: Seen) -> Finding:
        useful_s = [record.useful_s for record in seen.due_in(seen.span(phase))]
        fastest_s, slowest_s = min(useful_s, default=np.inf), max(useful_s, default=np.inf)
        words = (
            f"{phase}: first good answer after {fastest_s:.2f} s (at most {within_s:g} s), last after {slowest_s:.2f} s"
        )
        return Finding(fastest_s <= within_s, words)

    return check


def breaks_well(steps: Sequence[str], most_broken_ratio: float = 0.01) -> Check:
    """Under too much load a server is slow or says no; it does not drop connections. Tells where it broke."""

    def check(seen: Seen) -> Finding:
        reached = [span for span in seen.spans if span.name in steps]
        missed = [span for span in reached if late_ratio(seen.due_in(span), seen.slo_s) > LATE_RATIO]
        held_rps = max(
            (span.rate_rps for span in reached if not missed or span.start_s < missed[0].start_s), default=0.0
        )
        due = [record for span in reached for record in seen.due_in(span)]
        dropped = sum(record.failure in (Failure.CLOSED, Failure.CONNECT, Failure.PROTOCOL) for record in due)
        where = f"broke at {missed[0].rate_rps:g}/s" if missed else "did not break"
        words = f"ramp: held up to {held_rps:g}/s, {where}; {dropped} of {len(due)} connections dropped"
        return Finding(dropped <= most_broken_ratio * len(due), words)

    return check


def late_ratio(due: Sequence[Record], slo_s: float) -> float:
    """Share not answered well in time; of nobody, none."""
    return sum(record.useful_s > slo_s for record in due) / len(due) if due else 0.0


def _end_of_trouble(late_s: Floats, span: Span) -> float:
    """The last late request of an unbroken series that begins with the span: gaps under STEADY_S do not break it."""
    marks_s = np.concatenate(([span.start_s], np.sort(late_s)))
    gaps = np.flatnonzero(np.diff(marks_s) > STEADY_S)
    return float(marks_s[gaps[0] if gaps.size else -1])


def _no_worse(what: str, sides: tuple[Sequence[Record], Sequence[Record]], slo_s: float) -> Finding:
    before, after = (_from_zero(columns(side)) for side in sides)
    try:
        found = compare(before, after, slo_s, np.random.default_rng(0))
    except DiffError as error:
        return Finding(False, f"{what}: cannot be told: {error}")
    p95s_s = [quantile(side.useful_s, 0.95) for side in (before, after)]
    words = f"{what}: p95 {p95s_s[0]:.3f} s, then {p95s_s[1]:.3f} s: {found.verdict.value}"
    return Finding(found.verdict is not Change.WORSE, words)


def _from_zero(side: Columns) -> Columns:
    """As if the phase were a run of its own."""
    zero_s = float(side.intended_s.min(initial=np.inf)) if side.planned else 0.0
    return Columns(side.intended_s - zero_s, side.sent_s - zero_s, side.done_s - zero_s, side.good)
