"""The report in a real browser, as wide as a phone and as a desk's screen."""

from pathlib import Path

import pytest

from autoscaler_tuning.report.comparison_page import html_page
from autoscaler_tuning.report.comparison_plots import Section
from tests.autoscaler_tuning.report.test_report import ANSWER, RUN
from tests.stubs import browser as browsers

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300), pytest.mark.xdist_group("browser")]

TEXT_PX = "[...document.querySelectorAll('svg text')].map((one) => one.getBoundingClientRect().height)"
INNER_PX = "document.querySelector('.wide').scrollWidth - document.querySelector('.wide').clientWidth"


def test_the_plots_scroll_on_a_phone_where_their_text_could_not_be_read_otherwise(tmp_path: Path) -> None:
    if reason := browsers.why_not():
        pytest.skip(reason)
    page = tmp_path / "page.html"
    page.write_text(html_page("Title", ANSWER, [Section("Live", "about", 0.5, (RUN, RUN))]), encoding="utf-8")
    with browsers.browser() as tab:
        for width, scrolls in ((380, True), (1280, False)):
            tab.show(page.as_uri(), width=width)
            assert tab.wait_for(f"innerWidth === {width} && Math.min(...{TEXT_PX})") >= 10
            assert tab.value("document.documentElement.scrollWidth") <= width
            assert (tab.value(INNER_PX) > 0) is scrolls
        assert tab.errors == []
