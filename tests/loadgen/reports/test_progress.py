"""Progress: a line that renews itself in a terminal, plain lines elsewhere."""

import io

from loadgen.reports.progress import LIVE_EVERY_S, PLAIN_EVERY_S, Progress
from tests.loadgen.runs import good, lost, refused


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_has_the_rate_the_latencies_the_errors_and_the_time_left() -> None:
    out = io.StringIO()
    progress = Progress(out, duration_s=60)
    for record in [*(good(index / 10, 0.1) for index in range(18)), refused(1.8), lost(1.9)]:
        progress.done(record)
    progress.say(10.0)
    assert out.getvalue() == "   10 s     2.0/s  p50 100ms  p99 100ms  errors 2  50 s left\n"


def test_each_line_is_about_the_time_since_the_last_but_errors_add_up() -> None:
    out = io.StringIO()
    progress = Progress(out, duration_s=60)
    progress.done(refused(0.0))
    progress.say(10.0)
    progress.done(good(10.0, 0.5))
    progress.say(11.0)
    assert out.getvalue().splitlines()[1] == "   11 s     1.0/s  p50 500ms  p99 500ms  errors 1  49 s left"


def test_a_silent_moment_has_no_latency() -> None:
    out = io.StringIO()
    Progress(out, duration_s=60).say(10.0)
    assert "p50 -  p99 -" in out.getvalue()


def test_after_the_plan_answers_are_waited_for() -> None:
    out = io.StringIO()
    Progress(out, duration_s=5).say(6.0)
    assert out.getvalue().endswith("all sent, waiting for answers\n")


def test_a_terminal_has_one_line_that_is_wiped_at_the_end() -> None:
    out = Terminal()
    progress = Progress(out, duration_s=60)
    progress.say(1.0)
    progress.say(2.0)
    progress.end()
    assert "\n" not in out.getvalue()
    assert out.getvalue().count("\r\x1b[K") == 3
    assert out.getvalue().endswith("\r\x1b[K")


def test_a_terminal_is_told_more_often() -> None:
    assert Progress(Terminal(), 1.0).every_s == LIVE_EVERY_S < PLAIN_EVERY_S == Progress(io.StringIO(), 1.0).every_s
