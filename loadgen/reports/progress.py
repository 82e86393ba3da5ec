"""Progress of a run: one live line on a terminal, a plain line every ten seconds elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from loadgen.analysis.summary import spread
from loadgen.records import Record
from loadgen.reports.terminal import console_for
from loadgen.reports.text import duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

PLAIN_EVERY_S = 10.0
LIVE_EVERY_S = 0.5


class Progress:
    """Prints the progress of a run and counts the responses since the last line.

    The event loop that calls report() also sends requests, so a line must be cheap: rich takes 0.4 ms for one (1.8 ms
    for the first), and the thread with which rich refreshes a live display is switched off.
    """

    def __init__(self, out: TextIO, duration_s: float, slo_s: float) -> None:
        self._console, self._duration_s, self._slo_s = console_for(out), duration_s, slo_s
        self._live = _live_line(self._console)
        self._recent: list[Record] = []
        self._reported_s = 0.0
        self._done = self._errors = self._late = 0
        self._gone = False

    @property
    def every_s(self) -> float:
        """Return the time between two lines."""
        return LIVE_EVERY_S if self._live else PLAIN_EVERY_S

    def done(self, record: Record) -> None:
        """Count a finished request."""
        self._recent.append(record)
        self._done += 1
        self._errors += not record.good
        self._late += record.slo_latency_s > self._slo_s

    def report(self, now_s: float) -> None:
        """Print rate and latency since the last line, what was done, late and failed in all, and the time left."""
        seconds = max(0.001, now_s - self._reported_s)
        latency = spread([r.done_s - r.intended_s for r in self._recent if r.done_s is not None])
        left_s = self._duration_s - now_s
        line = _one_line(
            f"{now_s:5.0f} s  {len(self._recent) / seconds:6.1f}/s  p50 {duration(latency.p50_s)}  "
            f"p99 {duration(latency.p99_s)}  late {self._late} of {self._done}  errors {self._errors}  "
            + (f"{left_s:.0f} s left" if left_s > 0 else "all sent, waiting for responses")
        )
        self._try(lambda: self._draw(line))
        self._recent, self._reported_s = [], now_s

    def clear(self) -> None:
        """Erase the live line, so that other text can be printed in its place; the next report() draws it again."""
        if self._live and self._live.is_started:
            self._try(lambda: _erase_line(self._console))

    def end(self) -> None:
        """Remove the live line."""
        if self._live:
            self._try(self._live.stop)

    def _draw(self, line: Text) -> None:
        if self._live:
            self._live.start()  # does nothing if it is started
            self._live.update(line, refresh=True)
        else:
            self._console.print(line)

    def _try(self, draw: Callable[[], None]) -> None:
        """Draw, unless that has failed before: a terminal or pipe that is gone must not end the run."""
        if not self._gone:
            try:
                draw()
            except OSError:
                self._gone = True


def _live_line(console: Console) -> Live | None:
    """Return a display that is redrawn only on request, or None where a line cannot be redrawn."""
    if not console.is_terminal or console.is_dumb_terminal:
        return None
    from rich.live import Live  # noqa: PLC0415  see loadgen.reports.terminal

    return Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)


def _erase_line(console: Console) -> None:
    from rich.control import Control  # noqa: PLC0415  see loadgen.reports.terminal
    from rich.segment import ControlType  # noqa: PLC0415

    console.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))


def _one_line(words: str) -> Text:
    """Return a text that is cut off at the edge of a narrow terminal instead of wrapped."""
    from rich.text import Text  # noqa: PLC0415  see loadgen.reports.terminal

    return Text(words, no_wrap=True, overflow="ellipsis")
