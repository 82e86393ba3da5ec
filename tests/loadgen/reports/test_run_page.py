"""The page: everything is in it, nothing comes from elsewhere, and nobody's text becomes markup."""

import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import pytest

from loadgen.analysis.columns import columns
from loadgen.analysis.gates import check, parse_gate
from loadgen.analysis.runs import Run
from loadgen.analysis.summary import summarise
from loadgen.reports.run_page import Line, page
from tests.loadgen.runs import MIXED, good, queue, run

VOID = {"meta", "link", "br", "path", "use", "rect"}
FIGURES = (
    "Latency over time, from the intended send",
    "Rate asked and achieved",
    "Distribution of the latency",
    "Status over time",
    "Send lag",
)


@cache
def made_of_mixed() -> str:
    return made(MIXED)


def made(seen: Run, *gates: str) -> str:
    summary = summarise(seen.records, seen.asked.slo_s, seen.asked.max_lag_ms)
    verdicts = check([parse_gate(gate) for gate in gates], columns(seen.records), seen.asked)
    return page(seen, summary, [Line(verdict.held, verdict.line) for verdict in verdicts])


class Balance(HTMLParser):
    """Every element that is opened is closed in turn; html, p, li and the like close themselves."""

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


def test_the_page_is_whole() -> None:
    balance = Balance()
    balance.feed(made_of_mixed())
    assert balance.open == []
    assert balance.found.count("svg") == len(FIGURES)
    assert "script" not in balance.found


def test_nothing_is_loaded_from_elsewhere() -> None:
    text = made_of_mixed()
    named = set(re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')\s>]+)', text))
    assert all(name.startswith("#") for name in named), named
    assert "@import" not in text


def test_every_plot_and_table_is_there() -> None:
    text = made_of_mixed()
    for figure in FIGURES:
        assert f"<figcaption>{figure}</figcaption>" in text
    for title in ("Status of the answers", "Errors", "Classes", "Latency"):
        assert f"<h2>{title}</h2>" in text
    for row in (
        "latency from the intended send",
        "latency from the actual send",
        "send lag",
        "rate asked",
        "rate achieved",
    ):
        assert row in text


def test_plots_follow_the_pages_own_colour() -> None:
    text = made_of_mixed()
    assert "color-scheme: light dark" in text
    assert "currentColor" in text
    assert "#123456" not in text
    assert not re.search(r"(fill|stroke): (#000000|black|#ffffff|white)\b", text)


@pytest.mark.parametrize(
    ("seen", "gates", "words"),
    [
        pytest.param(run(good(0.0, 0.1)), (), "valid: the generator kept to its schedule", id="no SLO"),
        pytest.param(run(good(0.0, 0.1)), ("p95<1s",), "valid, and 1 of 1 held", id="held"),
        pytest.param(run(good(0.0, 0.1)), ("p95<1s", "p50<1ms"), "1 of 2 missed", id="missed"),
        pytest.param(
            run(good(0.0, 0.1, lag_s=0.05)), ("p95<1s",), "INVALID: these figures do not count", id="invalid before all"
        ),
    ],
)
def test_the_verdict_comes_first(seen: Run, gates: tuple[str, ...], words: str) -> None:
    text = made(seen, *gates)
    assert f"<h2>{words}</h2>" in text
    assert text.index(words) < text.index("<svg")


def test_an_invalid_run_says_why() -> None:
    assert "INVALID: p99 send lag 50.0 ms is over --max-lag-ms 5" in made(run(good(0.0, 0.1, lag_s=0.05)))


def test_what_a_server_says_stays_text() -> None:
    nasty = good(0.0, 0.1, label="<script>alert(1)</script>")
    nasty.error = "<img src=x>"
    text = made(replace(run(nasty), name="<b>&"))
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_requests_without_an_answer_and_those_never_sent_are_shown_apart() -> None:
    text = made_of_mixed()
    assert "<td>none: no answer</td><td>1</td>" in text
    assert "<td>none: never sent</td><td>1</td>" in text


def test_a_long_run_makes_no_longer_page() -> None:
    short, long = (made(queue(1, 0.01, seconds)) for seconds in (300, 1500))
    assert len(long) < 1.5 * len(short)


def test_a_run_of_nothing_has_a_page_too() -> None:
    assert "The plan had no request." in made(run())
