"""Leader election: when a controller takes a Lease, keeps it and gives it up."""

from contextlib import suppress

import pytest

from autoscaler_tuning.live.found_bounds import FoundBounds
from autoscaler_tuning.live.leader import LeaderLease, Move, SeenLease, move
from knative.client import KnativeClient
from knative.errors import ClusterError, ConflictError, ForbiddenError
from knative.leases import LEASES, Lease
from tests.knative.fake_api import FakeApi, merged

FOUND = FoundBounds("resnet18-00001", {"autoscaling.knative.dev/max-scale": "20"})


def lease(holder: str, version: str = "1", renewed: str = "") -> Lease:
    return Lease("elastic-resnet18", version, holder, renewed, 0, {})


@pytest.mark.parametrize(
    ("found", "seen_for_s", "expected"),
    [
        pytest.param(None, 0.0, Move.CREATE, id="there is none"),
        pytest.param(lease("me"), 99.0, Move.RENEW, id="it is held by this one"),
        pytest.param(lease(""), 0.0, Move.TAKE, id="it is free"),
        pytest.param(lease("other"), 14.9, Move.WAIT, id="it is held by another one"),
        pytest.param(lease("other"), 15.0, Move.TAKE, id="another one did not renew it"),
    ],
)
def test_what_to_do_about_a_lease(found: Lease | None, seen_for_s: float, expected: Move) -> None:
    seen = SeenLease().update(found, 100.0)
    assert move(found, seen, "me", 100.0 + seen_for_s, 15.0) is expected


def test_a_renewal_is_judged_by_the_observers_clock_and_not_by_the_holders() -> None:
    seen = SeenLease().update(lease("other", "1", "2099-01-01T00:00:00Z"), 10.0)
    assert seen.update(lease("other", "1", "2099-01-01T00:00:00Z"), 20.0).since_s == 10.0
    assert seen.update(lease("other", "2", "1999-01-01T00:00:00Z"), 20.0).since_s == 20.0


def candidate(api: FakeApi, name: str) -> LeaderLease:
    return LeaderLease(KnativeClient("default", api), "resnet18", name, lambda: 1000.0)


def test_one_of_two_leads_and_renews_without_a_change_of_leaders() -> None:
    api = FakeApi()
    first, second = candidate(api, "first"), candidate(api, "second")
    for tenths in range(600):
        first.poll(tenths / 10)
        second.poll(tenths / 10)
        assert (first.leads, second.leads) == (True, False)
    assert (first.term, second.holder) == (1, "first")
    assert 10 <= len(api.calls) <= 14  # a renewal each five seconds


def test_the_other_one_takes_a_lease_that_was_not_renewed_and_counts_the_transition() -> None:
    api = FakeApi()
    candidate(api, "dead").poll(0.0)
    second = candidate(api, "second")
    times_s = [tenths / 10 for tenths in range(1, 200)]
    led = []
    for now_s in times_s:
        second.poll(now_s)
        led.append(second.leads)
    assert 15.0 <= times_s[led.index(True)] <= 17.5
    assert api.objects[LEASES]["elastic-resnet18"]["spec"]["leaseTransitions"] == 1


def test_a_holder_that_was_replaced_while_it_could_not_see_it_leads_no_more() -> None:
    api = FakeApi()
    first = candidate(api, "first")
    first.poll(0.0)
    taken = {"metadata": {"resourceVersion": "99"}, "spec": {"holderIdentity": "second"}}
    api.objects[LEASES]["elastic-resnet18"] = merged(api.objects[LEASES]["elastic-resnet18"], taken)
    with pytest.raises(ConflictError):
        first.remember("uid", FOUND)
    first.poll(0.1)
    assert not first.leads


def test_the_holder_gives_up_ten_seconds_after_its_last_renewal() -> None:
    api = FakeApi()
    first = candidate(api, "first")
    first.poll(0.0)
    api.away = True
    leading = {}
    for now_s in (5.0, 9.9, 10.0, 12.0):
        with suppress(ClusterError):
            first.poll(now_s)
        leading[now_s] = first.leads
    assert leading == {5.0: True, 9.9: True, 10.0: False, 12.0: False}
    api.away = False
    first.poll(14.0)
    assert (first.leads, first.term) == (True, 2)


def refuse(verb: str, plural: str, name: str) -> None:
    raise ForbiddenError(f"cannot {verb} {plural}/{name}: forbidden (HTTP 403)")


def test_found_bounds_survive_a_new_holder_and_a_deleted_lease() -> None:
    api = FakeApi()
    first = candidate(api, "first")
    first.poll(0.0)
    first.remember("uid", FOUND)
    del api.objects[LEASES]["elastic-resnet18"]
    api.refuse = refuse
    with pytest.raises(ForbiddenError):
        first.poll(5.0)
    api.refuse = lambda verb, plural, name: None
    first.poll(7.0)
    assert first.leads
    assert first.term == 1
    second = candidate(api, "second")
    second.poll(8.0)
    second.poll(30.0)
    assert second.leads
    assert second.found() == {"uid": FOUND}
    second.forget("uid")
    assert second.found() == {}


def test_bounds_that_another_program_made_unreadable_are_left_out() -> None:
    api = FakeApi()
    first = candidate(api, "first")
    first.poll(0.0)
    first.remember("uid", FOUND)
    for text in ("not json", "[]", "{}", '{"revision": "r", "annotations": 3}'):
        damaged = {"metadata": {"annotations": {"elastic-ml-inference/found-uid": text}}}
        api.objects[LEASES]["elastic-resnet18"] = merged(api.objects[LEASES]["elastic-resnet18"], damaged)
        first.poll(1000.0)
        first.poll(2000.0)
        assert first.found() == {}


def test_who_does_not_lead_can_store_nothing() -> None:
    api = FakeApi()
    candidate(api, "first").poll(0.0)
    second = candidate(api, "second")
    second.poll(0.0)
    with pytest.raises(ConflictError, match="does not hold it"):
        second.remember("uid", FOUND)
    second.release()
    assert len(api.calls) == 1


def test_a_released_lease_can_be_taken_at_once() -> None:
    api = FakeApi()
    first, second = candidate(api, "first"), candidate(api, "second")
    first.poll(0.0)
    second.poll(0.1)
    first.release()
    second.poll(2.2)
    assert (first.leads, second.leads) == (False, True)


def test_what_an_earlier_version_stored_is_that_of_a_revision() -> None:
    stored = '{"annotations": {"autoscaling.knative.dev/max-scale": "20"}, "revision": "resnet18-00001"}'
    assert FoundBounds.from_text(stored) == FOUND
    assert FoundBounds.from_text(FOUND.text()) == FOUND
