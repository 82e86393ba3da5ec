"""A Deployment as a target: its replicas follow minReplicas at once, and its HPA stays the user's."""

from collections.abc import Callable

import pytest
import yaml

from autoscaler_tuning.live.deployment_target import ScaledDeployment
from autoscaler_tuning.live.found_bounds import FoundBounds
from autoscaler_tuning.live.leader import Clocks, NoLease
from autoscaler_tuning.live.led_target import LedTarget
from knative.client import KnativeClient
from knative.errors import ClusterError, ForbiddenError, NotFoundError, OwnedError
from knative.layouts import MANIFESTS
from knative.objects import Json
from knative.workloads import DEPLOYMENTS, HPAS
from tests.autoscaler_tuning.live.target_worlds import LEAST, MOST, NAME, TargetWorld, deployment
from tests.knative.fake_api import merged


@pytest.fixture
def world() -> TargetWorld:
    return deployment()


def replicas(world: TargetWorld) -> int:
    return int(world.api.objects[DEPLOYMENTS][NAME]["spec"]["replicas"])


def change(world: TargetWorld, plural: str, name: str, patch: Json) -> None:
    """Change an object as another client would."""
    world.api.objects[plural][name] = merged(world.api.objects[plural][name], patch)


def test_the_replicas_are_raised_to_the_lower_bound_without_waiting_for_the_hpa(world: TargetWorld) -> None:
    world.run(world.controller("me"), 1.0, 6)
    assert replicas(world) == 6


def test_the_replicas_are_never_lowered(world: TargetWorld) -> None:
    target = world.controller("me")
    world.run(target, 1.0, 6)
    world.run(target, 2.0, 0)
    assert world.bounds() == (LEAST, MOST)
    assert replicas(world) == 6


def test_replicas_that_the_hpa_raised_at_the_same_time_stay(world: TargetWorld) -> None:
    target = world.controller("me")
    world.run(target, 1.0, 3)
    asked: list[str] = []

    def hpa_was_faster(verb: str, plural: str, name: str) -> None:
        asked.append(plural)

    world.api.refuse = hpa_was_faster
    target.scale_to(4)
    world.now_s += 0.25
    original = world.api.patch_scale

    def after_the_hpa(plural: str, name: str, patch: Json) -> Json:
        change(world, DEPLOYMENTS, NAME, {"metadata": {"resourceVersion": "77"}, "spec": {"replicas": 8}})
        return original(plural, name, patch)

    world.api.patch_scale = after_the_hpa  # type: ignore[method-assign]  # between the read and the write
    target.poll()
    assert replicas(world) == 8
    assert DEPLOYMENTS not in asked


def test_a_deployment_that_a_user_turned_off_stays_off_and_says_so(world: TargetWorld) -> None:
    change(world, DEPLOYMENTS, NAME, {"spec": {"replicas": 0}})
    target = world.controller("me")
    world.run(target, 2.0, 5)
    assert replicas(world) == 0
    assert target.poll().problem == "NoReplicas: 0 replicas turn a Deployment's HPA off"


def test_a_new_upper_bound_of_the_user_counts_at_once_and_stays(world: TargetWorld) -> None:
    target = world.controller("me")
    world.run(target, 1.0, 99)
    change(world, HPAS, "own-hpa", {"spec": {"maxReplicas": 12}})
    world.run(target, 1.0, 99)
    assert world.bounds() == (12, 12)
    target.close()
    assert world.bounds() == (LEAST, 12)


def test_the_lower_bound_is_at_least_1_for_an_hpa_without_one() -> None:
    assert FoundBounds("h", {"maxReplicas": "5"}, HPAS).within(0) == 1


def test_nothing_is_hastened_while_the_bounds_are_not_written(world: TargetWorld) -> None:
    target = world.controller("me")
    world.run(target, 1.0, 3)
    target.release()
    world.run(target, 0.5)
    world.edit(7)
    world.run(target, 2.0)
    assert replicas(world) == 3


def test_without_the_permission_to_set_replicas_the_hpa_alone_raises_the_pods(world: TargetWorld) -> None:
    def refuse_scale(plural: str, name: str, patch: Json) -> Json:
        raise ForbiddenError("cannot patch deployments/scale: forbidden (HTTP 403)")

    world.api.patch_scale = refuse_scale  # type: ignore[method-assign]
    target = world.controller("me")
    world.run(target, 2.0, 4)
    assert world.bounds()[0] == 4
    assert target.poll().confirmed


def test_a_deployment_without_an_hpa_is_refused(world: TargetWorld) -> None:
    del world.api.objects[HPAS]["own-hpa"]
    with pytest.raises(NotFoundError, match=f"no HorizontalPodAutoscaler scales the Deployment {NAME}"):
        world.controller("me").poll()
    assert world.writes() == 0


def test_an_hpa_of_another_program_is_refused(world: TargetWorld) -> None:
    owner = {"kind": "ScaledObject", "name": "mine", "controller": True}
    change(world, HPAS, "own-hpa", {"metadata": {"ownerReferences": [owner]}})
    with pytest.raises(OwnedError, match=r"own-hpa must have no owner, .* got ScaledObject mine"):
        world.controller("me").poll()


def test_an_hpa_that_may_scale_to_zero_is_refused(world: TargetWorld) -> None:
    change(world, HPAS, "own-hpa", {"spec": {"minReplicas": 0}})
    with pytest.raises(ClusterError, match="minReplicas of the HPA own-hpa must be at least 1, got 0"):
        world.controller("me").poll()


def test_an_hpa_that_is_renamed_is_found_again(world: TargetWorld) -> None:
    target = world.controller("me")
    world.run(target, 1.0, 6)
    hpa = world.api.objects[HPAS].pop("own-hpa")
    world.api.objects[HPAS]["renamed"] = merged(hpa, {"metadata": {"name": "renamed", "uid": "u"}})
    world.run(target, 1.0, 7)
    assert world.api.objects[HPAS]["renamed"]["spec"]["minReplicas"] == 7


def test_why_pods_cannot_be_created_is_known(world: TargetWorld) -> None:
    failed = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}
    change(world, DEPLOYMENTS, NAME, {"status": {"conditions": [failed]}})
    assert world.controller("me").poll().problem == "FailedCreate: exceeded quota"


def test_pods_whose_number_follows_the_wish_need_no_hpa_of_ours(world: TargetWorld) -> None:
    world.api.objects[HPAS].clear()
    client, clocks = KnativeClient("default", world.api), Clocks(lambda: world.now_s, lambda: world.now_s)
    target = LedTarget(ScaledDeployment(client, NAME, with_hpa=False), client, NoLease(), clocks)
    target.scale_to(5)
    assert [pod.name for pod in target.poll().pods] == ["a"]
    assert world.api.calls == []


# The verb that a Role must permit for each method of the API's client.
VERBS = {
    "get": "get",
    "all_of": "list",
    "pods": "list",
    "create": "create",
    "merge_patch": "patch",
    "patch_scale": "patch",
}


def test_the_role_of_the_overlay_permits_what_the_controller_does_and_no_more(
    world: TargetWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed: set[tuple[str, str]] = set()

    def noting(method: str) -> Callable[..., object]:
        call = getattr(world.api, method if method != "patch_scale" else "merge_patch")
        resources = {"pods": "pods", "patch_scale": "deployments/scale"}

        def noted(first: str, *rest: object) -> object:
            needed.add((resources.get(method, first), VERBS[method]))
            return call(first, *rest)

        return noted

    for method, noted in {method: noting(method) for method in VERBS}.items():
        monkeypatch.setattr(world.api, method, noted)
    target = world.controller("me")
    world.run(target, 8.0, 6)
    target.close()
    assert world.bounds() == (LEAST, MOST)
    _, role = yaml.safe_load_all((MANIFESTS / "overlays/kubernetes-tuned/controller.yaml").read_text())
    permitted = {(thing, verb) for rule in role["rules"] for thing in rule["resources"] for verb in rule["verbs"]}
    assert needed == permitted
