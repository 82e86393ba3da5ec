"""Faults on a real Knative: whatever is killed, every request is answered and the Revision gets its own bounds back."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from knative.client import KnativeClient
from tests.cluster.cluster import NAMESPACE, Cluster, wait_until
from tests.cluster.conftest import Start, StartLoad
from tests.cluster.live_parts import (
    MAX_PODS,
    Controller,
    Seen,
    Watch,
    start_controller,
    start_dispatcher,
    start_pairs,
    stub_services,
    wait_for_no_pods,
)
from tests.ports import free_port

pytestmark = [pytest.mark.cluster, pytest.mark.proof, pytest.mark.timeout(900)]

# Stock KPA and the Services whose controller is killed have the same template: Knative's defaults.
STOCK = {"max-scale": str(MAX_PODS)}
# A window that differs from the controller's shows who has written last.
OWN = {"max-scale": str(MAX_PODS), "window": "10s"}
LED_WINDOW = "6s"
LEASE_S = 15
BURST_S = 36
# Between the bursts, so that the pods of one have started before the next ones do.
STAGGER_S = 10


@pytest.fixture(scope="module", autouse=True)
def services(cluster: Cluster) -> Iterator[None]:
    """Deploy all Services of this module at once, so that they fall asleep while others are tested."""
    with stub_services(cluster, {"led": OWN, "asleep": OWN, "direct": STOCK, "idle": STOCK, "burst": STOCK}):
        yield


def holder(client: KnativeClient, service: str) -> str:
    """Return who holds the Lease of a Service; empty if nobody does."""
    lease = client.lease(f"elastic-{service}")
    return lease.holder if lease else ""


def wait_for_next_leader(client: KnativeClient, service: str, leader: Controller) -> float:
    """Kill the leader; return after how many seconds another controller holds the Lease."""
    killed = holder(client, service)
    leader.process.kill()
    took_s = wait_until(lambda: holder(client, service) not in ("", killed), "another one leads", timeout_s=60)
    print(f"another controller leads {took_s:.1f} s after the kill")
    return took_s


def changes(rows: list[Seen], revision: str) -> list[tuple[int, str | None]]:
    """Return min-scale and window of a Revision each time that either was seen to change."""
    values = [(row.min_scale(revision), row.annotations[revision].get("window")) for row in rows]
    return [value for n, value in enumerate(values) if n == 0 or value != values[n - 1]]


def test_a_standby_takes_over_from_a_killed_leader_without_a_storm(
    cluster: Cluster, start: Start, start_load: StartLoad, tmp_path: Path
) -> None:
    client = cluster.client()
    revision = client.live_revision("led").name
    own = client.annotations(revision)
    dispatcher = start_dispatcher(start, cluster, "led")
    leader = start_controller(start, tmp_path, "led", [dispatcher.control_url])
    standby = start_controller(start, tmp_path, "led", [dispatcher.control_url])
    ledger = start_load(dispatcher.url, rate_rps=10, seconds=50)
    with Watch(cluster, "led", [revision]) as watch:
        wait_until(lambda: client.revision(revision).min_pods > 0, "the leader has set min-scale", timeout_s=60)
        time.sleep(10)
        assert (leader.led, standby.led) == (True, False)
        steady = watch.since(time.monotonic() - 6)
        print(f"min-scale and window with two controllers: {changes(steady, revision)}")
        assert {row.annotations[revision]["window"] for row in steady} == {LED_WINDOW}
        assert len(changes(steady, revision)) <= 3
        killed_s = time.monotonic()
        took_s = wait_for_next_leader(client, "led", leader)
        assert took_s > LEASE_S - 6  # it renewed its Lease at most 5 s before
        wait_until(standby.announces, "the standby announces capacity", timeout_s=30)
        requests_ledger = ledger()
    taken_over = watch.since(killed_s)
    requests_ledger.show("leader killed, standby takes over", watch.most_pods)
    print(f"since the kill: {changes(taken_over, revision)}")
    assert requests_ledger.lost == 0
    # the knobs come back at once, then the standby leads by its own decisions
    assert {row.annotations[revision]["window"] for row in taken_over} <= {LED_WINDOW, own["window"]}
    most = max(row.min_scale(revision) for row in steady) + 2
    assert all(row.min_scale(revision) <= most for row in taken_over)
    assert watch.most_pods <= MAX_PODS
    standby.stop()
    assert client.annotations(revision) == own


def test_a_standby_without_signals_gives_back_what_a_killed_leader_found(
    cluster: Cluster, start: Start, start_load: StartLoad, tmp_path: Path
) -> None:
    client = cluster.client()
    revision = client.live_revision("led").name
    own = client.annotations(revision)
    dispatcher = start_dispatcher(start, cluster, "led")
    leader = start_controller(start, tmp_path, "led", [dispatcher.control_url])
    standby = start_controller(start, tmp_path, "led", [f"http://127.0.0.1:{free_port()}"])
    ledger = start_load(dispatcher.url, rate_rps=10, seconds=65)
    with Watch(cluster, "led", [revision]) as watch:
        wait_until(lambda: client.revision(revision).min_pods > 0, "the leader has set min-scale", timeout_s=60)
        time.sleep(4)
        wait_for_next_leader(client, "led", leader)
        began_s = time.monotonic()
        wait_until(lambda: client.annotations(revision)["window"] == own["window"], "the knobs are back", timeout_s=10)
        assert client.revision(revision).min_pods > 0  # no change of leaders takes pods away from a load
        wait_until(lambda: client.annotations(revision) == own, "min-scale is back", timeout_s=60)
        print(f"its own bounds are back {time.monotonic() - began_s:.1f} s after the standby leads")
        assert time.monotonic() - began_s > 20
        requests_ledger = ledger()
    requests_ledger.show("leader killed, standby without signals", watch.most_pods)
    assert requests_ledger.lost == 0
    assert not standby.announces()
    standby.stop()
    assert holder(client, "led") == ""


def test_a_request_wakes_a_pod_after_knatives_autoscaler_and_a_dispatcher_restarted_asleep(
    cluster: Cluster, start: Start, start_load: StartLoad, tmp_path: Path
) -> None:
    """A restarted autoscaler ignores bounds until a request reaches the activator."""
    client = cluster.client()
    revision = client.live_revision("asleep").name
    dispatcher, lost_one = (start_dispatcher(start, cluster, "asleep") for _ in range(2))
    controller = start_controller(start, tmp_path, "asleep", [lost_one.control_url, dispatcher.control_url])
    wait_for_no_pods(cluster, "asleep")
    with Watch(cluster, "asleep", [revision]) as watch:
        cluster.run("kubectl", "delete", "pod", "-n", "knative-serving", "-l", "app=autoscaler")
        cluster.run("kubectl", "rollout", "status", "-n", "knative-serving", "deployment/autoscaler", "--timeout=90s")
        lost_one.process.kill()
        woken = start_load(dispatcher.url, rate_rps=10, seconds=15)()
    woken.show("from zero, with a new autoscaler and one dispatcher of two", watch.most_pods)
    print(f"the first answer took {woken.latencies_s[0]:.1f} s")
    assert woken.lost == 0
    controller.stop()


@pytest.fixture
def quota(cluster: Cluster) -> Iterator[None]:
    """Allow the namespace two pods."""
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "two-pods"},
            "spec": {"hard": {"pods": "2"}},
        }
    )
    yield
    cluster.run("kubectl", "delete", "-n", NAMESPACE, "--ignore-not-found", "resourcequota/two-pods")


def test_a_quota_is_named_while_the_pods_that_it_allows_answer(
    cluster: Cluster, quota: None, start: Start, start_load: StartLoad, tmp_path: Path
) -> None:
    client = cluster.client()
    revision = client.live_revision("asleep").name
    wait_for_no_pods(cluster, "asleep")
    dispatcher = start_dispatcher(start, cluster, "asleep")
    controller = start_controller(start, tmp_path, "asleep", [dispatcher.control_url])
    ledger = start_load(dispatcher.url, rate_rps=25, seconds=40)
    with Watch(cluster, "asleep", [revision]) as watch:
        wait_until(lambda: "exceeded quota" in controller.log, "the controller names the quota", timeout_s=60)
        assert watch.most_pods <= 2
        cluster.run("kubectl", "delete", "-n", NAMESPACE, "resourcequota/two-pods")
        found = ledger()
    found.show("a quota of two pods for some seconds of 25/s", watch.most_pods)
    print(controller.log)
    assert found.lost == 0
    assert "pods cannot start: works again" in controller.log
    controller.stop()


def test_a_controller_killed_idle_or_in_a_burst_costs_no_more_than_stock_kpa(
    cluster: Cluster, start: Start, start_load: StartLoad, tmp_path: Path
) -> None:
    client = cluster.client()
    names = ("direct", "idle", "burst")
    revisions = {name: client.live_revision(name).name for name in names}
    wait_for_no_pods(cluster, *names)
    (idle, killed_idle), (burst, killed_in_burst) = start_pairs(start, cluster, tmp_path, names[1:])
    wait_until(lambda: client.annotations(revisions["idle"]).get("min-scale") == "0", "min-scale 0 is written")
    killed_idle.process.kill()
    print(f"left behind by the kill in idle time: {client.annotations(revisions['idle'])}")

    with ExitStack() as stack:
        watches = {name: stack.enter_context(Watch(cluster, name, [revisions[name]])) for name in names}
        loads = {"direct": start_load(f"http://{cluster.gateway}", 12, seconds=BURST_S, host=cluster.host("direct"))}
        time.sleep(STAGGER_S)
        loads["idle"] = start_load(idle.url, 12, seconds=BURST_S)
        time.sleep(STAGGER_S)
        loads["burst"] = start_load(burst.url, 12, seconds=BURST_S)
        wait_until(lambda: client.revision(revisions["burst"]).min_pods > 0, "min-scale is set", every_s=0.1)
        killed_in_burst.process.kill()
        print(f"left behind by the kill in the burst: {client.annotations(revisions['burst'])}")
        ledgers = {name: load() for name, load in loads.items()}
    for name, what in (("direct", "stock KPA"), ("idle", "killed idle"), ("burst", "killed in the burst")):
        ledgers[name].show(what, watches[name].most_pods)
        print(f"{what}: late in the second half {ledgers[name].late_ratio(from_s=BURST_S / 2):.1%}")
    stock = ledgers["direct"]
    for name in names[1:]:
        ledger = ledgers[name]
        assert ledger.lost == 0
        # two bursts under stock KPA alone differ by more than this
        assert ledger.late_ratio() <= stock.late_ratio() + 0.15
        assert ledger.late_ratio(from_s=BURST_S / 2) <= stock.late_ratio(from_s=BURST_S / 2) + 0.1
        assert cluster.revisions(name) == [revisions[name]]


def test_with_the_api_server_away_the_last_wish_holds_and_all_heals_by_itself(
    cluster: Cluster, start: Start, start_load: StartLoad, tmp_path: Path
) -> None:
    client = cluster.client()
    revision = client.live_revision("led").name
    own = client.annotations(revision)
    dispatcher = start_dispatcher(start, cluster, "led")
    controller = start_controller(start, tmp_path, "led", [dispatcher.control_url])
    ledger = start_load(dispatcher.url, rate_rps=10, seconds=60)
    with Watch(cluster, "led", [revision]) as watch:
        wait_until(lambda: client.revision(revision).min_pods > 0, "min-scale is set", timeout_s=60)
        time.sleep(8)
        with cluster.api_server_away():
            time.sleep(25)  # longer than the Lease is valid
            assert not controller.announces()
        wait_until(cluster.api_server_is_ready, "the API server is back", timeout_s=120)
        back_s = time.monotonic()
        healed_s = wait_until(controller.announces, "the controller scales again", timeout_s=90)
        print(
            f"the controller scales again {healed_s:.1f} s after the API server is back: {changes(watch.rows, revision)}"
        )
        requests_ledger = ledger()
        after = watch.since(back_s)
        wait_for_no_pods(cluster, "led")
        woken = start_load(dispatcher.url, rate_rps=5, seconds=5)()
    requests_ledger.show("API server away for 25 s", watch.most_pods)
    woken.show("after that, to zero and back", watch.most_pods)
    assert (requests_ledger.lost, woken.lost) == (0, 0)
    assert all(row.min_scale(revision) > 0 for row in after)  # the last wish held
    controller.stop()
    assert client.annotations(revision) == own
    assert "Traceback" not in controller.log
    assert controller.log.count("leader election: works again") <= 2  # one line, not one for each look
    # Knative's own programs restart if they cannot renew their Leases
    cluster.run("kubectl", "rollout", "status", "deployment", "-n", "knative-serving", "--timeout=180s")
