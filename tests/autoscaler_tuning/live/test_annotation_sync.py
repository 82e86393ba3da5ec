"""A Knative that does not copy annotations to the PodAutoscaler is found out, and a newer one is not mistaken for it."""

import pytest

from knative.errors import ForbiddenError
from knative.objects import MIN_SCALE, REVISIONS, Json
from knative.workloads import PODAUTOSCALERS
from tests.autoscaler_tuning.live.knative_world import FIRST
from tests.autoscaler_tuning.live.target_worlds import LEAST, MOST, TargetWorld, knative


def written(world: TargetWorld, plural: str) -> int:
    return sum(1 for _, kind, _, _ in world.api.calls if kind == plural)


def min_scale(world: TargetWorld, plural: str) -> str:
    return str(world.api.objects[plural][FIRST]["metadata"]["annotations"][MIN_SCALE])


def reads(world: TargetWorld) -> list[str]:
    """Return a list to which the name of each PodAutoscaler that is read from now on is added."""
    names: list[str] = []
    get = world.api.get

    def counted(plural: str, name: str) -> Json:
        if plural == PODAUTOSCALERS:
            names.append(name)
        return get(plural, name)

    world.api.get = counted  # type: ignore[method-assign]  # a spy on the fake
    return names


def test_the_podautoscaler_of_a_new_knative_is_not_written_and_soon_not_read() -> None:
    world = knative(True, PODAUTOSCALERS)
    target = world.controller("me")
    names = reads(world)
    world.run(target, 10.0, 5)
    assert written(world, PODAUTOSCALERS) == 0
    assert 1 <= len(names) <= 4
    world.run(target, 60.0, 7)
    assert len(names) <= 4


def test_an_old_knative_is_known_after_5_s_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    world = knative(False, PODAUTOSCALERS)
    target = world.controller("me")
    world.run(target, 4.5, 5)
    assert min_scale(world, PODAUTOSCALERS) == str(LEAST)
    world.run(target, 3.0, 5)
    assert min_scale(world, PODAUTOSCALERS) == min_scale(world, REVISIONS) == "5"
    world.run(target, 30.0, 6)
    assert caplog.text.count("versions before 1.21") == 1


def test_a_knative_whose_controller_was_away_is_written_twice_and_loses_nothing() -> None:
    world = knative(False, PODAUTOSCALERS)
    target = world.controller("me")
    world.run(target, 20.0, 5)
    world.api.copies = True  # its controller is back
    world.run(target, 5.0, 6)
    assert world.bounds() == (6, MOST)
    sent = len(world.api.calls)
    world.run(target, 4.0, 6)
    assert len(world.api.calls) - sent <= 1  # a renewal of the Lease
    target.close()
    assert world.settings() == world.found


def test_bounds_that_a_user_wrote_on_the_podautoscaler_of_an_old_knative_are_limits_and_come_back() -> None:
    world = knative(False, PODAUTOSCALERS)
    world.edit(3)
    world.api.objects[REVISIONS][FIRST]["metadata"]["annotations"][MIN_SCALE] = str(LEAST)
    world.found = world.settings()
    target = world.controller("me")
    world.run(target, 20.0, 1)
    assert world.bounds() == (3, MOST)
    target.close()
    assert world.settings() == world.found
    assert min_scale(world, REVISIONS) == str(LEAST)


def test_a_role_that_may_not_read_podautoscalers_scales_a_new_knative_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = knative(True, REVISIONS)
    get = world.api.get

    def forbidden(plural: str, name: str) -> Json:
        if plural == PODAUTOSCALERS:
            raise ForbiddenError("cannot get podautoscalers (HTTP 403)")
        return get(plural, name)

    world.api.get = forbidden  # type: ignore[method-assign]  # a role
    world.run(world.controller("me"), 20.0, 5)
    assert world.bounds() == (5, MOST)
    assert caplog.text.count("cannot see whether Knative copies annotations") == 1
