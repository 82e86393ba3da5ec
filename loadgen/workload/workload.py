"""A workload: requests per second, from a file, a family's name or a trace."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadgen.errors import WorkloadError
from loadgen.workload.families import MOST_PER_SECOND, family_counts, is_family
from loadgen.workload.traces import is_trace, read_trace

__all__ = ["Workload", "WorkloadError", "read_workload"]


@dataclass(frozen=True, slots=True)
class Workload:
    """counts[i]: requests meant to be sent in second [i, i + 1).

    recorded_s: of a trace, each request's own time, ascending, as many as the counts' sum; otherwise empty.
    """

    counts: tuple[int, ...]
    recorded_s: tuple[float, ...] = ()

    @property
    def duration_s(self) -> int:
        """Seconds that it lasts."""
        return len(self.counts)

    def part(self, from_s: int, seconds: int | None) -> "Workload":
        """Some seconds of it; raises WorkloadError if there is none."""
        end_s = None if seconds is None else from_s + seconds
        counts = self.counts[from_s:end_s] if from_s >= 0 else ()
        if not counts:
            raise WorkloadError(f"no second from {from_s} on: the workload has {self.duration_s}")
        recorded_s = np.array(self.recorded_s)
        inside = recorded_s[(recorded_s >= from_s) & (recorded_s < from_s + len(counts))]
        return Workload(counts, tuple((inside - from_s).tolist()))

    def repeated(self, times: int) -> "Workload":
        """The same again, so often."""
        starts_s = np.repeat(np.arange(times) * self.duration_s, len(self.recorded_s))
        return Workload(self.counts * times, tuple((np.tile(self.recorded_s, times) + starts_s).tolist()))

    def scaled(self, factor: float) -> "Workload":
        """Rates times factor, rounded so that the running total is never off by more than a half.

        Recorded times have no place in it, unless the factor is 1.
        """
        if factor == 1:
            return self
        totals, before = 0.0, 0
        counts = []
        for count in self.counts:
            totals += count * factor
            counts.append(round(totals) - before)
            before = round(totals)
        return Workload(tuple(counts))


def read_workload(source: Path | str) -> Workload:
    """A family such as `mmpp:seed=3`, a CSV trace such as `calls.csv`, or a file of requests per second.

    Such a file has whole numbers separated by white space, on one line or many; `#` begins a comment. A file of a
    family's name goes before the family.
    Raises OSError if there is no such file, WorkloadError if it holds anything else or no number.
    """
    if is_family(str(source)) and not Path(source).exists():
        return Workload(family_counts(str(source)))
    if is_trace(str(source)):
        trace = read_trace(str(source))
        return Workload(trace.counts, trace.times_s)
    return _read_counts(Path(source))


def _read_counts(path: Path) -> Workload:
    counts: list[int] = []
    # a binary file becomes a one-line error instead of a traceback
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        for word in line.partition("#")[0].split():
            if not (word.isascii() and word.isdecimal()):
                raise WorkloadError(
                    f"{path}, line {number}: a whole number, 0 or more, must stand here, found {word[:40]!r}"
                )
            if len(word) > 9 or int(word) > MOST_PER_SECOND:
                raise WorkloadError(
                    f"{path}, line {number}: at most {MOST_PER_SECOND} requests a second, found {word[:40]}"
                )
            counts.append(int(word))
    if not counts:
        raise WorkloadError(f"{path}, line 1: at least one whole number must stand here, found none")
    return Workload(tuple(counts))
