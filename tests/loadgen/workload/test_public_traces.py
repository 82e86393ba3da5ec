"""Public traces: small made files in the published formats, and what is refused."""

import bz2
import gzip
import io
import pickle
import struct
import tarfile
from pathlib import Path
from random import Random

import pytest

from autoscaler_tuning.cli import main
from loadgen.errors import WorkloadError
from loadgen.workload.public_traces import FORMATS, public_counts
from loadgen.workload.workload import read_workload

CLF = 'host{0} - - [01/Jul/1995:00:00:{1} -0400] "GET /a HTTP/1.0" 200 6245\n'


def tar_of(text: bytes) -> bytes:
    """Return a tar.bz2 archive with one file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:bz2") as archive:
        member = tarfile.TarInfo("workload.txt")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    return packed.getvalue()


def worldcup(*times_s: int) -> bytes:
    return b"".join(struct.pack(">IIIIBBBB", time_s, 7, 8, 900, 0, 2, 1, 3) for time_s in times_s)


FILES: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "azure-functions-2019": (
        b"HashOwner,HashApp,HashFunction,Trigger,1,2\no,a,f,http,120,0\no,a,g,timer,0,60\n",
        (2,) * 60 + (1,) * 60,
    ),
    "azure-functions-2021": (
        b"app,func,end_timestamp,duration\na,f,10.5,0.4\na,g,12.2,1.9\na,f,12.9,0.1\n",
        (2, 0, 1),
    ),
    "azure-llm": (
        b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n"
        b"2023-11-16 18:17:04.0319600,3180,8\n2024-05-10 00:00:00.009930+00:00,1,1\n"[:-48],
        (1, 1),
    ),
    "ibm-code-engine": (
        b'{"NamespaceHash": "n", "AppHash": "a", "NumEvents": 2, "InvocationTimes": [5.2, 7.9]}\n'
        b'{"NamespaceHash": "n", "AppHash": "b", "NumEvents": 1, "InvocationTimes": [5.9]}\n',
        (2, 0, 1),
    ),
    "nasa-http": (
        (CLF.format(1, "01") + CLF.format("\xe9", "01") + CLF.format(3, "04")).encode("latin-1"),
        (2, 0, 0, 1),
    ),
    "worldcup98": (worldcup(894_000_000, 894_000_000, 894_000_002), (2, 0, 1)),
    "twitter": (b"3\n0\n5\n", (3, 0, 5)),
    "mooncake": (
        b'{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46]}\n'
        b'{"timestamp": 30535, "input_length": 6472, "output_length": 26, "hash_ids": [46]}\n',
        (1, 0, 0, 1),
    ),
}


def written(folder: Path, content: bytes) -> Path:
    path = folder / "trace"
    path.write_bytes(content)
    return path


def test_every_format_has_a_made_file_here() -> None:
    assert FILES.keys() == FORMATS.keys()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_a_file_of_the_format_becomes_requests_per_second(name: str, pack: type[bytes], tmp_path: Path) -> None:
    content, counts = FILES[name]
    assert public_counts(name, [written(tmp_path, pack(content))]) == counts


def test_time_stamps_with_a_time_zone_are_read(tmp_path: Path) -> None:
    text = b"TIMESTAMP,ContextTokens\n2024-05-10 00:00:00.009930+00:00,1\n2024-05-10 02:00:01+02:00,1\n"
    assert public_counts("azure-llm", [written(tmp_path, text)]) == (1, 1)


def test_an_archive_of_one_file_is_read(tmp_path: Path) -> None:
    assert public_counts("twitter", [written(tmp_path, tar_of(b"1 2\n3\n"))]) == (1, 2, 3)


def test_the_files_of_one_trace_are_added_on_one_clock(tmp_path: Path) -> None:
    for name, time_s in (("a", 894_000_000), ("b", 894_000_001)):
        (tmp_path / name).write_bytes(worldcup(time_s))
    assert public_counts("worldcup98", [tmp_path / "b", tmp_path / "a"]) == (1, 1)


def test_files_without_dates_follow_one_another_in_the_order_given(tmp_path: Path) -> None:
    """A day without the function that is kept counts as a day too."""
    days = [tmp_path / name for name in ("d02", "d01", "d03")]
    for path, function in zip(days, ("f", "g", "f"), strict=True):
        path.write_bytes(b"HashFunction,1,2\n%s,60,0\n" % function.encode())
    counts = public_counts("azure-functions-2019", days, only="f")
    assert (counts[:60], sum(counts[60:-60]), counts[-60:]) == ((1,) * 60, 0, (1,) * 60)
    assert len(counts) == 2 * 86_400 + 60
    assert sum(public_counts("azure-functions-2019", days)[86_400 : 86_400 + 60]) == 60
    for name, text in (("a", b"1 0\n"), ("b", b"3 4\n")):
        (tmp_path / name).write_bytes(text)
    assert public_counts("twitter", [tmp_path / "b", tmp_path / "a"]) == (3, 4, 1)
    assert public_counts("twitter", [tmp_path / "a", tmp_path / "b"]) == (1, 0, 3, 4)


@pytest.mark.parametrize(
    ("name", "only", "total"),
    [("azure-functions-2019", "g", 60), ("azure-functions-2021", "f", 2), ("ibm-code-engine", "b", 1)],
)
def test_one_function_can_be_kept(name: str, only: str, total: int, tmp_path: Path) -> None:
    assert sum(public_counts(name, [written(tmp_path, FILES[name][0])], only)) == total


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("azure-functions-2019", b"", "line 1: expected the columns HashFunction, 1, got no HashFunction"),
        ("azure-functions-2019", b"HashFunction,1\nf,-3\n", "line 2: expected a non-negative integer, got '-3'"),
        ("azure-functions-2019", b"HashFunction,1\nf,\n", "line 2: expected a finite number, got ''"),
        ("azure-functions-2019", b"HashFunction,1\nf,0\n", "must contain at least one request, got none"),
        ("azure-functions-2021", b"app,func\na,f\n", "got no end_timestamp"),
        (
            "azure-functions-2021",
            b"func,end_timestamp,duration\nf,nan,0\n",
            "line 2: expected a finite number, got 'nan'",
        ),
        ("azure-functions-2021", b"func,end_timestamp,duration\nf,1\n", "line 2: expected a finite number, got 'None'"),
        ("azure-llm", b"TIMESTAMP\nyesterday\n", "line 2: expected a date and time, got 'yesterday'"),
        ("ibm-code-engine", b'{"AppHash": "a"}\n', "line 1: expected a list of InvocationTimes, got 'None'"),
        ("ibm-code-engine", b"[1]\n", "line 1: expected a JSON object"),
        ("ibm-code-engine", pickle.dumps({"a": 1}), "got a Python pickle, which is not read"),
        ("nasa-http", b"host - - no time\n", "line 1: expected a date and time, got ''"),
        ("worldcup98", worldcup(894_000_000)[:-1], "record 1: expected 20 bytes, got 19"),
        ("worldcup98", worldcup(1, 894_000_000), "a trace must last at most"),
        ("twitter", b"3\nx\n", "line 2: expected a finite number, got 'x'"),
        ("twitter", b"2000000\n", "at most 1000000 requests per second, got 2000000"),
        ("mooncake", b'{"timestamp": null}\n', "line 1: expected a finite number, got 'None'"),
        ("mooncake", b"{\n", "line 1: expected a JSON object"),
        ("mooncake", gzip.compress(b'{"timestamp": 1}\n', mtime=0)[:-4], "expected a trace in the format mooncake"),
        ("azure-llm", b"TIMESTAMP\n\xff\xfe\n", "expected a trace in the format azure-llm"),
        ("twitter", bz2.compress(b"3 4"), "expected a finite number"),
    ],
    ids=str,
)
def test_a_file_of_another_kind_is_refused_in_one_line(name: str, content: bytes, rule: str, tmp_path: Path) -> None:
    with pytest.raises(WorkloadError) as refused:
        public_counts(name, [written(tmp_path, content)])
    assert rule in str(refused.value)
    assert str(tmp_path / "trace") in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_format_without_functions_has_nothing_to_select_by(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="nasa-http has no column to select by, got only='f'"):
        public_counts("nasa-http", [tmp_path / "trace"], "f")


def test_the_command_writes_a_workload_that_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.txt"
    path = written(tmp_path, FILES["azure-functions-2019"][0])
    assert main(["trace", "azure-functions-2019", str(path), "--output", str(out), "--scale", "0.5"]) == 0
    assert "90 requests in 120 s, at most 1 in one second" in capsys.readouterr().out
    assert sum(read_workload(out).counts) == 90


@pytest.mark.parametrize("argv", [["vegeta", "x"], ["twitter", "none"]])
def test_an_unknown_format_or_file_is_bad_input(argv: list[str], tmp_path: Path) -> None:
    try:
        status = main(["trace", *argv, "--output", str(tmp_path / "out.txt")])
    except SystemExit as refused:
        status = int(refused.code or 0)
    assert status == 2


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_read_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    rng, content = Random(name), FILES[name][0]
    for _ in range(300):
        changed = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(changed))
            match rng.choice(("cut", "drop", "byte", "byte", "repeat")):
                case "cut":
                    del changed[max(1, at) :]
                case "drop":
                    del changed[max(1, at) : at + rng.randint(1, 20)]
                case "byte":
                    changed[at] = rng.choice(b'\x00\xff\n",-.e09{}[]' + bytes([rng.randrange(256)]))
                case "repeat":
                    changed[at:at] = changed[at : at + rng.randint(1, 20)]
        refusal = ""
        counts: tuple[int, ...] = (1,)
        try:
            counts = public_counts(name, [written(tmp_path, bytes(changed))])
        except WorkloadError as error:
            refusal = str(error)
        assert "\n" not in refusal, changed
        assert min(counts) >= 0
        assert sum(counts) > 0
