"""The page in a real browser: it draws, follows, says when it is stale, and works by keyboard, on a phone, in the dark."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autoscaler_tuning.live.operator import Operator
from autoscaler_tuning.live.page.history import PageHistory
from autoscaler_tuning.live.page.serving import export
from tests.autoscaler_tuning.live.page.made import full_history, growing, row, served
from tests.stubs.browser import Browser

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

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


def behind_a_proxy(page: "WSGIApplication | None", refused: Collection[str]) -> "WSGIApplication":
    """Return the page as a proxy passes it on that has no upstream for some paths."""
    assert page

    def proxy(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"] not in refused:
            return page(environ, start_response)
        start_response("502 Bad Gateway", [("Content-Type", "text/html")])
        return [b"<html>no upstream</html>"]

    return proxy


def test_it_follows_again_after_both_the_events_and_the_history_were_refused(browser: Browser) -> None:
    history, refused = full_history(30), {"/page/events"}
    with served(history) as (url, server):
        server.page = behind_a_proxy(server.page, refused)
        browser.show(f"{url}/")
        browser.wait_for(DRAWN)
        browser.wait_for("source.readyState === EventSource.CLOSED")
        refused.add("/page/history")
        assert "no news for" in browser.wait_for(STALE)
        history.add(row(31, history.rows[-1][0] or 0.0), [], [])
        refused.clear()
        browser.wait_for("doc.rows.length === 31")
        browser.wait_for("source.readyState === EventSource.OPEN")
        history.add(row(32, history.rows[-1][0] or 0.0), [], [])
        browser.wait_for("doc.rows.length === 32")
        assert not browser.value(STALE)


def test_a_history_that_is_read_anew_leaves_what_the_operator_types(browser: Browser) -> None:
    history = full_history(30)
    with served(history, key="k3y") as (url, _):
        browser.show(f"{url}/")
        browser.wait_for(DRAWN)
        browser.value("document.getElementById('max').value = 7; before = doc; load(doc.service)")
        browser.wait_for("doc !== before")
        assert browser.value("document.getElementById('max').value") == "7"


@pytest.mark.parametrize("locale", ["en-US", "es", "ja", "cs", "fr-CA"])
def test_times_are_the_same_in_every_language(browser: Browser, locale: str) -> None:
    with served(full_history(30)) as (url, _):
        browser.call("Emulation.setTimezoneOverride", timezoneId="UTC")
        browser.call("Emulation.setLocaleOverride", locale=locale)
        browser.show(f"{url}/")
        browser.wait_for(DRAWN)
        told = browser.value("[clock(303), clock(9 * 3600 + 303)]")
        browser.call("Emulation.setLocaleOverride")
        browser.call("Emulation.setTimezoneOverride", timezoneId="")
    assert told == ["00:05:03", "09:05:03"]


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


def test_a_button_that_gets_no_answer_says_so(browser: Browser) -> None:
    with served(full_history(30), key="k3y") as (url, server):
        server.page = behind_a_proxy(server.page, {"/page/action"})
        browser.show(f"{url}/")
        browser.wait_for("!document.getElementById('buttons').hidden")
        browser.value("document.getElementById('pause').click()")
        browser.wait_for("document.getElementById('done').textContent === 'The controller does not answer.'")


def test_the_saved_file_shows_the_same_without_a_server(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(export(full_history(120).document()), encoding="utf-8")
    browser.requested.clear()
    browser.show((tmp_path / "page.html").as_uri())
    browser.wait_for(DRAWN)
    assert "within 500 ms" in text(browser, "in-time")
    assert [one for one in browser.requested if not one.startswith(("file:", "data:"))] == []
