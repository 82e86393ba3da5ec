"""The page in a real browser shows the figures of its history, each in its place."""

import time

import pytest

from autoscaler_tuning.live.operator import Operator
from autoscaler_tuning.live.page.history import COLUMNS, DecisionMark, PageHistory, PodStart, Row, Ruler
from tests.autoscaler_tuning.live.page.made import served
from tests.stubs.browser import Browser

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300), pytest.mark.xdist_group("browser")]

SECOND: dict[str, float | None] = {
    **{"arrivals": 4, "level_rps": 4, "wanted": 5, "ready": 1, "starting": 2, "terminating": 3, "stock": 7},
    **{"waiting_high": 11, "waiting_normal": 12, "waiting_low": 13, "oldest_s": 0.25, "expired": 14},
    **{"retry_after_s": 0.75, "p50_s": 0.111, "p95_s": 0.222, "p99_s": 0.333},
    **{"answers": 10, "in_time": 9, "lost": 1, "pod_seconds": 3, "age_s": 0.1},
}
SHOWN_ROWS = 900
LAST = "clock(doc.rows[doc.rows.length - 1][0])"


def second(t_s: float, **other: float | None) -> Row:
    found = SECOND | {"t_s": t_s} | other
    return tuple(found[name] for name in COLUMNS)


def history(service: str = "cats") -> PageHistory:
    """Return an hour until now, of which a quarter is shown; no answer before that was in time."""
    made, now_s = PageHistory(service, "elastic", 0.4, Operator(8, bounds=(2, 6))), round(time.time(), 1)
    made.ruler = Ruler("elastic", "why", now_s - 60)
    for ago_s in reversed(range(3600)):
        made.add(second(now_s - ago_s) if ago_s < SHOWN_ROWS else second(now_s - ago_s, in_time=0, lost=0), [], [])
    made.decisions.extend(DecisionMark(now_s - 34.5 + 3 * n, n, f"reason {n};") for n in range(12))
    made.starts.extend(PodStart(now_s - 20 + n, f"pod-{n}", {"start": 1.0 + n, "rest": 1.0}) for n in range(10))
    return made


def text(browser: Browser, name: str) -> str:
    return " ".join(str(browser.value(f"document.getElementById('{name}').innerText")).split())


def open_page(browser: Browser, url: str) -> None:
    browser.show(f"{url}/")
    browser.wait_for("document.querySelectorAll('#plots canvas').length === 4 && doc.rows.length === 3600")


def test_the_verdict_sums_up_the_time_shown(browser: Browser) -> None:
    with served(history()) as (url, _):
        open_page(browser, url)
        assert text(browser, "in-time") == "90 % 8,100 of 9,000 within 400 ms"
        assert browser.value("document.getElementById('in-time').className") == "bad"
        assert (text(browser, "lost"), text(browser, "cost")) == ("900", "333 2,700 pod-seconds in all")
        assert text(browser, "ruler").startswith("elastic why; since ")
        assert browser.value("document.getElementById('ruler').className") == ""
        browser.value(
            "const s = document.getElementById('span'); s.value = '3600'; s.dispatchEvent(new Event('change'))"
        )
        assert text(browser, "in-time").startswith("22.5 % 8,100 of 36,000")


def test_each_plot_tells_its_newest_second(browser: Browser) -> None:
    with served(history()) as (url, _):
        open_page(browser, url)
        told = browser.value("[...document.querySelectorAll('.now')].map((one) => one.innerText)")
        last = browser.value(LAST)
        assert [" ".join(one.split()) for one in told] == [
            f"{last} arrivals 4 expected 4 a jump from 10",
            f"{last} wanted 5 ready 1 starting 2 ending 3 stock KPA would want 7",
            f"{last} waiting, high 11 normal 12 low 13 expired 14 oldest 250 ms Retry-After now 750 ms",
            f"{last} p50 111 ms p95 222 ms p99 333 ms SLO 400 ms",
        ]
        browser.value("document.querySelector('details summary').click()")
        browser.wait_for("document.querySelectorAll('details[open] tr').length === 61")
        assert browser.value("document.querySelector('details[open] td').textContent") == last


def test_decisions_and_starts_are_the_last_ten_and_the_newest_is_first(browser: Browser) -> None:
    with served(history()) as (url, _):
        open_page(browser, url)
        assert [word for word in text(browser, "decisions").split() if word.endswith(";")] == [
            f"{n};" for n in reversed(range(2, 12))
        ]
        took = browser.value("[...document.querySelectorAll('#starts .took')].map((one) => one.innerText)")
        assert took == [f"{n} s" for n in reversed(range(2, 12))]
        assert text(browser, "legend") == "start rest"
        browser.value("document.querySelectorAll('.plot')[1].focus()")
        browser.press("ArrowLeft")
        said = browser.wait_for("document.getElementById('say').textContent")
        assert browser.value("clock(doc.rows[doc.rows.length - 2][0])") in said
        assert "reason 11;" in said, "a decision half a second before the one that is read"


def test_a_new_second_brings_all_that_changed(browser: Browser) -> None:
    made = history()
    with served(made) as (url, _):
        open_page(browser, url)
        now_s = time.time()
        made.ruler, made.operator.paused = Ruler("lapsed", "no signals", now_s), True
        starts = [PodStart(now_s, "pod-new", {"start": 42.0})]
        made.add(second(now_s, wanted=8), [DecisionMark(now_s, 8, "the new reason")], starts)
        browser.wait_for("document.getElementById('ruler').innerText.startsWith('lapsed')")
        assert browser.value("document.getElementById('ruler').className") == "bad"
        assert browser.value("document.querySelector('#decisions li').innerText").endswith("the new reason")
        assert browser.value("document.querySelector('#starts .took').innerText") == "42 s"
        assert "wanted 8 " in browser.value("document.querySelectorAll('.now')[1].innerText")
        assert text(browser, "done") == ""
        assert browser.value("document.getElementById('pause').textContent") == "Resume the tuner"
        assert browser.value("doc.rows.length") == 3600


def test_the_bounds_of_each_service_are_shown_and_set(browser: Browser) -> None:
    cats, dogs = history(), history("dogs")
    dogs.operator.bounds = (0, 3)
    with served(cats, dogs, key="k3y") as (url, _):
        open_page(browser, url)
        fields = "[document.getElementById('min').value, document.getElementById('max').value]"
        assert browser.value(fields) == ["2", "6"]
        assert not browser.value("document.getElementById('service-label').hidden")
        browser.value(
            "const s = document.getElementById('service'); s.value = 'dogs'; s.dispatchEvent(new Event('change'))"
        )
        browser.wait_for("doc.service === 'dogs'")
        assert browser.value(fields) == ["0", "3"]
        assert browser.value("document.getElementById('export').getAttribute('href')") == "/page/export?service=dogs"
        fill = "document.getElementById('min').value = 1; document.getElementById('max').value = 5;"
        browser.value(f"{fill} document.getElementById('key').value = 'k3y'; document.getElementById('bounds').click()")
        browser.wait_for("document.getElementById('done').textContent === 'bounds 1 to 5'")
    assert (cats.operator.bounds, dogs.operator.bounds) == ((2, 6), (1, 5))
