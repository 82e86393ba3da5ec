"""Leader election: when a controller takes a Lease, keeps it and gives it up."""

from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from autoscaler_tuning.live.found_bounds import FoundBounds
from autoscaler_tuning.live.leader import Clocks, LeaderLease, Move, SeenLease, move
from knative.client import KnativeClient
from knative.errors import ClusterError, ConflictError, ForbiddenError
from knative.leases import LEASES, Lease
from knative.objects import Json
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


@dataclass
class Election:
    """Candidates for one Lease, on one fake clock that moves when one is polled, or when a call hangs."""

    api: FakeApi = field(default_factory=FakeApi)
    now_s: float = 0.0

    def candidate(self, name: str) -> LeaderLease:
        clocks = Clocks(lambda: self.now_s, lambda: 1000.0)
        return LeaderLease(KnativeClient("default", self.api), "resnet18", name, clocks)

    def poll(self, candidate: LeaderLease, now_s: float) -> None:
        self.now_s = now_s
        candidate.poll()

    def hang(self, for_s: float) -> None:
        """Let each later read and patch of the Lease take so long."""
        get = self.api.get

        def slow(plural: str, name: str) -> Json:
            self.now_s += for_s
            return get(plural, name)

        self.api.get = slow  # type: ignore[method-assign]  # the fake, slowed down


def test_one_of_two_leads_and_renews_without_a_change_of_leaders() -> None:
    election = Election()
    first, second = election.candidate("first"), election.candidate("second")
    for tenths in range(600):
        election.poll(first, tenths / 10)
        election.poll(second, tenths / 10)
        assert (first.leads, second.leads) == (True, False)
    assert (first.term, second.holder) == (1, "first")
    assert 10 <= len(election.api.calls) <= 14  # a renewal each five seconds


def test_the_other_one_takes_a_lease_that_was_not_renewed_and_counts_the_transition() -> None:
    election = Election()
    election.poll(election.candidate("dead"), 0.0)
    second = election.candidate("second")
    times_s = [tenths / 10 for tenths in range(1, 200)]
    led = []
    for now_s in times_s:
        election.poll(second, now_s)
        led.append(second.leads)
    assert 15.0 <= times_s[led.index(True)] <= 17.5
    assert election.api.objects[LEASES]["elastic-resnet18"]["spec"]["leaseTransitions"] == 1


def test_a_holder_that_was_replaced_while_it_could_not_see_it_leads_no_more() -> None:
    election = Election()
    first = election.candidate("first")
    election.poll(first, 0.0)
    taken = {"metadata": {"resourceVersion": "99"}, "spec": {"holderIdentity": "second"}}
    election.api.objects[LEASES]["elastic-resnet18"] = merged(election.api.objects[LEASES]["elastic-resnet18"], taken)
    with pytest.raises(ConflictError):
        first.remember("uid", FOUND)
    election.poll(first, 0.1)
    assert not first.leads


def test_the_holder_gives_up_ten_seconds_after_its_last_renewal() -> None:
    election = Election()
    first = election.candidate("first")
    election.poll(first, 0.0)
    election.api.away = True
    leading = {}
    for now_s in (5.0, 9.9, 10.0, 12.0):
        with suppress(ClusterError):
            election.poll(first, now_s)
        leading[now_s] = first.leads
    assert leading == {5.0: True, 9.9: True, 10.0: False, 12.0: False}
    election.api.away = False
    election.poll(first, 14.0)
    assert (first.leads, first.term) == (True, 2)


def test_the_holder_gives_up_also_while_a_renewal_hangs() -> None:
    election = Election()
    first = election.candidate("first")
    election.poll(first, 0.0)
    election.hang(13.0)
    election.api.away = True
    with pytest.raises(ClusterError):
        election.poll(first, 5.0)
    assert not first.leads


def test_a_renewal_that_took_long_counts_from_when_it_was_sent() -> None:
    election = Election()
    first = election.candidate("first")
    election.poll(first, 0.0)
    election.hang(6.0)
    election.poll(first, 9.0)  # read until 15 s, patched until 21 s
    assert (election.now_s, first.leads, first.term) == (21.0, True, 1)
    election.now_s = 24.9
    assert first.leads
    election.now_s = 25.0
    assert not first.leads


def test_a_lease_that_was_read_slowly_may_have_been_renewed_until_the_end_of_the_read() -> None:
    election = Election()
    first, second = election.candidate("first"), election.candidate("second")
    election.poll(first, 0.0)
    get = election.api.get

    def slow(plural: str, name: str) -> Json:
        election.api.get = get  # type: ignore[method-assign]  # the fake answers at once again
        election.poll(first, 9.0)
        return get(plural, name)

    election.api.get = slow  # type: ignore[method-assign]  # the first one renews during this read
    election.poll(second, 1.0)
    election.poll(second, 18.9)
    assert (first.leads, second.leads) == (True, False)
    election.poll(second, 24.0)
    assert (first.leads, second.leads) == (False, True)


def refuse(verb: str, plural: str, name: str) -> None:
    raise ForbiddenError(f"cannot {verb} {plural}/{name}: forbidden (HTTP 403)")


def test_found_bounds_survive_a_new_holder_and_a_deleted_lease() -> None:
    election = Election()
    first = election.candidate("first")
    election.poll(first, 0.0)
    first.remember("uid", FOUND)
    del election.api.objects[LEASES]["elastic-resnet18"]
    election.api.refuse = refuse
    with pytest.raises(ForbiddenError):
        election.poll(first, 5.0)
    election.api.refuse = lambda verb, plural, name: None
    election.poll(first, 7.0)
    assert first.leads
    assert first.term == 1
    second = election.candidate("second")
    election.poll(second, 8.0)
    election.poll(second, 30.0)
    assert second.leads
    assert second.found() == {"uid": FOUND}
    second.forget("uid")
    assert second.found() == {}


def test_bounds_that_another_program_made_unreadable_are_left_out() -> None:
    election = Election()
    first = election.candidate("first")
    election.poll(first, 0.0)
    first.remember("uid", FOUND)
    for text in ("not json", "[]", "{}", '{"revision": "r", "annotations": 3}'):
        damaged = {"metadata": {"annotations": {"elastic-ml-inference/found-uid": text}}}
        election.api.objects[LEASES]["elastic-resnet18"] = merged(
            election.api.objects[LEASES]["elastic-resnet18"], damaged
        )
        election.poll(first, 1000.0)
        election.poll(first, 2000.0)
        assert first.found() == {}


def test_who_does_not_lead_can_store_nothing() -> None:
    election = Election()
    election.poll(election.candidate("first"), 0.0)
    second = election.candidate("second")
    election.poll(second, 0.0)
    with pytest.raises(ConflictError, match="does not hold it"):
        second.remember("uid", FOUND)
    second.release()
    assert len(election.api.calls) == 1


def test_a_released_lease_can_be_taken_at_once() -> None:
    election = Election()
    first, second = election.candidate("first"), election.candidate("second")
    election.poll(first, 0.0)
    election.poll(second, 0.1)
    first.release()
    election.poll(second, 2.2)
    assert (first.leads, second.leads) == (False, True)


def test_what_an_earlier_version_stored_is_that_of_a_revision() -> None:
    stored = '{"annotations": {"autoscaling.knative.dev/max-scale": "20"}, "revision": "resnet18-00001"}'
    assert FoundBounds.from_text(stored) == FOUND
    assert FoundBounds.from_text(FOUND.text()) == FOUND
