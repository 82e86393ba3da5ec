"""The report: tables as text, and self-contained HTML pages."""

from dataclasses import replace

import numpy as np
import pytest

from autoscaler_tuning.experiments.frontier import Point
from autoscaler_tuning.experiments.policy_summary import paired, summaries
from autoscaler_tuning.report.comparison_page import Report, comparison_page, html_page
from autoscaler_tuning.report.comparison_plots import LINE_POINTS, Section, _step_line
from autoscaler_tuning.report.headline import Headline
from autoscaler_tuning.report.tables import LIVE_HEADINGS, Table, plain, rows_as_dicts, rows_table, summary_table
from autoscaler_tuning.results import Cost, PolicyRun, TimedPodCounts, summarise

INTENDED_S = np.array([0.0, 1.0, 2.0])
DONE_S = np.array([0.1, np.nan, 2.9])
ROW = replace(
    summarise("kpa", "live", INTENDED_S, DONE_S, 0.5, Cost(12.4, 1.0, 2)), notes=("INVALID: it fell behind <badly>",)
)
RUN = PolicyRun(ROW, INTENDED_S, DONE_S, (TimedPodCounts(0.0, 1, 0, 0, 0), TimedPodCounts(2.0, 1, 1, 0, 3)))

ANSWER = Headline("elastic <wins>", ("by much",))


def test_the_table_has_one_line_for_each_row_with_its_notes_in_the_last_column() -> None:
    heading, _, row = rows_table([ROW]).text().splitlines()
    assert heading.split() == " ".join((*LIVE_HEADINGS, "notes")).split()
    assert row.split()[:11] == ["kpa", "live", "3", "66.67", "1", "0.500", "0.860", "0.892", "12", "1", "2"]
    assert row.endswith("  INVALID: it fell behind <badly>")
    assert rows_table([replace(ROW, notes=("one", "two"))]).text().endswith("  one; two")


def test_a_table_for_a_file_has_no_colour_codes_and_one_line_for_each_row_however_long() -> None:
    name = "kpa[" + ",".join(f"knob-{n}={n}" for n in range(50)) + "]"
    text = Table(("policy", "late %"), ((name, "1.0"), ("peak", "10.0"))).text()
    assert "\x1b" not in text
    assert [line.split() for line in text.splitlines()][2:] == [[name, "1.0"], ["peak", "10.0"]]


@pytest.mark.parametrize("width", [200, 100, 60, 40])
def test_on_a_narrow_terminal_no_line_is_too_long_and_no_number_is_folded(width: int) -> None:
    table = rows_table([replace(ROW, policy=f"kpa[window={n},target-utilization-percentage=30]@fifo") for n in (6, 60)])
    text = table.text(width)
    assert max(map(len, text.splitlines())) <= width
    assert all(text.split().count(cell) == 2 for cell in ("66.67", "0.500", "0.860", "0.892", "12"))
    assert all(text.split().count(word) >= 1 for word in ("p50", "terminating", "notes"))


def test_notes_that_do_not_fit_follow_in_a_table_of_the_rows_that_have_any() -> None:
    rows = [replace(ROW, notes=()), replace(ROW, target="simulated", notes=("first note", "second note"))]
    heading, _, *notes = rows_table(rows).text(100).split("\n\n")[1].splitlines()
    assert heading.split() == ["policy", "target", "notes"]
    assert [line.strip() for line in notes] == ["kpa     simulated  first note", "second note"]


def test_numbers_are_aligned_to_the_right_and_words_to_the_left() -> None:
    table = Table(
        ("policy", "pod-s", "Pareto"), (("kpa", "9", "dominated"), ("peak", "10", "")), (), frozenset({"Pareto"})
    )
    assert table.text().splitlines()[2:] == ["kpa         9  dominated", "peak       10"]


def test_the_page_contains_its_plots_loads_nothing_and_supports_dark_mode() -> None:
    page = html_page("Title", ANSWER, [Section("Live", "about", 0.5, (RUN, RUN))])
    assert page.index("elastic &lt;wins&gt;") < page.index("by much") < page.index("<svg") < page.index("<table>")
    assert page.count("<svg") == 1
    assert "currentColor" in page
    assert "color-scheme: light dark" in page
    assert "it fell behind &lt;badly&gt;" in page
    for link in ("src=", "<script", "<link", "@import"):
        assert link not in page


def _random_counts(rng: np.random.Generator, time_s: float) -> TimedPodCounts:
    ready, starting, terminating, waiting = rng.integers(0, 9, 4).tolist()
    return TimedPodCounts(time_s, ready, starting, terminating, waiting)


def test_a_page_as_long_as_the_demo_has_at_most_250_kb() -> None:
    rng = np.random.default_rng(0)
    sections = []
    for seconds, step_s in ((75, 0.1), (600, 0.5)):
        at_s = np.arange(0, seconds, 0.05)
        steps = np.arange(0, seconds, step_s)
        pods = tuple(_random_counts(rng, float(t)) for t in steps)
        run = PolicyRun(ROW, at_s, at_s + rng.exponential(0.2, len(at_s)), pods)
        sections.append(Section("Live", "about", 0.5, (run, run, run)))
    assert len(html_page("Title", ANSWER, sections).encode()) <= 250_000


def test_a_line_of_many_points_keeps_its_start_its_peak_and_its_end() -> None:
    values = [0.0, 1.0] * 2000
    values[1234], values[-1] = 40.0, 7.0
    at_s, heights = _step_line(np.arange(4000.0).tolist(), values)
    assert len(at_s) <= LINE_POINTS + 1
    assert (at_s[0], at_s[-1], heights[-1], max(heights)) == (0.0, 3999.0, 7.0, 40.0)


def test_a_line_of_few_changes_is_drawn_as_it_is() -> None:
    at_s, heights = _step_line([0.0, 1.0, 2.0, 3.0], [2.0, 2.0, 5.0, 5.0])
    assert (at_s.tolist(), heights.tolist()) == ([0.0, 2.0, 3.0], [2.0, 5.0, 5.0])


def test_rows_become_plain_data() -> None:
    (row,) = rows_as_dicts([ROW])
    assert (row["policy"], row["lost"], row["pod_seconds"]) == ("kpa", 1, 12.4)


def comparison(bounds: bool = True) -> Report:
    late = replace(ROW, policy="elastic", target="simulated", notes=(), late_ratio=0.0, milp_bound_pod_seconds=10.0)
    rows = (late if bounds else replace(late, milp_bound_pod_seconds=np.nan), replace(ROW, policy="a <b>"))
    points = [Point("elastic", "late_price", 25.0, 0.0, 12.0, efficient=True)]
    course = Section("Seed 0", "about", 0.5, (RUN,))
    return Report(
        "one <two>", rows, tuple(summaries(rows)), tuple(paired(rows, "elastic")), {"elastic": points}, course, ANSWER
    )


def test_a_comparison_page_has_means_pairs_frontiers_the_course_and_each_row() -> None:
    page = comparison_page("Title", comparison())
    assert page.index("elastic &lt;wins&gt;") < page.index("<svg") < page.index("<table>")
    assert page.count("<svg") == 2
    for heading in ("Late requests over cost", "elastic against the others", "Seed 0", "Every row", "Every setting"):
        assert heading in page
    assert "one &lt;two&gt;" in page
    assert "a &lt;b&gt;" in page
    for link in ("src=", "<script", "<link", "@import"):
        assert link not in page


def test_a_page_without_bounds_has_no_bound_in_its_plot() -> None:
    assert "clairvoyant bound" not in comparison_page("Title", comparison(bounds=False))


def test_only_columns_without_any_figure_are_left_out() -> None:
    table = summary_table(comparison().summaries)
    assert "LP bound" not in table.headings
    assert "MILP bound" in table.headings
    assert table.lines[1][table.headings.index("MILP bound")] == "–"
    assert len({len(table.headings), *map(len, table.lines)}) == 1


def test_a_markdown_table_has_a_rule_below_its_headings() -> None:
    lines = Table(("policy", "late %"), (("kpa", "1.0"),)).markdown().splitlines()
    assert lines == ["| policy | late % |", "| --- | ---: |", "| kpa | 1.0 |"]


def test_nan_becomes_none_at_any_depth_in_json() -> None:
    assert plain({"a": [np.nan, 1.0, (np.inf, "x")], "b": 2}) == {"a": [None, 1.0, [None, "x"]], "b": 2}
