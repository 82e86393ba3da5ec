"""Traces: the public Azure formats, and any CSV of timestamps."""

from pathlib import Path

import pytest

from loadgen.workload.workload import Workload, WorkloadError, read_workload


def trace(folder: Path, text: str, options: str = "") -> Workload:
    path = folder / "trace.csv"
    path.write_text(text)
    return read_workload(f"csv:{path},{options}" if options else path)


def test_azure_llm_inference_has_a_time_for_each_request(tmp_path: Path) -> None:
    rows = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n"
    rows += "2023-11-16 18:17:04.2319600,110,27\n2023-11-16 18:17:06.4799600,110,27\n"
    workload = trace(tmp_path, rows)
    assert workload.counts == (2, 0, 1)
    assert workload.recorded_s == pytest.approx((0, 0.252, 2.5), abs=1e-5)


def test_azure_functions_2021_start_at_end_minus_duration(tmp_path: Path) -> None:
    workload = trace(tmp_path, "app,func,end_timestamp,duration\na,f,10.5,0.5\nb,g,10.25,2.25\na,f,12,0.5\n")
    assert workload.recorded_s == (0, 2, 3.5)
    assert workload.counts == (1, 0, 1, 1)


def test_azure_functions_2019_have_counts_per_minute(tmp_path: Path) -> None:
    rows = "HashOwner,HashApp,HashFunction,Trigger,1,2,3\no,a,f,http,60,0,10\no,a,g,timer,60,0,20\n"
    workload = trace(tmp_path, rows)
    assert workload.counts[:60] == (2,) * 60
    assert workload.counts[60:120] == (0,) * 60
    assert (sum(workload.counts[120:]), set(workload.counts[120:])) == (30, {0, 1})
    assert workload.recorded_s == ()
    assert sum(trace(tmp_path, rows, "only=g").counts) == 80


@pytest.mark.parametrize(
    ("text", "options", "times_s"),
    [
        pytest.param("id,Time\n1,5\n2,3.5\n", "", (0, 1.5), id="seconds, in any order, by the column's usual name"),
        pytest.param("3\n4\n4\n", "", (0, 1, 1), id="no header"),
        pytest.param("when,what\n1000,a\n3500,b\n", "column=when,unit=ms", (0, 2.5), id="milliseconds"),
        pytest.param("x\n2026-01-01T00:00:00+01:00\n2025-12-31T23:00:02Z\n", "", (0, 2), id="dates with zones"),
        pytest.param("x,kind\n1,a\n2,b\n9,a\n", "only=a", (0, 8), id="some rows"),
        pytest.param("\ufefftime\n7\n\n8\n", "", (0, 1), id="as spreadsheets write it"),
    ],
)
def test_any_csv_of_timestamps_is_a_trace(tmp_path: Path, text: str, options: str, times_s: tuple[float, ...]) -> None:
    workload = trace(tmp_path, text, options)
    assert workload.recorded_s == pytest.approx(times_s)
    assert sum(workload.counts) == len(times_s)


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        pytest.param("", "", "line 1: expected a header or a time, got an empty file", id="empty"),
        pytest.param("time\n", "", "a trace must contain at least one request, got none", id="only a header"),
        pytest.param("time\n1\nsoon\n", "", "line 3: expected a number or a date and time, got 'soon'", id="a word"),
        pytest.param("a,time\n1\n", "", "line 2: expected a number or a date and time, got ''", id="a short row"),
        pytest.param("time\nnan\n", "", "got 'nan'", id="nan"),
        pytest.param("time\n1700000000000\n1700009999999\n", "", "use csv:FILE,unit=ms", id="milliseconds as seconds"),
        pytest.param("a,b\n1,2\n", "column=c", "column must be one of a, b, got 'c'", id="no such column"),
        pytest.param("a\n1\n", "unit=h", "got unit=h", id="no such unit"),
        pytest.param("HashFunction,1,2\nf,1,x\n", "", "line 2: expected 2 integers", id="no count"),
        pytest.param("HashFunction,1,2\nf,0,0\n", "", "a trace must contain at least one request, got 0", id="no call"),
        pytest.param("\x00\x01PNG\n\x00", "", "trace.csv", id="binary"),
    ],
)
def test_an_invalid_trace_is_refused_with_the_line_number(tmp_path: Path, text: str, options: str, words: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        trace(tmp_path, text, options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_trace_raises_file_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_workload(tmp_path / "none.csv")


def test_parts_and_repeats_keep_recorded_times_and_scaling_drops_them() -> None:
    workload = Workload((2, 0, 1), (0.25, 0.5, 2.5))
    assert workload.part(1, None) == Workload((0, 1), (1.5,))
    assert workload.part(0, 1) == Workload((2,), (0.25, 0.5))
    assert workload.repeated(2).recorded_s == (0.25, 0.5, 2.5, 3.25, 3.5, 5.5)
    assert workload.scaled(2) == Workload((4, 0, 2))
    assert workload.scaled(1) == workload
