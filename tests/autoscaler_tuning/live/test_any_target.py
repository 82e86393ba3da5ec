"""Rules of every target in a cluster: what is written to the object that the cluster's own autoscaler reads."""

from collections.abc import Callable

import pytest

from autoscaler_tuning.live.led_target import LedTarget
from knative.errors import ClusterError, UnreachableError
from knative.leases import LEASES
from knative.objects import Json
from tests.autoscaler_tuning.live.target_worlds import LEAST, MOST, WORLDS, TargetWorld

# Until it is known that an old Knative does not copy annotations.
DETECTED_S = 8.0


@pytest.fixture(params=list(WORLDS.values()), ids=list(WORLDS))
def world(request: pytest.FixtureRequest) -> TargetWorld:
    make: Callable[[], TargetWorld] = request.param
    return make()


def led(world: TargetWorld, pods: int, name: str = "me") -> LedTarget:
    """Return the target of a controller that has decided so."""
    target = world.controller(name)
    world.run(target, DETECTED_S, pods)
    return target


@pytest.mark.parametrize(("wish", "least"), [(0, LEAST), (1, LEAST), (5, 5), (8, MOST), (99, MOST)])
def test_the_lower_bound_leads_within_the_users_bounds_and_comes_back(
    world: TargetWorld, wish: int, least: int
) -> None:
    target = led(world, wish)
    assert world.bounds() == (least, MOST)
    assert target.poll().confirmed
    target.close()
    assert world.settings() == world.found
    assert world.stored() == []


def test_a_decision_is_written_within_half_a_second_once_the_version_is_known(world: TargetWorld) -> None:
    target = led(world, 5)
    target.scale_to(7)
    world.run(target, 0.5)
    assert world.bounds() == (7, MOST)


def test_a_decision_is_written_once(world: TargetWorld) -> None:
    target = led(world, 5)
    written = world.writes()
    world.run(target, 20.0, 5)
    assert world.writes() == written


def test_nothing_is_written_without_a_decision(world: TargetWorld) -> None:
    target = world.controller("me")
    world.run(target, 60.0)
    assert world.writes() == 0
    assert not target.poll().confirmed


def test_released_pods_have_the_bounds_that_were_found(world: TargetWorld) -> None:
    target = led(world, 6)
    target.release()
    world.run(target, 2.0)
    assert world.settings() == world.found
    assert not target.poll().confirmed
    world.run(target, DETECTED_S, 6)
    assert world.bounds() == (6, MOST)


@pytest.mark.parametrize("gap_s", [0.0, 0.25, 0.5])
def test_a_decision_soon_after_a_release_does_not_take_what_was_led_for_the_users_bounds(
    world: TargetWorld, gap_s: float
) -> None:
    target = led(world, 6)
    target.release()
    world.now_s += gap_s
    target.scale_to(6)
    world.run(target, DETECTED_S, 6)
    assert world.bounds() == (6, MOST)
    target.close()
    assert world.settings() == world.found


def test_a_decision_soon_after_the_undecided_time_does_not_take_what_was_led_for_the_users_bounds(
    world: TargetWorld,
) -> None:
    led(world, 6, "dead")
    target = world.controller("next")
    while world.settings() != world.found:
        world.run(target, 0.25)
    world.run(target, 1.0, 6)
    assert world.bounds() == (6, MOST)
    target.close()
    assert world.settings() == world.found


def test_a_leader_that_leads_again_does_not_take_what_it_once_read_for_the_users_bounds(world: TargetWorld) -> None:
    target, other = led(world, 6), world.controller("other")
    world.now_s += 20.0  # it hangs
    world.run(other, 20.0, 5)
    world.run(target, 0.75)
    world.now_s += 0.25
    world.api.away = True  # the objects are read again between two looks at the Lease
    with pytest.raises(ClusterError):
        target.poll()
    world.api.away = False
    other.close()
    while not target.leads:
        world.now_s += 0.25
        target.poll()
    world.run(target, 3.0, 6)
    target.close()
    assert world.settings() == world.found


def test_an_edit_of_the_lower_bound_is_overwritten_with_one_line(
    world: TargetWorld, caplog: pytest.LogCaptureFixture
) -> None:
    target = led(world, 6)
    world.edit(1)
    world.run(target, 1.0)
    assert world.bounds() == (6, MOST)
    world.run(target, 5.0, 6)
    assert caplog.text.count("another client changed the bounds") >= 1
    assert caplog.text.count("another client changed the bounds") <= 2  # a Revision and its PodAutoscaler
    target.close()
    assert world.settings() == world.found


def test_after_a_kill_without_signals_everything_is_back_within_30_s_of_the_next_lead(world: TargetWorld) -> None:
    led(world, 6, "dead")
    target = world.controller("next")
    world.run(target, 47.0 + 1)  # 15 s until the Lease expires, up to 2 s until that is seen, and 30 s
    assert world.settings() == world.found
    assert world.stored() == []


def test_after_a_kill_the_pods_stay_until_the_next_controller_decides(world: TargetWorld) -> None:
    led(world, 6, "dead")
    target = world.controller("next")
    world.run(target, 25.0)
    assert world.bounds() == (6, MOST)
    world.run(target, 1.0, 0)
    assert world.bounds() == (LEAST, MOST)
    target.close()
    assert world.settings() == world.found


def test_after_sigterm_the_standby_leads_within_seconds(world: TargetWorld) -> None:
    first, standby = world.controller("first"), world.controller("standby")
    world.run(first, DETECTED_S, 6)
    world.run(standby, 1.0, 5)
    assert standby.poll().leader == "first"
    first.close()
    assert world.settings() == world.found
    world.run(standby, 3.0 + DETECTED_S, 5)
    assert world.bounds() == (5, MOST)
    assert standby.poll().confirmed


@pytest.mark.parametrize("observes", [True, False], ids=["observer", "standby"])
def test_another_controller_never_writes(world: TargetWorld, observes: bool) -> None:
    first = led(world, 6, "first")
    other = world.controller("other", observes)
    written = world.writes()
    for _ in range(20):
        world.run(first, 1.0, 6)
        world.run(other, 1.0, 3)
        other.release()
    other.close()
    assert world.writes() == written


@pytest.mark.parametrize("leases", [True, False], ids=["a read of the Lease", "a read of an object"])
@pytest.mark.parametrize("releases", [True, False], ids=["release", "decision"])
def test_a_leader_whose_call_hangs_writes_nothing_10_s_after_its_last_renewal(
    world: TargetWorld, leases: bool, releases: bool
) -> None:
    target, get = led(world, 6), world.api.get
    hung: list[str] = []
    renewed_s = world.now_s

    def slow(plural: str, name: str) -> Json:
        if (plural == LEASES) != leases or hung or not armed:
            return get(plural, name)
        hung.append(plural)
        world.now_s += 13.0
        if leases:
            raise UnreachableError("timed out")
        return get(plural, name)

    def note(verb: str, plural: str, name: str) -> None:
        nonlocal renewed_s
        if plural == LEASES:
            renewed_s = world.now_s
        assert world.now_s - renewed_s < 10.0, f"{verb} {plural}/{name}"

    armed = False  # a patch of the fake reads, too, and is no such read
    world.api.get, world.api.refuse = slow, note  # type: ignore[method-assign]  # the fake, slowed down once
    for step in range(60):
        armed = releases and step % 8 == 4
        target.release() if armed else target.scale_to(3 + step % 4)
        armed = not releases or leases
        state = target.poll()
        armed = False
        assert state.leader is None, "it is not another controller itself"
        assert state.confirmed <= target.leads
        world.now_s += 0.25
    assert hung


def test_a_refused_write_is_no_confirmation_and_is_repeated(world: TargetWorld) -> None:
    target = world.controller("me")
    world.api.refuse = world.refuse
    world.run(target, 10.0, 5)
    assert not target.poll().confirmed
    assert world.settings() == world.found
    world.api.refuse = lambda verb, plural, name: None
    world.run(target, DETECTED_S, 5)
    assert target.poll().confirmed
    assert world.bounds() == (5, MOST)


def test_an_object_that_is_made_again_is_led_within_its_new_bounds(world: TargetWorld) -> None:
    target = led(world, 6)
    world.recreate(most=4)
    world.run(target, DETECTED_S, 6)
    assert world.bounds() == (4, 4)
    target.close()
    assert world.settings() == world.found
    assert world.stored() == []


def test_an_api_server_that_is_away_is_survived(world: TargetWorld) -> None:
    target = led(world, 6)
    world.api.away = True
    for _ in range(80):
        world.now_s += 0.25
        with pytest.raises(Exception, match="cannot reach the API server"):
            target.poll()
    assert not target.leads
    world.api.away = False
    world.run(target, 3.0 + DETECTED_S, 7)
    assert world.bounds() == (7, MOST)


def test_if_the_bounds_cannot_be_given_back_one_line_says_how_to_heal(
    world: TargetWorld, caplog: pytest.LogCaptureFixture
) -> None:
    target = led(world, 6)
    world.api.away = True
    target.close()
    assert "kubectl" in caplog.text


def test_the_pods_are_observed(world: TargetWorld) -> None:
    assert [pod.name for pod in world.controller("me").poll().pods] == ["a"]
