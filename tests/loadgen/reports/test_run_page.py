"""The page: it is complete, loads nothing from elsewhere, and escapes all text."""

import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import pytest

from loadgen.analysis.columns import columns
from loadgen.analysis.gates import check, parse_gate
from loadgen.analysis.runs import Run
from loadgen.analysis.summary import summarise
from loadgen.reports.run_page import ConditionLine, page
from tests.loadgen.runs import MIXED, good, queue, run

VOID = {"meta", "link", "br", "path", "use", "rect"}
FIGURES = (
    "Latency over time, from the intended send",
    "Planned and achieved rate",
    "Latency distribution",
    "Status over time",
    "Send lag",
)


@cache
def mixed_page() -> str:
    return page_of(MIXED)


def page_of(seen: Run, *gates: str) -> str:
    summary = summarise(seen.records, seen.settings.slo_s, seen.settings.max_lag_ms)
    verdicts = check([parse_gate(gate) for gate in gates], columns(seen.records), seen.settings)
    return page(seen, summary, [ConditionLine(verdict.held, verdict.line) for verdict in verdicts])


class Balance(HTMLParser):
    """Checks that every opened element is closed in order; html, p, li and the like close themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)


def test_every_element_of_the_page_is_closed() -> None:
    balance = Balance()
    balance.feed(mixed_page())
    assert balance.open == []
    assert balance.found.count("svg") == len(FIGURES)
    assert "script" not in balance.found


def test_nothing_is_loaded_from_elsewhere() -> None:
    text = mixed_page()
    named = set(re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')\s>]+)', text))
    assert all(name.startswith("#") for name in named), named
    assert "@import" not in text


def test_the_page_contains_every_plot_and_table() -> None:
    text = mixed_page()
    for figure in FIGURES:
        assert f"<figcaption>{figure}</figcaption>" in text
    for title in ("Status of the responses", "Errors", "Classes", "Latency"):
        assert f"<h2>{title}</h2>" in text
    for row in (
        "latency from the intended send",
        "latency from the actual send",
        "send lag",
        "planned rate",
        "achieved rate",
    ):
        assert row in text


def test_plots_use_the_text_colour_of_the_page() -> None:
    text = mixed_page()
    assert "color-scheme: light dark" in text
    assert "currentColor" in text
    assert "#123456" not in text
    assert not re.search(r"(fill|stroke): (#000000|black|#ffffff|white)\b", text)


@pytest.mark.parametrize(
    ("seen", "gates", "words"),
    [
        pytest.param(run(good(0.0, 0.1)), (), "valid: the generator kept to its schedule", id="no SLO"),
        pytest.param(run(good(0.0, 0.1)), ("p95<1s",), "valid, 1 of 1 held", id="held"),
        pytest.param(run(good(0.0, 0.1)), ("p95<1s", "p50<1ms"), "1 of 2 missed", id="missed"),
        pytest.param(
            run(good(0.0, 0.1, lag_s=0.05)),
            ("p95<1s",),
            "INVALID: do not use these figures",
            id="invalid takes precedence",
        ),
    ],
)
def test_the_verdict_comes_first(seen: Run, gates: tuple[str, ...], words: str) -> None:
    text = page_of(seen, *gates)
    assert f"<h2>{words}</h2>" in text
    assert text.index(words) < text.index("<svg")


def test_the_page_of_an_invalid_run_contains_the_reason() -> None:
    assert "INVALID: p99 send lag must be at most 5 ms (--max-lag-ms), got 50.0 ms" in page_of(
        run(good(0.0, 0.1, lag_s=0.05))
    )


def test_text_from_a_server_is_escaped() -> None:
    nasty = good(0.0, 0.1, label="<script>alert(1)</script>")
    nasty.error = "<img src=x>"
    text = page_of(replace(run(nasty), name="<b>&"))
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_requests_without_a_response_and_unsent_requests_have_rows_of_their_own() -> None:
    text = mixed_page()
    assert "<td>none: no response</td><td>1</td>" in text
    assert "<td>none: never sent</td><td>1</td>" in text


def test_the_page_of_a_long_run_is_not_much_longer() -> None:
    short, long = (page_of(queue(1, 0.01, seconds)) for seconds in (300, 1500))
    assert len(long) < 1.5 * len(short)


def test_a_run_without_requests_has_a_page() -> None:
    assert "The plan had no requests." in page_of(run())
