"""The report: a table in text and a page that needs nothing else."""

import numpy as np

from autoscaler_tuning.report.page import html_page
from autoscaler_tuning.report.plots import Section
from autoscaler_tuning.report.table import LIVE_HEADINGS, rows_as_dicts, text_table
from autoscaler_tuning.results import Cost, PodCounts, Run, summarise

INTENDED_S = np.array([0.0, 1.0, 2.0])
DONE_S = np.array([0.1, np.nan, 2.9])
ROW = summarise(("kpa", "live"), INTENDED_S, DONE_S, 0.5, Cost(12.4, 1.0, 2), ["INVALID: it fell behind <badly>"])
RUN = Run(ROW, INTENDED_S, DONE_S, (PodCounts(0.0, 1, 0, 0, 0), PodCounts(2.0, 1, 1, 0, 3)))


def test_the_table_has_a_line_a_row_and_its_notes_below() -> None:
    heading, _, row, note = text_table([ROW]).splitlines()
    assert heading.split() == " ".join(LIVE_HEADINGS).split()
    assert row.split() == ["kpa", "live", "3", "66.67", "1", "0.500", "0.860", "0.892", "12", "1", "2"]
    assert note.endswith("^ INVALID: it fell behind <badly>")


def test_the_page_holds_its_plots_and_follows_a_dark_system() -> None:
    page = html_page("Title", [Section("Live", "about", 0.5, (RUN, RUN))])
    assert page.count("<svg") == 1
    assert "currentColor" in page
    assert "color-scheme: light dark" in page
    assert "it fell behind &lt;badly&gt;" in page
    for link in ("src=", "<script", "<link", "@import"):
        assert link not in page


def test_rows_become_plain_data() -> None:
    (row,) = rows_as_dicts([ROW])
    assert (row["policy"], row["lost"], row["pod_seconds"]) == ("kpa", 1, 12.4)
