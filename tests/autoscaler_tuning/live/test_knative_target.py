"""A Knative Service as a target: what is written on its Revisions, and how everything that was found comes back."""

import logging
from collections.abc import Callable

import pytest

from autoscaler_tuning.live.knative_target import KnativeTarget
from knative.errors import NoTrafficError
from knative.leases import LEASES
from knative.objects import REVISIONS, SERVICES, Json
from tests.autoscaler_tuning.live.knative_world import (
    FIRST,
    IDLE,
    LED,
    SECOND,
    KnativeWorld,
    cluster,
    refuse_revisions,
    route,
)
from tests.knative.fake_api import merged, pod_json, ready, revision_json


@pytest.mark.parametrize(
    ("found", "wish", "bounds"),
    [
        pytest.param({}, 3, ("3", None), id="no bounds of the user"),
        pytest.param({"max_scale": "20"}, 3, ("3", "20"), id="max-scale stays"),
        pytest.param({"max_scale": "20"}, 0, ("0", "20"), id="idle"),
        pytest.param({"max_scale": "0"}, 3, ("3", "0"), id="no limit stays as it was spelled"),
        pytest.param({"min_scale": "2", "max_scale": "3"}, 0, ("2", "3"), id="not below the user's min-scale"),
        pytest.param({"min_scale": "2", "max_scale": "3"}, 8, ("3", "3"), id="not above the user's max-scale"),
        pytest.param({"minScale": "2", "maxScale": "5"}, 0, ("2", None), id="old spelling of the user's min-scale"),
        pytest.param({"minScale": "2", "maxScale": "5"}, 8, ("5", None), id="old spelling of the user's max-scale"),
    ],
)
def test_min_scale_leads_within_the_users_bounds(
    found: dict[str, str], wish: int, bounds: tuple[str | None, str | None]
) -> None:
    world = KnativeWorld(cluster(**found))
    before = world.api.annotations(FIRST)
    target = world.controller("me")
    world.run(target, 1.0, wish)
    assert world.bounds() == bounds
    assert world.api.annotations(FIRST) == {**before, "min-scale": bounds[0], **(LED if wish else IDLE)}
    assert target.poll().confirmed
    target.close()
    assert world.api.annotations(FIRST) == before


def test_max_scale_is_never_written_as_0() -> None:
    world = KnativeWorld(cluster(max_scale="0"))
    target = world.controller("me")
    world.run(target, 1.0, 3)
    world.api.edit(FIRST, max_scale="2", min_scale="0")
    world.run(target, 1.0, 3)
    assert world.bounds() == ("3", None)  # no max-scale is no limit too
    sent = [patch["metadata"]["annotations"] for _, plural, _, patch in world.api.calls if plural == REVISIONS]
    assert all(patch.get("autoscaling.knative.dev/max-scale") is None for patch in sent)


@pytest.mark.parametrize("wish", [0, 1, 2, 3, 9])
def test_an_activation_scale_is_raised_with_min_scale_and_comes_back(wish: int) -> None:
    world = KnativeWorld(cluster(activation_scale="2", max_scale="6"))
    target = world.controller("me")
    world.run(target, 1.0, wish)
    assert target.poll().confirmed
    assert world.api.annotations(FIRST)["activation-scale"] == str(max(2, min(6, wish)))
    world.run(target, 1.0, 0)
    assert world.api.annotations(FIRST)["activation-scale"] == "2"


def test_without_wanted_pods_knatives_autoscaler_keeps_the_users_headroom() -> None:
    world = KnativeWorld(cluster(target_utilization_percentage="60", max_scale="20"))
    target = world.controller("me")
    world.run(target, 1.0, 3)
    assert world.api.annotations(FIRST) == {"min-scale": "3", "max-scale": "20", **LED}
    world.run(target, 1.0, 0)
    found = {"target-utilization-percentage": "60", "max-scale": "20"}
    assert world.api.annotations(FIRST) == {"min-scale": "0", **found, **IDLE}


def test_an_hpas_revision_keeps_its_knobs() -> None:
    world = KnativeWorld(cluster(**{"class": "hpa.autoscaling.knative.dev", "window": "60s"}))
    world.run(world.controller("me"), 1.0, 3)
    assert world.api.annotations(FIRST)["window"] == "60s"
    assert world.bounds() == ("3", None)


def test_a_write_is_sent_once_and_not_more_often_than_four_times_a_second() -> None:
    world = KnativeWorld()
    target = world.controller("me")
    world.run(target, 5.0, 3)
    assert world.writes() == 1
    target.poll()
    for pods in range(100):
        target.scale_to(pods % 7)
        world.now_s += 0.01
        target.poll()
    assert world.writes() <= 6


def test_what_was_found_is_stored_before_the_first_write_and_forgotten_at_the_end() -> None:
    world = KnativeWorld()
    target = world.controller("me")
    world.run(target, 1.0, 3)
    plurals = [plural for _, plural, _, _ in world.api.calls]
    assert plurals[:3] == ["leases", "leases", "revisions"]
    assert world.stored() == [f"elastic-ml-inference/found-uid-of-{FIRST}"]
    target.close()
    assert world.stored() == []


def test_nothing_is_written_without_a_decision() -> None:
    world = KnativeWorld()
    target = world.controller("me")
    world.run(target, 60.0)
    assert world.writes() == 0
    assert not target.poll().confirmed


def test_an_edit_by_another_client_is_overwritten_within_a_second_with_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = KnativeWorld()
    target = world.controller("me")
    world.run(target, 1.0, 3)
    world.api.edit(FIRST, min_scale="0", max_scale="1", window="60s")
    world.run(target, 1.0)
    assert world.api.annotations(FIRST) == {"min-scale": "3", "max-scale": "20", **LED}
    world.run(target, 5.0, 3)
    assert caplog.text.count("another client changed the bounds") == 1


def test_the_next_revision_is_led_and_the_old_one_gets_its_own_bounds_back() -> None:
    world = KnativeWorld()
    target = world.controller("me")
    world.run(target, 1.0, 6)
    world.api.objects[REVISIONS][SECOND] = revision_json(SECOND, max_scale="4", window="30s")
    route(world.api, {FIRST: 0, SECOND: 100})
    world.run(target, 1.0, 6)
    assert world.api.annotations(FIRST) == {"min-scale": "1", "max-scale": "20"}
    assert world.api.annotations(SECOND) == {"min-scale": "4", "max-scale": "4", **LED}
    assert world.stored() == [f"elastic-ml-inference/found-uid-of-{SECOND}"]


def test_an_old_revision_that_cannot_be_written_gets_its_bounds_back_later() -> None:
    world = KnativeWorld()
    target = world.controller("me")
    world.run(target, 1.0, 6)
    world.api.objects[REVISIONS][SECOND] = revision_json(SECOND)
    route(world.api, {SECOND: 100})
    world.api.refuse = lambda verb, plural, name: refuse_revisions(verb, plural, name) if name == FIRST else None
    world.run(target, 3.0, 6)
    world.run(target, 0.5, 8)
    assert (world.bounds(FIRST)[0], world.bounds(SECOND)[0]) == ("6", "8")
    assert target.poll().confirmed
    world.api.refuse = lambda verb, plural, name: None
    world.run(target, 1.0, 8)
    assert world.bounds() == ("1", "20")


def test_in_a_split_each_revision_gets_its_share() -> None:
    world = KnativeWorld(cluster(max_scale="20"))
    world.api.objects[REVISIONS][SECOND] = revision_json(SECOND)
    world.api.pod_list.append(pod_json("b", SECOND, ready()))
    route(world.api, {FIRST: 75, SECOND: 25})
    target = world.controller("me")
    world.run(target, 1.0, 10)
    assert (world.bounds(FIRST)[0], world.bounds(SECOND)[0]) == ("8", "3")
    assert [pod.name for pod in target.poll().pods] == ["a", "b"]
    target.close()
    assert (world.bounds(FIRST), world.bounds(SECOND)) == ((None, "20"), (None, None))


def test_a_refused_write_is_no_confirmation_and_is_repeated() -> None:
    world = KnativeWorld()
    target = world.controller("me")
    tries: list[str] = []

    def refuse(verb: str, plural: str, name: str) -> None:
        tries.append(plural)
        refuse_revisions(verb, plural, name)

    world.api.refuse = refuse
    world.run(target, 10.0, 3)
    assert not target.poll().confirmed
    assert 9 <= tries.count(REVISIONS) <= 12
    world.api.refuse = lambda verb, plural, name: None
    world.run(target, 1.25)
    assert target.poll().confirmed
    assert world.bounds() == ("3", "20")


def test_a_service_that_is_deleted_and_made_again_is_led_with_its_new_bounds() -> None:
    world = KnativeWorld()
    target = world.controller("me")
    world.run(target, 1.0, 6)
    route(world.api, {})
    del world.api.objects[REVISIONS][FIRST]
    world.now_s += 1
    with pytest.raises(NoTrafficError):
        target.poll()
    world.recreate(FIRST, max_scale="3")
    route(world.api, {FIRST: 100})
    world.now_s += 1
    world.run(target, 1.0, 6)
    assert world.bounds() == ("3", "3")
    target.close()
    assert world.bounds() == (None, "3")
    assert world.stored() == []


def test_released_pods_have_the_bounds_that_were_found_until_the_next_decision() -> None:
    world = KnativeWorld()
    target = world.controller("me")
    world.run(target, 1.0, 6)
    target.release()
    world.run(target, 2.0)
    assert world.api.annotations(FIRST) == {"min-scale": "1", "max-scale": "20"}
    assert not target.poll().confirmed
    world.api.edit(FIRST, max_scale="9")  # meanwhile the user's edits count
    world.run(target, 2.0)
    world.run(target, 1.0, 10)
    assert world.bounds() == ("9", "9")


def in_a_burst(world: KnativeWorld) -> None:
    world.run(world.controller("dead"), 1.0, 6)


def when_idle(world: KnativeWorld) -> None:
    world.run(world.controller("dead"), 1.0, 6)
    world.run(world.controller("dead"), 1.0, 0)


def before_its_first_write(world: KnativeWorld) -> None:
    world.api.refuse = refuse_revisions
    world.run(world.controller("dead"), 1.0, 6)
    world.api.refuse = lambda verb, plural, name: None


def after_a_deploy(world: KnativeWorld) -> None:
    dead = world.controller("dead")
    world.run(dead, 1.0, 6)
    world.api.objects[REVISIONS][SECOND] = revision_json(SECOND, max_scale="4")
    route(world.api, {FIRST: 0, SECOND: 100})


KILLED = [in_a_burst, when_idle, before_its_first_write, after_a_deploy]


@pytest.mark.parametrize("killed", KILLED)
def test_after_a_kill_without_signals_everything_is_back_within_30_s_of_the_next_lead(
    killed: Callable[[KnativeWorld], None],
) -> None:
    world = KnativeWorld()
    killed(world)
    assert world.bounds()[1] == "20"  # what the dead controller leaves lets Knative scale to the user's max-scale
    target = world.controller("next")
    world.run(target, 47.0)  # 15 s until the Lease expires, up to 2 s until that is seen, and 30 s
    assert world.api.annotations(FIRST) == {"min-scale": "1", "max-scale": "20"}
    assert world.stored() == []


@pytest.mark.parametrize("killed", KILLED)
def test_after_a_kill_the_next_controller_leads_with_the_first_bounds_as_limits(
    killed: Callable[[KnativeWorld], None],
) -> None:
    world = KnativeWorld()
    killed(world)
    target = world.controller("next")
    world.run(target, 20.0, 0)
    live = next(iter(sorted(name for name, percent in traffic(world).items() if percent)))
    assert world.bounds(live)[0] == ("1" if live == FIRST else "0")
    target.close()
    assert world.api.annotations(FIRST) == {"min-scale": "1", "max-scale": "20"}


def traffic(world: KnativeWorld) -> dict[str, int]:
    entries = world.api.objects[SERVICES]["resnet18"]["status"]["traffic"]
    return {entry["revisionName"]: entry["percent"] for entry in entries}


def test_whoever_takes_over_gives_the_knobs_back_at_once_and_keeps_the_pods_until_it_decides() -> None:
    world = KnativeWorld()
    world.run(world.controller("dead"), 1.0, 6)
    target = world.controller("next")
    world.run(target, 14.0)
    assert world.api.annotations(FIRST) == {"min-scale": "6", "max-scale": "20", **LED}
    world.run(target, 4.0)
    assert world.api.annotations(FIRST) == {"min-scale": "6", "max-scale": "20"}
    world.run(target, 1.0, 5)
    assert world.api.annotations(FIRST) == {"min-scale": "5", "max-scale": "20", **LED}


def test_after_sigterm_the_standby_leads_within_seconds() -> None:
    world = KnativeWorld()
    first, standby = world.controller("first"), world.controller("standby")
    world.run(first, 1.0, 6)
    world.run(standby, 1.0, 2)
    assert standby.poll().leader == "first"
    first.close()
    assert world.bounds() == ("1", "20")
    world.run(standby, 3.0, 2)
    assert world.bounds() == ("2", "20")
    assert standby.poll().confirmed


@pytest.mark.parametrize("observes", [True, False], ids=["shadow", "standby"])
def test_another_controller_never_writes(observes: bool) -> None:
    world = KnativeWorld()
    first = world.controller("first")
    world.run(first, 1.0, 6)
    other = world.controller("other", observes)
    written = len(world.api.calls)
    for _ in range(40):
        world.run(first, 1.0, 6)
        world.run(other, 1.0, 2)
        other.release()
    other.close()
    renewals = world.api.calls[written:]
    assert {plural for _, plural, _, _ in renewals} == {"leases"}
    assert {sent["spec"]["holderIdentity"] for _, _, _, sent in renewals} == {"first"}


def test_a_leader_that_cannot_reach_the_api_server_stops_before_another_one_begins() -> None:
    world = KnativeWorld()
    first = world.controller("first")
    world.run(first, 1.0, 6)
    leads_until_s = world.now_s
    world.api.away = True
    for _ in range(60):
        world.now_s += 0.25
        with pytest.raises(Exception, match="cannot reach the API server"):
            first.poll()
        if first.leads:
            leads_until_s = world.now_s
    assert 5 < leads_until_s - 1001 <= 11
    world.api.away = False
    world.run(first, 3.0)
    assert world.api.annotations(FIRST) == {"min-scale": "6", "max-scale": "20"}
    world.run(first, 3.0, 6)
    assert first.poll().confirmed
    assert world.bounds() == ("6", "20")


def test_a_leader_stopped_right_after_an_outage_gives_everything_back() -> None:
    world = KnativeWorld()
    before = world.api.annotations(FIRST)
    leader = world.controller("first")
    world.run(leader, 1.0, 6)
    world.api.away = True
    for _ in range(60):
        world.now_s += 0.25
        with pytest.raises(Exception, match="cannot reach the API server"):
            leader.poll()
    assert not leader.leads
    world.api.away = False
    world.now_s += 2
    leader.close()
    assert world.api.annotations(FIRST) == before


def test_a_controller_whose_lease_another_one_took_writes_no_more() -> None:
    world = KnativeWorld()
    first = world.controller("first")
    world.run(first, 1.0, 6)
    taken = {"metadata": {"resourceVersion": "99"}, "spec": {"holderIdentity": "second"}}
    world.api.objects[LEASES]["elastic-resnet18"] = merged(world.api.objects[LEASES]["elastic-resnet18"], taken)
    world.run(first, 5.0)
    written = world.writes()
    world.run(first, 5.0, 9)
    assert (first.poll().confirmed, first.poll().leader) == (False, "second")
    assert world.writes() == written


def test_a_revision_that_was_made_again_is_not_given_the_bounds_of_the_old_one() -> None:
    world = KnativeWorld()
    target = world.controller("me")
    world.run(target, 1.0, 6)
    world.recreate(FIRST, max_scale="3")
    world.api.objects[REVISIONS][SECOND] = revision_json(SECOND)
    route(world.api, {SECOND: 100})
    world.run(target, 1.0, 6)
    assert world.api.annotations(FIRST) == {"max-scale": "3"}
    assert world.stored() == [f"elastic-ml-inference/found-uid-of-{SECOND}"]


def test_if_the_api_server_is_away_at_the_end_one_line_says_how_to_heal(caplog: pytest.LogCaptureFixture) -> None:
    world = KnativeWorld()
    target = world.controller("me")
    world.run(target, 1.0, 6)
    world.api.away = True
    target.close()
    assert "kubectl annotate revision" in caplog.text
    world.api.away = False
    world.run(world.controller("next"), 47.0)
    assert world.bounds() == ("1", "20")


def test_a_trouble_is_one_line_at_its_beginning_and_one_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = KnativeWorld()
    target = world.controller("me")
    world.api.refuse = refuse_revisions
    world.run(target, 120.0, 3)
    world.api.refuse = lambda verb, plural, name: None
    world.run(target, 2.0, 3)
    about_it = [record.message for record in caplog.records if "set the bounds" in record.message]
    assert about_it[0] == f"set the bounds of revisions/{FIRST}: cannot patch revisions/{FIRST}: forbidden (HTTP 403)"
    assert about_it[1].startswith(f"set the bounds of revisions/{FIRST}: works again after 12")
    assert len(about_it) == 2


def test_an_outage_of_the_api_server_is_one_line_at_its_beginning_and_one_at_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    world = KnativeWorld()
    target = world.controller("me")
    world.run(target, 2.0, 3)
    world.api.away = True
    for _ in range(60):
        world.now_s += 1
        with pytest.raises(Exception, match="cannot reach the API server"):
            target.poll()
    world.api.away = False
    world.run(target, 5.0, 3)
    about_it = [record.message for record in caplog.records if record.message.startswith("leader election")]
    assert len(about_it) == 2
    assert "cannot reach the API server" in about_it[0]
    assert "works again after" in about_it[1]


def test_the_state_has_the_concurrency_and_the_problem_of_the_revision() -> None:
    world = KnativeWorld()
    revision = world.api.objects[REVISIONS][FIRST]
    revision["spec"] = {"containerConcurrency": 10}
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    world.api.pod_list.append(pod_json("b", FIRST, {"containerStatuses": [{"state": {"waiting": waiting}}]}))
    state = world.controller("me").poll()
    assert (state.concurrency, state.problem) == (10, "ImagePullBackOff: no such image")


def polled(target: KnativeTarget) -> tuple[str, ...]:
    return tuple(pod.name for pod in target.poll().pods)


def test_the_api_server_is_asked_at_most_four_times_a_second() -> None:
    world = KnativeWorld()
    target = world.controller("me")
    assert polled(target) == ("a",)
    world.api.pod_list.append(pod_json("b", FIRST, ready()))
    world.now_s += 0.2
    assert polled(target) == ("a",)
    world.now_s += 0.05
    assert polled(target) == ("a", "b")


def test_pods_that_cannot_start_are_marked_and_ready_ones_have_the_address_of_their_queue_proxy() -> None:
    world = KnativeWorld()
    refused = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    world.api.pod_list = [
        pod_json("a", FIRST, {**ready(), "podIP": "10.0.0.7"}),
        pod_json("b", FIRST, {"conditions": [refused], "podIP": "10.0.0.8"}),
        pod_json("c", FIRST, {}),
    ]
    target = world.controller("me")
    state = target.poll()
    assert {pod.name: pod.stuck for pod in state.pods} == {"a": False, "b": True, "c": False}
    assert state.problem == "Unschedulable"
    assert target.queue_proxies() == ("http://10.0.0.7:9090",)


def test_pods_are_read_each_second_once_they_are_as_wanted_and_four_times_a_second_before() -> None:
    world = KnativeWorld()
    reads: list[str] = []
    read = world.api.pods

    def pods(label_selector: str) -> list[Json]:
        reads.append(label_selector)
        return read(label_selector)

    world.api.pods = pods  # type: ignore[method-assign]
    target = world.controller("me")
    world.run(target, 10.0, 1)
    assert 10 <= len(reads) <= 15
    reads.clear()
    world.run(target, 10.0, 3)
    assert len(reads) >= 38
