"""Workloads: requests per second, from a file, a family or a trace."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from loadgen.errors import WorkloadError
from loadgen.workload.families import FAMILIES, MOST_PER_SECOND, MOST_REQUESTS, MOST_SECONDS, family_counts, is_family
from loadgen.workload.text_files import encoding_of
from loadgen.workload.traces import is_trace, read_trace

__all__ = ["Workload", "WorkloadError", "read_workload"]


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests per second, and the times of a trace; about: how the file was read.

    counts[i]: requests to send in the second [i, i + 1).
    recorded_s: time of each request of a trace, ascending; as many as the sum of counts. Empty for other workloads.
    """

    counts: tuple[int, ...]
    recorded_s: tuple[float, ...] = ()
    about: str = field(default="", compare=False)

    @property
    def duration_s(self) -> int:
        """Return the length of the workload in seconds."""
        return len(self.counts)

    def part(self, from_s: int, seconds: int | None) -> "Workload":
        """Return some seconds of the workload; raise WorkloadError if there are none."""
        end_s = None if seconds is None else from_s + seconds
        counts = self.counts[from_s:end_s] if from_s >= 0 else ()
        if not counts:
            raise WorkloadError(f"the first second must be below the workload's length {self.duration_s}, got {from_s}")
        recorded_s = np.array(self.recorded_s)
        inside = recorded_s[(recorded_s >= from_s) & (recorded_s < from_s + len(counts))]
        return replace(self, counts=counts, recorded_s=tuple((inside - from_s).tolist()))

    def repeated(self, times: int) -> "Workload":
        """Return the workload repeated a number of times; raise WorkloadError if that is too long or too much."""
        if times == 1:
            return self
        if self.duration_s * times > MOST_SECONDS or sum(self.counts) * times > MOST_REQUESTS:
            raise WorkloadError(
                f"a repeated workload must have at most {MOST_SECONDS} s and {MOST_REQUESTS} requests, "
                f"got {self.duration_s * times} s and {sum(self.counts) * times}"
            )
        starts_s = np.repeat(np.arange(times) * self.duration_s, len(self.recorded_s))
        recorded_s = tuple((np.tile(self.recorded_s, times) + starts_s).tolist())
        return replace(self, counts=self.counts * times, recorded_s=recorded_s)

    def scaled(self, factor: float) -> "Workload":
        """Return the workload with rates times factor, rounded so that the running total is off by at most a half.

        Recorded times are dropped unless the factor is 1. Raises WorkloadError if a rate exceeds that of any file.
        """
        if factor == 1:
            return self
        if max(self.counts) * factor > MOST_PER_SECOND:
            raise WorkloadError(
                f"a scaled workload must have at most {MOST_PER_SECOND} requests per second, "
                f"got {max(self.counts) * factor:.12g}"
            )
        totals, before = 0.0, 0
        counts = []
        for count in self.counts:
            totals += count * factor
            counts.append(round(totals) - before)
            before = round(totals)
        return replace(self, counts=tuple(counts), recorded_s=())


def read_workload(source: Path | str) -> Workload:
    """Read a family such as `mmpp:seed=3`, a CSV trace such as `calls.csv`, or a file of requests per second.

    A file of requests per second contains integers separated by white space, on one or more lines; `#` starts a
    comment. A file takes precedence over a family of the same name.
    Raises WorkloadError if there is no such file, or if it contains anything else or no integer; OSError if it cannot
    be read.
    """
    if is_family(str(source)) and not Path(source).exists():
        return Workload(family_counts(str(source)))
    if is_trace(str(source)):
        trace = read_trace(str(source))
        return Workload(trace.counts, trace.times_s, trace.about)
    if not Path(source).exists():
        families = ", ".join(FAMILIES)
        raise WorkloadError(f"a workload must be a file, or a family such as mmpp:seed=3 ({families}), got '{source}'")
    return _read_counts(Path(source))


def _read_counts(path: Path) -> Workload:
    counts: list[int] = []
    # a binary file becomes a one-line error instead of a traceback
    for number, line in enumerate(path.read_text(encoding=encoding_of(path), errors="replace").splitlines(), start=1):
        for word in line.partition("#")[0].split():
            if not (word.isascii() and word.isdecimal()):
                raise WorkloadError(f"{path}, line {number}: expected a non-negative integer, got {word[:40]!r}")
            if len(word) > 9 or int(word) > MOST_PER_SECOND:
                raise WorkloadError(
                    f"{path}, line {number}: expected at most {MOST_PER_SECOND} requests per second, got {word[:40]}"
                )
            counts.append(int(word))
    if not counts:
        raise WorkloadError(f"{path}, line 1: expected at least one non-negative integer, got none")
    return Workload(tuple(counts))
