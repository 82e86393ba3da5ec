"""Workload files: which are accepted and which are refused."""

from pathlib import Path

import pytest

from loadgen.workload.workload import Workload, WorkloadError, read_workload


def written(folder: Path, content: bytes) -> Path:
    path = folder / "workload.txt"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"3 0 12", id="one line"),
        pytest.param(b"3\n0\n12\n", id="many lines"),
        pytest.param(b"# rates\n3 0 # an idle second\n\n12", id="comments"),
    ],
)
def test_integers_are_requests_per_second(tmp_path: Path, content: bytes) -> None:
    workload = read_workload(written(tmp_path, content))
    assert (workload.counts, workload.duration_s) == ((3, 0, 12), 3)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"3\nmany\n", "line 2: expected a non-negative integer, got 'many'", id="a word"),
        pytest.param(b"3 -1", "line 1: expected a non-negative integer, got '-1'", id="negative"),
        pytest.param(b"3 1.5", "got '1.5'", id="decimal"),
        pytest.param("3 ³".encode(), "got '³'", id="a digit that is not a number"),
        pytest.param(b"", "expected at least one non-negative integer, got none", id="nothing"),
        pytest.param(b"# only a comment", "expected at least one non-negative integer, got none", id="only a comment"),
        pytest.param(b"\x89PNG\r\n\x1a\n\x00\x00", "line 1", id="binary"),
        pytest.param(b"1000001", "at most 1000000 requests per second, got 1000001", id="too many"),
    ],
)
def test_an_invalid_file_is_refused_with_the_line_number(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        read_workload(written(tmp_path, content))
    assert words in str(caught.value)


def test_a_part_must_contain_at_least_one_second() -> None:
    assert Workload((1, 2, 3, 4)).part(1, 2).counts == (2, 3)
    assert Workload((1, 2, 3, 4)).part(2, None).counts == (3, 4)
    with pytest.raises(WorkloadError, match="the first second must be below the workload's length 4, got 9"):
        Workload((1, 2, 3, 4)).part(9, None)


def test_scaling_keeps_the_running_total() -> None:
    scaled = Workload((1,) * 10).scaled(0.25)
    assert sum(scaled.counts) == 2
    assert set(scaled.counts) == {0, 1}
    assert Workload((5, 7)).scaled(2).counts == (10, 14)
