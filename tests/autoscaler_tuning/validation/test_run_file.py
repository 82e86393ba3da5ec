"""The file of a recorded run: what is written is read back, and what is unusable is refused in one line."""

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoscaler_tuning.cli import main
from autoscaler_tuning.policies.registry import policy_named
from autoscaler_tuning.validation.recorded_run import from_record, read_recorded
from autoscaler_tuning.validation.run_file import (
    DecisionLine,
    PodsLine,
    RequestLine,
    RunRecord,
    StartLine,
    read_run,
    write_run,
)
from autoscaler_tuning.validation.run_setup import RecordedError, RunSetup, knobs_of

SETUP = RunSetup(
    policy="kpa", target="knative", path=("ingress", "activator", "queue-proxy"), trace="a.txt", seconds=60
)
RECORD = RunRecord(
    SETUP,
    requests=tuple(RequestLine(float(at), at + 0.001, at + 0.1, 200) for at in range(60)),
    pods=tuple(PodsLine(float(at), 1, 0, 0, 1) for at in range(-1, 61)),
    decisions=(DecisionLine(0.5, 1, "stable: 1 pods"),),
    starts=(StartLine("pod-1", 0.5, 3.0),),
)
Lines = list[dict[str, Any]]


@pytest.mark.parametrize("name", ["run.jsonl", "run.jsonl.gz", "run.json"])
def test_what_is_written_is_read_back(name: str, tmp_path: Path) -> None:
    write_run(tmp_path / name, RECORD)
    assert read_run(tmp_path / name) == RECORD
    assert read_recorded(tmp_path / name).setup == SETUP


def test_a_file_is_the_same_each_time_it_is_written(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_run(tmp_path / name, RECORD)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def test_every_knob_of_a_policy_is_in_the_set_up() -> None:
    knobs = knobs_of(policy_named("elastic[scenarios.likeness=2]"))
    assert (knobs["scenarios.likeness"], knobs["late_price"]) == (2.0, 250.0)
    assert knobs_of(policy_named("kpa[window=10]"))["window_s"] == 10.0


def test_failed_and_unsent_requests_are_lost() -> None:
    rows = (RequestLine(0.0, 0.0, 0.1, 200), RequestLine(1.0, 1.0, 1.2, 503), RequestLine(2.0, None, None, 0))
    run = from_record(replace(RECORD, requests=rows, pods=RECORD.pods))
    assert run.sent_s.tolist() == [0.0, 1.0, 2.0]
    assert [str(time_s) for time_s in run.done_s.tolist()] == ["0.1", "nan", "nan"]


def changed(**fields: object) -> Callable[[Lines], Lines]:
    """Return a change of the first line that has the first of these fields."""

    def change(lines: Lines) -> Lines:
        first = next(line for line in lines if next(iter(fields)) in line)
        first.update(fields)
        return lines

    return change


def set_up(**fields: object) -> Callable[[Lines], Lines]:
    """Return a change of the set-up; None as a value removes nothing, `...` removes the field."""

    def change(lines: Lines) -> Lines:
        lines[0]["setup"].update(fields)
        for name, value in fields.items():
            if value is ...:
                del lines[0]["setup"][name]
        return lines

    return change


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda _: [], "must be a recorded run, got an empty file"),
        (lambda lines: lines[:1], "must have more than its first line"),
        (lambda lines: lines[:-1], "the last line must be of the kind end, got 'start': the file was cut"),
        (lambda lines: [*lines[:5], *lines[9:]], "requests must be 60 lines, as the last line says, got 56"),
        (changed(version=2), "line 1: version must be 1, got 2"),
        (changed(format="vegeta"), "the first line must have the format 'elastic-recorded-run', got 'vegeta'"),
        (changed(kind="request"), "the first line must have the format"),
        (lambda lines: [*lines[:3], {"kind": "node"}, *lines[3:]], "line 4: kind must be one of request, pods"),
        (changed(intended_s="soon"), "line 2: intended_s must be a finite number, got 'soon'"),
        (changed(intended_s=float("nan")), "intended_s must be a finite number, got nan"),
        (changed(intended_s=None), "intended_s must be a finite number, got None"),
        (changed(status=True), "status must be a finite number, got True"),
        (changed(status=200.5), "status must be an integer of at least 0, got 200.5"),
        (changed(ready_pods=-1), "ready_pods must be an integer of at least 0, got -1"),
        (changed(ready_pods=10**9), "ready_pods must be at most 100000, got 1000000000"),
        (changed(done_s=1e8), "sent_s and done_s must be within 3600 s of intended_s, 0, got 1e+08"),
        (changed(sent_s=4000.0, done_s=None), "sent_s and done_s must be within 3600 s of intended_s, 0, got 4000"),
        (changed(intended_s=-3.0), "intended_s must be at least 0, got -3"),
        (changed(intended_s=7.0), "times of requests must not go back, got 1 s after 7 s"),
        (changed(done_s=-0.5), "done_s must be at least sent_s, 0.001, got -0.5"),
        (changed(sent_s=None), "done_s must be at least sent_s, None, got 0.1"),
        (changed(t_s=90.0), "times of pods must not go back, got 0 s after 90 s"),
        (changed(status=200, extra=1), "a request must have the fields"),
        (lambda lines: [one for one in lines if one["kind"] != "request"], "requests must be 60 lines"),
        (
            lambda lines: [*[one for one in lines if not 20 < one.get("t_s", 0) < 40][:-1], {**lines[-1], "pods": 43}],
            "samples of the pods must be at most 10 s apart while there are requests, got none from 20 to 40 s",
        ),
        (set_up(policy=...), "setup must have the field 'policy'"),
        (set_up(nodes=3), "setup has an unknown field 'nodes'"),
        (set_up(policy=7), "policy must be a text, got 7"),
        (set_up(knobs=[]), "knobs must be an object, got []"),
        (set_up(target="moon"), "target must be one of simulated, local, knative, other, got 'moon'"),
        (set_up(path=["mesh"]), "path must consist of dispatcher, ingress, activator, queue-proxy, got 'mesh'"),
        (set_up(path="ingress"), "path must be a list of hops, got 'ingress'"),
        (set_up(order="lifo"), "order must be fifo or deadline, got 'lifo'"),
        (set_up(max_pods=0), "max_pods must be an integer of at least 1, got 0"),
        (set_up(min_pods=50), "max_pods must be at least min_pods, 50, got 40"),
        (set_up(slo_s=0), "slo_s must be above 0 and finite, got 0"),
        (set_up(cpu_limit_cores=-1), "cpu_limit_cores must be above 0 and finite, or null, got -1"),
    ],
)
def test_an_unusable_file_is_refused_in_one_line(
    change: Callable[[Lines], Lines], rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.jsonl"
    write_run(path, RECORD)
    lines = change([json.loads(line) for line in path.read_text().splitlines()])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["validate", str(path)]) == 2
    printed = capsys.readouterr().err
    assert f"{path}" in printed
    assert rule in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize("content", [b"\x1f\x8b\x08cut", b"{", b"[1, 2]\n[3]", b"\xff\xfe\x00"])
def test_a_file_that_is_no_json_lines_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(RecordedError, match=r"run\.jsonl\.gz"):
        read_run(path)


def test_a_gzipped_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl.gz"
    write_run(path, RECORD)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RecordedError, match="must be a recorded run, plain or gzipped"):
        read_run(path)


def old_document(policy: str) -> dict[str, Any]:
    about = {
        "policy": policy,
        "trace": "course.txt, 60 s, seed 3",
        "pod": "listens 3 s after its start, then sleeps 0.1 s a request",
        "path": "Kourier, activator, queue-proxy; no dispatcher",
    }
    sample = {"ready_pods": 1, "starting_pods": 0, "terminating_pods": 0, "desired_scale": [1]}
    return {
        "about": about,
        "requests": [[float(at), at + 0.001, at + 0.1, 200] for at in range(60)],
        "pods": [{"t_s": float(at), **sample} for at in range(61)],
    }


def test_a_run_of_the_old_format_is_converted(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json.gz", tmp_path / "new.jsonl.gz"
    old.write_bytes(gzip.compress(json.dumps(old_document("kpa, Knative defaults, max-scale 12")).encode()))
    assert main(["convert", str(old), str(new)]) == 0
    record = read_run(new)
    setup = record.setup
    assert (setup.policy, setup.knobs["window_s"], setup.max_pods) == ("kpa", 60.0, 12)
    assert (setup.trace, setup.seconds, setup.seed) == ("course.txt", 60, 3)
    assert (setup.pod_start_s, setup.service_time_s) == (3.0, 0.1)
    assert setup.path == ("ingress", "activator", "queue-proxy")
    assert record.decisions == (DecisionLine(0.0, 1, ""),)
    one, other = read_recorded(old), read_recorded(new)
    assert one.sent_s.tolist() == other.sent_s.tolist()
    assert one.ready_pods.tolist() == other.ready_pods.tolist()


def test_the_policy_of_an_old_run_can_be_given(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json.gz", tmp_path / "new.jsonl.gz"
    old.write_bytes(gzip.compress(json.dumps(old_document("KPA with a window of ten seconds")).encode()))
    assert main(["convert", str(old), str(new), "--policy", "kpa[window=10]"]) == 0
    assert read_run(new).setup.knobs["window_s"] == 10.0


@pytest.mark.parametrize("content", [{}, [], {"requests": [[1]], "pods": []}, {"requests": [], "pods": []}])
def test_an_unusable_run_of_the_old_format_is_refused_in_one_line(
    content: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old.json.gz"
    old.write_bytes(gzip.compress(json.dumps(content).encode()))
    assert main(["convert", str(old), str(tmp_path / "new.jsonl")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
