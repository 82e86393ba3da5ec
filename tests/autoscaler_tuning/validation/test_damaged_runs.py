"""Damaged files of recorded runs: whatever has happened to one, a command answers or refuses it in one line."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from autoscaler_tuning.cli import main
from autoscaler_tuning.validation.run_file import DecisionLine, PodsLine, RequestLine, RunRecord, StartLine, write_run
from autoscaler_tuning.validation.run_setup import RunSetup
from tests.effort import CI

SECONDS = 50
RECORD = RunRecord(
    RunSetup(policy="kpa", target="knative", path=("ingress", "activator", "queue-proxy"), trace="a.txt", seconds=60),
    requests=tuple(RequestLine(float(at), at + 0.001, at + 0.1, 200) for at in range(SECONDS)),
    pods=tuple(PodsLine(float(at), 1, 0, 0, 1) for at in range(-1, SECONDS + 1)),
    decisions=(DecisionLine(0.5, 1, "stable: 1 pods"),),
    starts=(StartLine("pod-1", 0.5, 3.0),),
)
VALUES: tuple[object, ...] = (0, -1, 1, 0.0, 0.05, 1e-9, 39.5, 1e6, 1e300, 10**9, None, True, "x", "", [], {})
FILES = 4 if CI else 1
Lines = list[dict[str, Any]]


def damaged(lines: Lines, rng: Random) -> None:
    """Drop, repeat or move a line, or change a value in one, or in all later ones of its kind as a bad clock does."""
    at = rng.randrange(len(lines))
    match rng.choice(("drop", "repeat", "move", "value", "values", "values")):
        case "drop":
            del lines[at]
        case "repeat":
            lines.insert(at, dict(lines[at]))
        case "move":
            lines.insert(rng.randrange(len(lines)), lines.pop(at))
        case "value":
            lines[at][rng.choice(sorted(lines[at]))] = rng.choice(VALUES)
        case "values":
            kind, name, value = lines[at]["kind"], rng.choice(sorted(lines[at])), rng.choice(VALUES)
            for line in lines[at:]:
                if line.get("kind") == kind and name != "kind":
                    line[name] = value


def as_counted(lines: Lines) -> None:
    """Let the last line tell the right numbers, so that damage is not found by these."""
    if lines and lines[-1].get("kind") == "end":
        for kind, name in (("request", "requests"), ("pods", "pods"), ("decision", "decisions"), ("start", "starts")):
            lines[-1][name] = sum(line.get("kind") == kind for line in lines)


@pytest.mark.parametrize("seed", range(100 * FILES))
def test_a_damaged_run_is_judged_or_refused_in_one_line(
    seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng, path = Random(seed), tmp_path / "run.jsonl"
    write_run(path, RECORD)
    lines: Lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    for _ in range(rng.randint(1, 3)):
        if lines:
            damaged(lines, rng)
    as_counted(lines)
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    path.write_bytes(content[: rng.randrange(len(content) + 1)] if rng.random() < 0.1 else content)
    for command in (["fit", str(path)], ["validate", str(path), "--seeds", "1"]):
        status = main(command)
        said = capsys.readouterr().err
        assert status in (0, 1, 2)
        assert bool(said) == (status == 2), said
        assert said.count("\n") <= 1


def test_a_run_without_pods_that_answered_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    none = tuple(one._replace(ready_pods=0, desired_pods=0) if one.t_s >= SECONDS / 2 else one for one in RECORD.pods)
    write_run(tmp_path / "run.jsonl", RunRecord(RECORD.setup, RECORD.requests, none))
    assert main(["validate", str(tmp_path / "run.jsonl"), "--seeds", "1"]) == 2
    assert "must have pods that took time to answer, got 0 pod-seconds" in capsys.readouterr().err
