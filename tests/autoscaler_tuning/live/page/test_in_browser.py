"""The page in a real browser: it draws, follows, says when it is stale, and works by keyboard, on a phone, in the dark."""

from pathlib import Path

import pytest

from autoscaler_tuning.live.operator import Operator
from autoscaler_tuning.live.page.history import PageHistory
from autoscaler_tuning.live.page.serving import export
from tests.autoscaler_tuning.live.page.made import full_history, growing, row, served
from tests.stubs.browser import Browser

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300), pytest.mark.xdist_group("browser")]

DRAWN = "document.querySelectorAll('#plots canvas').length === 4 && document.getElementById('period').textContent"
STALE = "!document.getElementById('stale').hidden && document.getElementById('stale').textContent"


def text(browser: Browser, name: str) -> str:
    return str(browser.value(f"document.getElementById('{name}').innerText"))


def test_it_draws_follows_and_asks_nobody_else(browser: Browser) -> None:
    history = full_history(300)
    browser.requested.clear()
    with served(history) as (url, _), growing(history):
        browser.show(f"{url}/")
        browser.wait_for(DRAWN)
        before = browser.value("doc.rows.length")
        browser.wait_for(f"doc.rows.length > {before} + 2")
        assert "within 500 ms" in text(browser, "in-time")
        assert "elastic" in text(browser, "ruler")
        assert text(browser, "decisions").count("rate: 3 pods") == 10
        assert browser.value("document.querySelectorAll('#starts li').length") == 5
        asked = [address for address in browser.requested if not address.startswith((url, "data:"))]
    assert asked == []
    assert browser.errors == []


def test_it_says_so_when_the_news_stop(browser: Browser) -> None:
    history = full_history(30)
    with served(history) as (url, _), growing(history) as stopped:
        browser.show(f"{url}/")
        browser.wait_for(DRAWN)
        assert not browser.value(STALE)
        stopped.set()
        assert "no news for" in browser.wait_for(STALE)
        assert browser.value("document.title").startswith("STALE")


def test_it_says_so_when_the_controller_has_no_fresh_signals(browser: Browser) -> None:
    with served(full_history(30, age_s=12.0)) as (url, _):
        browser.show(f"{url}/")
        assert "no fresh signals for 12 s" in browser.wait_for(STALE)


def test_it_is_whole_again_after_the_connection_was_lost(browser: Browser) -> None:
    history = full_history(30)
    with served(history) as (url, _):
        browser.show(f"{url}/")
        browser.wait_for(DRAWN)
        browser.value("source.close(); source.onerror()")
        history.add(row(31, history.rows[-1][0] or 0.0), [], [])
        browser.value("source.onopen()")
        browser.wait_for("doc.rows.length === 31")


def test_without_any_data_it_says_none_so_far(browser: Browser) -> None:
    with served(PageHistory("resnet18", "elastic", 0.5, Operator(8))) as (url, _):
        browser.show(f"{url}/")
        browser.wait_for(DRAWN)
        assert text(browser, "period") == "no data yet"
        assert text(browser, "decisions") == "none so far"


def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Browser) -> None:
    with served(full_history(300, most_pods=40)) as (url, _):
        browser.show(f"{url}/", width=360, height=740)
        browser.wait_for(DRAWN)
        assert browser.value("document.documentElement.scrollWidth") <= 360


def test_colours_follow_the_choice_of_the_system(browser: Browser) -> None:
    back = "getComputedStyle(document.body).backgroundColor"
    with served(full_history(30)) as (url, _):
        browser.show(f"{url}/", dark=True)
        browser.wait_for(DRAWN)
        dark = browser.value(back)
        browser.show(f"{url}/", dark=False)
        browser.wait_for(DRAWN)
        assert browser.value(back) != dark


def test_a_second_can_be_read_by_keyboard_and_by_a_screen_reader(browser: Browser) -> None:
    with served(full_history(60)) as (url, _):
        browser.show(f"{url}/")
        browser.wait_for(DRAWN)
        browser.value("document.querySelector('.plot').focus()")
        assert browser.value("document.activeElement.getAttribute('aria-label')").startswith("Arrivals")
        browser.press("ArrowLeft")
        said = browser.wait_for("document.getElementById('say').textContent")
        assert "arrivals" in said
        unlabelled = "[...document.querySelectorAll('button, input, select')].filter((one) => !one.textContent && !one.labels.length).length"
        assert browser.value(unlabelled) == 0


def test_a_plot_can_be_read_as_a_table(browser: Browser) -> None:
    with served(full_history(60)) as (url, _):
        browser.show(f"{url}/")
        browser.wait_for(DRAWN)
        browser.value("document.querySelector('details summary').click()")
        assert browser.wait_for("document.querySelectorAll('details[open] td').length") >= 60


def test_the_buttons_appear_with_a_key_and_pause_the_tuner(browser: Browser) -> None:
    history = full_history(30)
    with served(history, key="k3y") as (url, _):
        browser.show(f"{url}/")
        browser.wait_for("!document.getElementById('buttons').hidden")
        browser.value("document.getElementById('pause').click()")
        browser.wait_for("document.getElementById('done').textContent.includes('key')")
        assert not history.operator.paused
        browser.value("document.getElementById('key').value = 'k3y'; document.getElementById('pause').click()")
        browser.wait_for("document.getElementById('done').textContent === 'paused'")
        assert history.operator.paused
        browser.wait_for("document.getElementById('pause').textContent === 'Resume the tuner'")


def test_the_saved_file_shows_the_same_without_a_server(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(export(full_history(120).document()), encoding="utf-8")
    browser.requested.clear()
    browser.show((tmp_path / "page.html").as_uri())
    browser.wait_for(DRAWN)
    assert "within 500 ms" in text(browser, "in-time")
    assert [one for one in browser.requested if not one.startswith(("file:", "data:"))] == []
