"""How a run is going: one live line on a terminal, a plain line now and then elsewhere."""

from typing import TextIO

from loadgen.analysis.summary import spread
from loadgen.records import Record
from loadgen.reports.text import duration

PLAIN_EVERY_S = 10.0
LIVE_EVERY_S = 0.5


class Progress:
    """Counts what came back since the last line."""

    def __init__(self, out: TextIO, duration_s: float) -> None:
        self._out, self._duration_s = out, duration_s
        self._live = out.isatty()
        self._recent: list[Record] = []
        self._said_s = 0.0
        self._errors = 0

    @property
    def every_s(self) -> float:
        """Time between two lines."""
        return LIVE_EVERY_S if self._live else PLAIN_EVERY_S

    def done(self, record: Record) -> None:
        """One more request came back."""
        self._recent.append(record)
        self._errors += not record.good

    def say(self, now_s: float) -> None:
        """The rate and latency since the last line, errors since the start, and the time left."""
        seconds = max(0.001, now_s - self._said_s)
        latency = spread([r.done_s - r.intended_s for r in self._recent if r.done_s is not None])
        left_s = self._duration_s - now_s
        line = (
            f"{now_s:5.0f} s  {len(self._recent) / seconds:6.1f}/s  p50 {duration(latency.p50_s)}  "
            f"p99 {duration(latency.p99_s)}  errors {self._errors}  "
            + (f"{left_s:.0f} s left" if left_s > 0 else "all sent, waiting for answers")
        )
        self._out.write(f"\r\x1b[K{line}" if self._live else f"{line}\n")
        self._out.flush()
        self._recent, self._said_s = [], now_s

    def end(self) -> None:
        """Leave the live line."""
        if self._live:
            self._out.write("\r\x1b[K")
