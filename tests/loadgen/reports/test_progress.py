"""Progress: one live line on a terminal, plain lines elsewhere."""

import io

import pytest

from loadgen.reports.progress import LIVE_EVERY_S, PLAIN_EVERY_S, Progress
from tests.loadgen.reports.fake_terminal import Terminal
from tests.loadgen.runs import good, lost, refused


def test_a_line_contains_rate_latencies_errors_and_the_time_left() -> None:
    out = io.StringIO()
    progress = Progress(out, duration_s=60, slo_s=0.5)
    for record in [*(good(index / 10, 0.1) for index in range(18)), refused(1.8), lost(1.9)]:
        progress.done(record)
    progress.report(10.0)
    assert out.getvalue() == "   10 s     2.0/s  p50 100ms  p99 100ms  late 2 of 20  errors 2  50 s left\n"


def test_a_line_covers_the_time_since_the_previous_one_but_errors_accumulate() -> None:
    out = io.StringIO()
    progress = Progress(out, duration_s=60, slo_s=0.5)
    progress.done(refused(0.0))
    progress.report(10.0)
    progress.done(good(10.0, 0.5))
    progress.report(11.0)
    assert out.getvalue().splitlines()[1] == "   11 s     1.0/s  p50 500ms  p99 500ms  late 1 of 2  errors 1  49 s left"


def test_an_interval_without_responses_has_no_latency() -> None:
    out = io.StringIO()
    Progress(out, duration_s=60, slo_s=0.5).report(10.0)
    assert "p50 -  p99 -" in out.getvalue()


def test_after_the_last_send_the_line_reports_that_responses_are_awaited() -> None:
    out = io.StringIO()
    Progress(out, duration_s=5, slo_s=0.5).report(6.0)
    assert out.getvalue().endswith("all sent, waiting for responses\n")


def test_a_terminal_has_one_line_that_is_removed_at_the_end() -> None:
    out = Terminal()
    progress = Progress(out, duration_s=60, slo_s=0.5)
    progress.report(1.0)
    progress.report(2.0)
    assert "\n" not in out.getvalue()
    assert out.getvalue().count("\r\x1b[2K") == 1  # the second line replaces the first
    progress.end()
    assert out.getvalue().endswith("\x1b[1A\x1b[2K")  # rich ends the line, returns to it and erases it
    assert out.getvalue().count("\x1b[?25l") == out.getvalue().count("\x1b[?25h") == 1  # the cursor is visible again


def test_the_live_line_can_be_erased_to_print_other_text() -> None:
    out = Terminal()
    progress = Progress(out, duration_s=60, slo_s=0.5)
    progress.clear()
    assert out.getvalue() == ""
    progress.report(1.0)
    progress.clear()
    assert out.getvalue().endswith(" s left\r\x1b[2K")


def test_clearing_the_line_of_a_log_file_does_nothing() -> None:
    out = io.StringIO()
    progress = Progress(out, duration_s=60, slo_s=0.5)
    progress.report(10.0)
    progress.clear()
    assert out.getvalue().endswith(" s left\n")


def test_a_run_that_ends_before_the_first_line_leaves_the_terminal_alone() -> None:
    out = Terminal()
    Progress(out, duration_s=60, slo_s=0.5).end()
    assert out.getvalue() == ""


def test_a_line_is_cut_off_at_the_edge_of_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    out = Terminal()
    Progress(out, duration_s=60, slo_s=0.5).report(1.0)
    assert out.getvalue().removeprefix("\x1b[?25l") == "    1 s     0.0/s  p50 -  p99…"


def test_a_terminal_without_control_codes_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out = Terminal()
    progress = Progress(out, duration_s=60, slo_s=0.5)
    progress.report(10.0)
    progress.end()
    assert progress.every_s == PLAIN_EVERY_S
    assert out.getvalue() == "   10 s     0.0/s  p50 -  p99 -  late 0 of 0  errors 0  50 s left\n"


def test_a_log_file_gets_no_control_codes_even_if_colour_is_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "20")
    out = io.StringIO()
    Progress(out, duration_s=60, slo_s=0.5).report(10.0)
    assert out.getvalue() == "   10 s     0.0/s  p50 -  p99 -  late 0 of 0  errors 0  50 s left\n"


def test_a_terminal_is_refreshed_more_often_but_only_a_few_times_a_second() -> None:
    assert (
        Progress(Terminal(), 1.0, 0.5).every_s
        == LIVE_EVERY_S
        < PLAIN_EVERY_S
        == Progress(io.StringIO(), 1.0, 0.5).every_s
    )
    assert LIVE_EVERY_S >= 0.25


@pytest.mark.parametrize("columns", [80, 30, 1])
def test_the_longest_line_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """A line of 82 characters would leave a stale row each half second in a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", str(columns))
    out = Terminal()
    progress = Progress(out, duration_s=1.0, slo_s=0.5)
    for index in range(50):
        progress.done(good(0.0, 0.123456 + index / 1000))
    progress.report(123456.0)
    assert len(out.getvalue().removeprefix("\x1b[?25l")) == columns


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_a_stream_that_is_gone_ends_no_run(stream: type[io.StringIO]) -> None:
    class Gone(stream):  # type: ignore[misc, valid-type]
        """Fails at the second write, as a pipe without a reader does."""

        writes = 0

        def write(self, text: str) -> int:
            """Count and fail."""
            self.writes += 1
            if self.writes > 1:
                raise BrokenPipeError
            return len(text)

    out = Gone()
    progress = Progress(out, duration_s=60, slo_s=0.5)
    for second in range(5):
        progress.report(float(second))
        progress.clear()
    progress.end()
    assert out.writes >= 2
