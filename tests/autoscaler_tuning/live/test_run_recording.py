"""Recorded runs of live comparisons: what the load generator and the controller wrote becomes one file."""

import json
from pathlib import Path

import pytest

from autoscaler_tuning.cli import main
from autoscaler_tuning.live.local_stack import KnativeRoute, StackConfig
from autoscaler_tuning.live.run_recording import Traffic, file_name, live_record, live_setup, request_path
from autoscaler_tuning.policies.registry import policy_named
from autoscaler_tuning.validation.run_file import DecisionLine, RequestLine, StartLine, read_run, write_run

TRAFFIC = Traffic("workload.txt", 90, 60, 1.0, 3)
STARTED_UNIX_S = 1_700_000_000.0
TOLD = {"pod": "pod-1", "created_unix_s": STARTED_UNIX_S + 3.7, "ready_unix_s": STARTED_UNIX_S + 3.9}


def written(folder: Path) -> tuple[Path, Path]:
    """Write a minute of a request a second and the controller's record, and return their paths."""
    columns = {
        "intended_s": [float(at) for at in range(60)],
        "sent_s": [at + 0.01 for at in range(59)] + [None],
        "done_s": [at + 0.2 for at in range(58)] + [None, None],
        "status": [200] * 57 + [503, 0, 0],
    }
    result, record = folder / "result.json", folder / "record.jsonl"
    result.write_text(json.dumps({"started_unix_s": STARTED_UNIX_S, "requests": columns}))
    lines = [
        {
            "unix_s": STARTED_UNIX_S + at / 2,
            **{"ready": int(at >= 8), "starting": int(0 < at < 8), "terminating": 0},
            "wanted_pods": int(at > 0),
            "reason": "rate: 1 pods" if at else "idle: 0 pods",
            "starts": [TOLD] if at == 8 else [],
        }
        for at in range(130)
    ]
    record.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return result, record


def test_the_file_has_requests_pods_decisions_and_starts(tmp_path: Path) -> None:
    setup = live_setup(policy_named("elastic"), StackConfig(max_pods=8, pad_service_s=0.1), TRAFFIC)
    write_run(tmp_path / "run.jsonl.gz", live_record(setup, *written(tmp_path)))
    run = read_run(tmp_path / "run.jsonl.gz")
    assert run.requests[0] == RequestLine(0.0, 0.01, 0.2, 200)
    assert run.requests[-1] == RequestLine(59.0, None, None, 0)
    assert run.decisions == (DecisionLine(0.0, 0, "idle: 0 pods"), DecisionLine(0.5, 1, "rate: 1 pods"))
    assert [one.desired_pods for one in run.pods[:3]] == [0, 1, 1]
    assert run.starts == (StartLine("pod-1", 3.7, 3.9),)


def test_the_starts_of_a_knative_run_come_from_its_numbers_of_pods(tmp_path: Path) -> None:
    stack = StackConfig(route=KnativeRoute("default", "resnet18", "http://10.0.0.1"))
    run = live_record(live_setup(policy_named("elastic"), stack, TRAFFIC), *written(tmp_path))
    assert [(one.created_s, one.ready_s) for one in run.starts] == [(0.25, 3.75)]


def test_the_set_up_of_a_local_run_has_policy_bounds_traffic_and_machine() -> None:
    setup = live_setup(policy_named("elastic[hold_s=4]"), StackConfig(max_pods=8, pad_service_s=0.1), TRAFFIC)
    assert (setup.policy, setup.knobs["hold_s"], setup.order) == ("elastic[hold_s=4]", 4.0, "deadline")
    assert (setup.target, setup.path, setup.max_pods, setup.service_time_s) == ("local", ("dispatcher",), 8, 0.1)
    assert (setup.trace, setup.from_s, setup.seconds, setup.scale, setup.seed) == ("workload.txt", 90, 60, 1.0, 3)
    assert {"python", "numpy"} <= setup.versions.keys()
    assert {"system", "cores", "memory_bytes"} <= setup.machine.keys()


def test_the_set_up_of_a_knative_run_has_its_path_and_the_notes_of_the_load_generator() -> None:
    stack = StackConfig(route=KnativeRoute("default", "resnet18", "http://10.0.0.1"), pad_service_s=0.1)
    setup = live_setup(policy_named("kpa[max-scale=7]"), stack, TRAFFIC, ["INVALID: late sends"])
    assert setup.path == ("ingress", "activator", "queue-proxy")
    assert (setup.target, setup.max_pods, setup.service_time_s) == ("knative", 7, None)
    assert setup.about == {"notes": "INVALID: late sends"}


@pytest.mark.parametrize(
    ("policy", "path"),
    [
        pytest.param("elastic", "dispatcher ingress activator queue-proxy", id="ours is behind the dispatcher"),
        pytest.param("kpa-tuned", "ingress activator queue-proxy", id="Knative's own gets what its users send"),
        pytest.param(
            "kpa@deadline", "dispatcher ingress activator queue-proxy", id="another queue order needs a queue"
        ),
        pytest.param("hpa70", "ingress queue-proxy", id="Knative's HPA class has no activator"),
        pytest.param("hpa70@deadline", "dispatcher ingress queue-proxy", id="HPA behind a queue"),
    ],
)
def test_the_path_of_the_requests_follows_from_the_policy(policy: str, path: str) -> None:
    assert request_path(policy_named(policy), on_knative=True) == tuple(path.split())
    assert request_path(policy_named(policy), on_knative=False) == ("dispatcher",)


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        ("elastic", "elastic-0.jsonl.gz"),
        ("kpa[window=6,max-scale=3]@deadline", "kpa_window=6_max-scale=3_deadline-0.jsonl.gz"),
    ],
)
def test_the_name_of_a_file_is_that_of_its_policy_and_seed(policy: str, name: str) -> None:
    assert file_name(policy, 0) == name


def test_only_live_runs_are_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--record-runs", str(tmp_path)]) == 2
    assert "--record-runs must be used with --target local or knative, got simulated" in capsys.readouterr().err


def test_a_missing_folder_is_refused_before_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["compare", "--target", "local", "--record-runs", str(tmp_path / "none" / "runs")])
    assert "must be a folder, or a new one in an existing folder" in capsys.readouterr().err
