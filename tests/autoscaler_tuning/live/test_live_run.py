"""Live runs: the command lines of the stack, the annotations of a Revision before each policy, and the cost."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from autoscaler_tuning.live.live_run import prepare, read_run, restore_knobs, slow_starts
from autoscaler_tuning.live.local_stack import KnativeRoute, StackConfig, StackError, StackPorts, commands
from autoscaler_tuning.policies.registry import policy_named
from knative.client import KnativeClient
from knative.objects import AUTOSCALING_GROUP, MIN_SCALE, SERVING_GROUP, Json
from tests.knative.fake_api import pod_json, ready

ROUTE = KnativeRoute("default", "resnet18", "http://10.0.0.1", "resnet18.default.example.com")


@dataclass
class FakeApi:
    """A Service with one Revision, which records the patches and has as many ready pods as its min-scale."""

    patches: list[Json] = field(default_factory=list)
    pods_left: int = 0
    starts_pods: bool = True
    annotations: Json = field(default_factory=dict)

    def get(self, plural: str, name: str) -> Json:
        if plural == "services":
            return {
                "metadata": {"name": name},
                "status": {"traffic": [{"revisionName": "resnet18-00001", "percent": 100}]},
            }
        return {"metadata": {"name": name, "annotations": self.annotations}}

    def apply(self, plural: str, name: str, body: Json) -> None: ...

    def create(self, plural: str, body: Json) -> Json:
        raise AssertionError("only HPA needs a new object")

    def delete(self, plural: str, name: str) -> None:
        raise AssertionError("only HPA's copy is deleted")

    def merge_patch(self, plural: str, name: str, patch: Json) -> Json:
        assert (plural, name) == ("revisions", "resnet18-00001")
        self.patches.append(patch["metadata"]["annotations"])
        return {"metadata": {"name": name}}

    def pod_get(self, pod: str, port: int, path: str) -> bytes:
        raise AssertionError("a comparison sends nothing to a pod itself")

    def patch_scale(self, plural: str, name: str, patch: Json) -> Json:
        raise AssertionError("a comparison scales no Deployment")

    def all_of(self, plural: str) -> list[Json]:
        raise AssertionError("a comparison lists no objects")

    def pods(self, label_selector: str) -> list[Json]:
        least = int(after(self.patches).get("min-scale", 0)) if self.starts_pods else 0
        return [pod_json("left", "resnet18-00001", {})] * self.pods_left + [
            pod_json("kept", "resnet18-00001", ready())
        ] * least


def after(patches: list[Json]) -> dict[str, str]:
    """Return the annotations of a Revision after these merge patches, by name without the prefix."""
    merged: dict[str, str | None] = {}
    for patch in patches:
        merged |= patch
    return {name.partition("/")[2]: value for name, value in merged.items() if value is not None}


def test_preparing_a_policy_replaces_all_knobs_of_the_previous_one() -> None:
    api = FakeApi()
    client = KnativeClient("default", api)
    spec = policy_named("kpa[window=6,scale-down-delay=10]")
    assert prepare(client, "resnet18", spec, 40) == "resnet18-00001"
    assert after(api.patches) == {"window": "6s", "scale-down-delay": "10s", "min-scale": "0", "max-scale": "40"}
    prepare(client, "resnet18", policy_named("kpa"), 40)
    assert after(api.patches) == {"min-scale": "0", "max-scale": "40"}


def test_the_bounds_of_the_policy_are_written_once_no_pod_is_left() -> None:
    api = FakeApi()
    prepare(KnativeClient("default", api), "resnet18", policy_named("kpa[min-scale=2,max-scale=7]"), 40)
    assert api.patches[0][MIN_SCALE] == "0"
    assert after(api.patches) == {"min-scale": "2", "max-scale": "7"}


def test_a_policy_with_a_min_scale_begins_with_its_pods() -> None:
    client = KnativeClient("default", FakeApi(starts_pods=False))
    with pytest.raises(StackError, match="resnet18-00001 has not 2 ready pods after 0 s"):
        prepare(client, "resnet18", policy_named("kpa[min-scale=2]"), 40, timeout_s=0)


def test_the_knobs_of_the_revision_are_restored_after_an_interrupt() -> None:
    own = {"window": "6s", "target": "1", "min-scale": "1", "max-scale": "8"}
    api = FakeApi(annotations={f"{AUTOSCALING_GROUP}/{name}": value for name, value in own.items()})
    api.annotations[f"{SERVING_GROUP}/creator"] = "me"
    client = KnativeClient("default", api)

    def interrupted() -> None:
        with restore_knobs(client, "resnet18"):
            prepare(client, "resnet18", policy_named("kpa[scale-down-delay=10]"), 40)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert after(api.patches) == own


def test_pods_that_remain_stop_the_comparison() -> None:
    with pytest.raises(StackError, match="resnet18-00001 still has pods without traffic after 0 s"):
        prepare(KnativeClient("default", FakeApi(pods_left=1)), "resnet18", policy_named("elastic"), 40, timeout_s=0)


def test_for_hpa_the_revision_of_the_service_gets_no_pods() -> None:
    api = FakeApi()
    prepare(KnativeClient("default", api), "resnet18", policy_named("hpa70"), 40)
    assert after(api.patches) == {"min-scale": "0", "max-scale": "40"}


@pytest.mark.parametrize(
    ("every_s", "last_s"),
    [
        pytest.param(0.53, 5.0, id="a policy that decides often"),
        pytest.param(1.05, 5.0, id="a policy that decides seldom"),
        pytest.param(1.05, 2.2, id="a record that ends before the last second"),
    ],
)
def test_pods_count_until_the_end_of_the_last_second_however_often_they_are_recorded(
    every_s: float, last_s: float, tmp_path: Path
) -> None:
    columns = {"intended_s": [0.0, 1.0, 2.0], "done_s": [0.1, 1.1, 2.1], "status": [200] * 3}
    (tmp_path / "r.json").write_text(json.dumps({"started_unix_s": 100.0, "requests": columns}))
    lines = [
        {"unix_s": 100 + at_s, "ready": 1, "starting": 1, "terminating": 3, "waiting": 0, "cold_starts": 2}
        | {"pod_seconds": 2 * (at_s + 5), "terminating_pod_seconds": 3 * (at_s + 5)}
        for at_s in np.arange(-0.4, last_s, every_s).tolist()
    ]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, lines)))
    run, _ = read_run("kpa", tmp_path / "r.json", tmp_path / "c.jsonl", 0.5, [])
    assert run.row.until_s == 3.0
    assert run.row.pod_seconds == pytest.approx(2 * 3.0)
    assert run.row.terminating_pod_seconds == pytest.approx(3 * 3.0)


@pytest.mark.parametrize(
    ("starts_s", "valid"),
    [
        pytest.param((), True, id="no pod started"),
        pytest.param((3.0, 3.2, 9.0), True, id="one straggler"),
        pytest.param((3.0, 6.0, 6.0), True, id="exactly twice as long"),
        pytest.param((3.0, 6.5, 9.0), False, id="half of them over twice as long"),
    ],
)
def test_a_run_is_invalid_if_half_of_its_pods_took_over_twice_their_nominal_start(
    starts_s: tuple[float, ...], valid: bool
) -> None:
    reason = slow_starts(starts_s, 3.0)
    assert (reason is None) is valid
    if reason:
        assert reason.startswith(
            "INVALID: half of the 3 pods took 6.5 s or more to start, over 2 times their nominal 3.0 s"
        )


def test_for_a_knative_service_the_dispatcher_accepts_no_backends_from_the_controller() -> None:
    argv = commands(StackConfig(route=ROUTE, shadow=True, log_dir=Path("x")), StackPorts(1, 2, 3))
    dispatcher, controller = " ".join(argv["dispatcher"]), " ".join(argv["controller"])
    assert "--ml-service-url http://10.0.0.1 --ml-service-host resnet18.default.example.com" in dispatcher
    assert "--accept-backends" not in dispatcher
    assert "--target knative --namespace default --service resnet18 --shadow" in controller


def test_for_local_pods_the_dispatcher_accepts_backends_from_the_controller() -> None:
    argv = commands(StackConfig(log_dir=Path("x")), StackPorts(1, 2, 3))
    assert "--accept-backends" in argv["dispatcher"]
    assert "--port 1 --control-port 2" in " ".join(argv["dispatcher"])
    assert "--dispatcher http://127.0.0.1:2" in " ".join(argv["controller"])
    assert "--shadow" not in argv["controller"]
