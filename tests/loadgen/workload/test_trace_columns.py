"""Columns and units of CSV files: named or refused, never guessed wrong in silence."""

from pathlib import Path

import pytest

from loadgen.workload.traces import source_file
from loadgen.workload.workload import Workload, WorkloadError, read_workload

SECOND = "2026-01-01 00:00:0{}"


def trace(folder: Path, text: str, options: str = "", name: str = "trace.csv") -> Workload:
    path = folder / name
    path.write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
    return read_workload(f"csv:{path},{options}" if options else path)


def dated(header: str, *counts: object, separator: str = ",") -> str:
    """Return a count for each second, as logs are grouped."""
    rows = (f"{SECOND.format(second)}{separator}{count}\n" for second, count in enumerate(counts))
    return f"{header}\n{''.join(rows)}"


@pytest.mark.parametrize(
    ("text", "options", "counts"),
    [
        pytest.param(dated("timestamp,request_count", 3, 0, 5, 2), "", (3, 0, 5, 2), id="a log grouped by second"),
        pytest.param(dated("timestamp,0", 3, 1), "", (3, 1), id="pandas: a Series without a name"),
        pytest.param(dated(",count", 3, 1), "", (3, 1), id="pandas: an index without a name"),
        pytest.param(dated("timestamp,count", "3.0", ""), "", (3, 0), id="pandas: floats and missing values"),
        pytest.param(dated("time;hits", 3, 1, separator=";"), "", (3, 1), id="semicolons"),
        pytest.param(dated("time\thits", 3, 1, separator="\t"), "", (3, 1), id="tabs"),
        pytest.param(dated("time,mine", 3, 1), "count=mine", (3, 1), id="a count that the option names"),
        pytest.param("time,count\n0,2\n0,1\n1,4\n3,1\n", "", (3, 4, 0, 1), id="rows of one second, and one without"),
        pytest.param("time_ms,requests\n0,2\n500,1\n1000,4\n", "", (3, 4), id="half seconds, and a unit in the name"),
        pytest.param("t,rps\n0,1.5\n1,1.5\n2,2\n", "", (2, 1, 2), id="fractions add up"),
        pytest.param("metric_name,timestamp,metric_value,check\nhttp_reqs,7,1,\nhttp_req_duration,7,93.4,\n"
                     "http_reqs,7,1,\nvus,8,5,\nhttp_reqs,9,1,\n", "", (2, 0, 1), id="k6"),
    ],
)  # fmt: skip
def test_counts_of_seconds_are_read(tmp_path: Path, text: str, options: str, counts: tuple[int, ...]) -> None:
    workload = trace(tmp_path, text, options)
    assert workload.counts == counts
    assert workload.recorded_s == ()
    assert workload.about.startswith("trace.csv: counts in column ")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        pytest.param("HashFunction,HashApp,minute_1,minute_2\nf,a,60,30\ng,a,60,30\n", "", id="invitro"),
        pytest.param("app,minute1,minute2\nf,120,60\n", "", id="minutes by name alone"),
        pytest.param("HashFunction,1,2\nf,120.0,60.0\ng,,\n", "", id="pandas: floats and missing values"),
        pytest.param("minute,requests\n2026-01-01 00:00,120\n2026-01-01 00:01,60\n", "", id="dates a minute apart"),
        pytest.param("time,requests_per_second\n0,2\n60,1\n", "", id="a mean rate of each minute"),
        pytest.param("time,count\n0,180\n", "interval=120", id="one interval of two minutes"),
    ],
)
def test_counts_of_minutes_are_spread_over_their_seconds(tmp_path: Path, text: str, options: str) -> None:
    workload = trace(tmp_path, text, options)
    assert (sum(workload.counts), workload.duration_s) == (180, 120)
    assert set(workload.counts) <= {1, 2}


@pytest.mark.parametrize(
    ("text", "options", "times_s"),
    [
        pytest.param(",arrival_time,n_tokens\n0,0.01,5\n1,0.02,7\n2,1.2,2\n", "", (0, 0.01, 1.19), id="pandas"),
        pytest.param("1,a\n2,b\n3,a\n9,b\n", "only=b", (0, 7), id="only= without a header covers the first line"),
        pytest.param("1,b\n2,a\n", "only=b", (0,), id="only= keeps the first line, too"),
        pytest.param("0,5\n1,7\n", "column=2", (0, 2), id="a column by its number"),
        pytest.param("Arrival Time [ms],model\n0,a\n1500,b\n", "", (0, 1.5), id="a unit in brackets"),
        pytest.param("start_time_us,x\n0,1\n2500000,2\n", "", (0, 2.5), id="microseconds in the name"),
        pytest.param("timestamp\n1753780607550\n1753780609750\n", "unit=ms", (0, 2.2), id="milliseconds since 1970"),
        pytest.param("timestamp,count\n5,9\n7,9\n", "count=none", (0, 2), id="a column count that does not count"),
        pytest.param("id,model,when\na,b,2026-01-01T00:00:00Z\nc,d,2026-01-01T00:00:02Z\n", "", (0, 2), id="the only times"),
    ],
)  # fmt: skip
def test_times_of_requests_are_read(tmp_path: Path, text: str, options: str, times_s: tuple[float, ...]) -> None:
    assert trace(tmp_path, text, options).recorded_s == pytest.approx(times_s)


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        pytest.param("timestamp\n1753780607550\n", "", "must be a time in s, got 1753780607550, which is no date", id="ms"),
        pytest.param("timestamp\n1753780607550\n", "", "use csv:FILE,unit=ms", id="the likely unit is milliseconds"),
        pytest.param("ts\n1753780607550123\n", "", "use csv:FILE,unit=us", id="microseconds"),
        pytest.param("ts\n1753780607550123456\n", "unit=ms", "use csv:FILE,unit=ns", id="nanoseconds, and a wrong unit"),
        pytest.param("id,t,length\n1,0.5,10\n2,0.7,11\n", "", "got id, t, length; use csv:FILE,column=id or", id="several"),
        pytest.param("id,my_start\n1,0.5\n2,0.7\n", "", "use csv:FILE,column=my_start or", id="the likely column"),
        pytest.param("0,5\n1,7\n", "", "got 1, 2; use csv:FILE,column=1 or", id="two columns of numbers, no header"),
        pytest.param("who,what\nx,y\n", "", "must have a column of times, got 'who, what'", id="no times"),
        pytest.param("time,count,requests\n0,1,2\n", "", "use csv:FILE,count=count or", id="two counts"),
        pytest.param("time,time\n0,1\n", "", "the times must be in one column", id="a name twice"),
        pytest.param("time,time\n0,1\n", "column=time", "column must be one of", id="a name twice, asked for"),
        pytest.param("HashFunction,HashApp,Trigger\nf,a,http\n", "", "must have columns 1, 2, ... or minute_1", id="no minutes"),
        pytest.param("time,count\n0,1\n1,1\n2.5,1\n", "", "use csv:FILE,interval=SECONDS", id="uneven intervals"),
        pytest.param("time,count\n0,1\n", "", "use csv:FILE,interval=SECONDS", id="one count"),
        pytest.param("time,count\n0,-1\n1,2\n", "", "line 2: expected a non-negative count, got '-1'", id="a negative count"),
        pytest.param("time,count\n0,0\n1,0\n", "", "at least one request, got 0", id="no request"),
        pytest.param("time,count\n0,5\n1,inf\n", "", "line 3: expected a non-negative count, got 'inf'", id="infinite"),
        pytest.param("time,count\n0,5\n1,9e9\n", "", "at most 1000000 requests per second, got 9e+09", id="too many"),
        pytest.param("time,count\n0,5\n9e9,1\n", "", "must last at most 2678400 s", id="too long"),
        pytest.param("date\n2026-01-01\n2026-01-02\n", "", "line 2: expected a number or a date and time", id="days"),
        pytest.param("time,kind\n1,a\n", "only=b", "at least one request, got none with only=b", id="no such row"),
        pytest.param("time,count\n0,1\n", "interval=0", "got interval=0", id="an interval of nothing"),
        pytest.param("time,count\n0,1\n", "interval=soon", "got interval=soon", id="no interval"),
    ],
)  # fmt: skip
def test_what_fits_two_readings_or_none_is_refused_with_the_likely_one(
    tmp_path: Path, text: str, options: str, words: str
) -> None:
    with pytest.raises(WorkloadError) as caught:
        trace(tmp_path, text, options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_with_commas_is_found_and_options_may_follow(tmp_path: Path) -> None:
    assert trace(tmp_path, "t\n0\n9\n", "unit=ms", name="a,b.csv").recorded_s == pytest.approx((0, 0.009))
    assert source_file(f"csv:{tmp_path}/a,b.csv,unit=ms") == tmp_path / "a,b.csv"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_byte_order_marks_are_no_part_of_a_workload(tmp_path: Path, encoding: str) -> None:
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    (tmp_path / "w.txt").write_bytes(f"{mark}3 0\r\n2\r\n".encode(encoding))
    (tmp_path / "t.csv").write_bytes(f"{mark}time\r\n1\r\n3\r\n".encode(encoding))
    assert read_workload(tmp_path / "w.txt").counts == (3, 0, 2)
    assert read_workload(tmp_path / "t.csv").recorded_s == (0, 2)


def test_the_way_a_file_was_read_survives_its_parts(tmp_path: Path) -> None:
    workload = trace(tmp_path, "t_ms,x\n0,a\n1500,b\n")
    assert (
        workload.part(0, 1).scaled(2).repeated(3).about
        == "trace.csv: a request for each row, times in column t_ms in ms"
    )


def test_scaling_and_repeating_are_bounded_before_they_take_memory() -> None:
    workload = Workload((5,) * 60)
    with pytest.raises(WorkloadError, match="at most 1000000 requests per second, got 5000000"):
        workload.scaled(1_000_000)
    with pytest.raises(WorkloadError, match="at most 2678400 s and 10000000 requests, got 6000000000 s"):
        workload.repeated(100_000_000)
    with pytest.raises(WorkloadError, match="and 10000000 requests, got 60 s and 60000000"):
        Workload((1_000_000,)).repeated(60)
