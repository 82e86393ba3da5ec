"""Reads a workload: requests per second, one whole number a second."""

from dataclasses import dataclass
from pathlib import Path

from loadgen.errors import InputError

MOST_PER_SECOND = 1_000_000


class WorkloadError(InputError):
    """The file is no workload; the text has the line's number and what stands there."""


@dataclass(frozen=True, slots=True)
class Workload:
    """counts[i]: requests meant to be sent in second [i, i + 1)."""

    counts: tuple[int, ...]

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
        return Workload(counts)

    def repeated(self, times: int) -> "Workload":
        """The same again, so often."""
        return Workload(self.counts * times)

    def scaled(self, factor: float) -> "Workload":
        """Rates times factor, rounded so that the running total is never off by more than a half."""
        totals, before = 0.0, 0
        counts = []
        for count in self.counts:
            totals += count * factor
            counts.append(round(totals) - before)
            before = round(totals)
        return Workload(tuple(counts))


def read_workload(path: Path) -> Workload:
    """Whole numbers separated by white space, on one line or many; `#` begins a comment.

    Raises OSError if there is no such file, WorkloadError if it holds anything else or no number.
    """
    counts: list[int] = []
    # a binary file becomes a one-line error instead of a traceback
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        for word in line.partition("#")[0].split():
            if not (word.isascii() and word.isdecimal()):
                raise WorkloadError(
                    f"{path}, line {number}: a whole number, 0 or more, must stand here, found {word[:40]!r}"
                )
            if int(word) > MOST_PER_SECOND:
                raise WorkloadError(f"{path}, line {number}: at most {MOST_PER_SECOND} requests a second, found {word}")
            counts.append(int(word))
    if not counts:
        raise WorkloadError(f"{path}, line 1: at least one whole number must stand here, found none")
    return Workload(tuple(counts))
