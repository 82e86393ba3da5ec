"""Text for terminals and files: what a user's text may contain, and where control codes are printed."""

import io
import re

import pytest

from loadgen.reports.terminal import console_for, plain_table
from tests.loadgen.reports.fake_terminal import Terminal


def test_brackets_emoji_names_and_numbers_in_a_text_are_printed_as_they_are() -> None:
    for out in (io.StringIO(), Terminal()):
        console_for(out).print("[bold]run.json[/bold] :smile: 12 http://a/b")
        assert out.getvalue() == "[bold]run.json[/bold] :smile: 12 http://a/b\n"


def test_a_long_line_in_a_file_is_not_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    out = io.StringIO()
    console_for(out).print("word " * 200)
    assert out.getvalue().count("\n") == 1


def test_a_table_in_a_file_is_aligned_and_has_no_control_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    table = plain_table("", "before", "after")
    table.add_row("mean", "1.5ms", "12.25ms", style="bold red")
    table.add_row("p99.9", "10ms", "1s")
    out = io.StringIO()
    console_for(out).print(table)
    assert [line.rstrip() for line in out.getvalue().splitlines()] == [
        "       before    after",
        "mean    1.5ms  12.25ms",
        "p99.9    10ms       1s",
    ]


def test_a_closed_pipe_is_an_error_and_no_exit() -> None:
    class ClosedPipe(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        console_for(ClosedPipe()).print("a line")


def test_a_table_on_a_narrow_terminal_is_folded_to_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    table = plain_table("name", "value")
    table.add_row("one two three four five", "six seven eight nine ten")
    out = Terminal()
    console_for(out).print(table)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()
    assert max(map(len, lines)) <= 30 < len("one two three four five  six seven eight nine ten")
