"""Deploys, traffic splits, limits of the user and restarts on a real Knative, under load: no request is lost."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles

import pytest
import requests
import yaml

from autoscaler_tuning.live.knative_target import KnativeTarget
from autoscaler_tuning.live.leader import Clocks, LeaderLease
from knative.client import KnativeClient
from knative.objects import HPA_CLASS
from knative.workloads import ScaledObject
from tests.cluster.cluster import NAMESPACE, Cluster, wait_until
from tests.cluster.conftest import Start, StartLoad
from tests.cluster.live_parts import (
    MAX_PODS,
    Watch,
    start_controller,
    start_dispatcher,
    start_pairs,
    stub_services,
)
from tests.paths import ROOT
from tests.ports import wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.proof, pytest.mark.timeout(900)]

OWN = {"max-scale": str(MAX_PODS), "window": "10s"}
# What users wrote on their Services, and the limits within which min-scale must stay.
LIMITS = {
    "kept": ({"min-scale": "2", "max-scale": "5", "window": "10s"}, (2, 5)),
    "old": ({"minScale": "2", "maxScale": "5", "window": "10s"}, (2, 5)),
    "activated": ({**OWN, "activation-scale": "2"}, (0, MAX_PODS)),
    "hpa": ({"class": HPA_CLASS, "metric": "cpu", "target": "70", "min-scale": "1", "max-scale": "4"}, (1, 4)),
}


@pytest.fixture(scope="module", autouse=True)
def services(cluster: Cluster) -> Iterator[None]:
    """Deploy all Services of this module at once."""
    limits = {name: annotations for name, (annotations, _) in LIMITS.items()}
    with stub_services(cluster, {"canary": OWN, "around": OWN, **limits}):
        yield


def test_a_deploy_a_split_and_a_rollback_under_load_lose_nothing(
    cluster: Cluster, start: Start, start_load: StartLoad, tmp_path: Path
) -> None:
    """The bounds follow the traffic: each Revision that goes out of it gets its own back."""
    client = cluster.client()
    old, new = "canary-00001", "canary-00002"
    own = client.annotations(old)

    def led(revision: str) -> bool:
        return client.annotations(revision)["window"] == "6s" and client.revision(revision).min_pods > 0

    def has_own(revision: str) -> bool:
        return client.annotations(revision) == own

    dispatcher = start_dispatcher(start, cluster, "canary")
    controller = start_controller(start, tmp_path, "canary", [dispatcher.control_url])
    ledger = start_load(dispatcher.url, rate_rps=12, seconds=65)
    with Watch(cluster, "canary", [old]) as watch:
        wait_until(lambda: led(old), "the first Revision is led", timeout_s=60)
        cluster.run("kn", "service", "update", "canary", "-n", NAMESPACE, "--env", "VERSION=2")
        wait_until(lambda: led(new), "the new Revision is led", timeout_s=60)
        wait_until(lambda: has_own(old), "the old Revision has its own bounds", timeout_s=30)

        cluster.run("kn", "service", "update", "canary", "-n", NAMESPACE, "--traffic", f"{old}=25,{new}=75")
        wait_until(lambda: led(old) and led(new), "both Revisions of the split are led", timeout_s=60)
        time.sleep(5)
        shares = [client.revision(name).min_pods for name in (old, new)]
        print(f"min-scale with 25 % and 75 % of the traffic: {shares}")
        assert shares[0] <= shares[1]

        cluster.run("kn", "service", "update", "canary", "-n", NAMESPACE, "--traffic", f"{old}=100")
        wait_until(lambda: has_own(new), "the Revision that was rolled back has its own bounds", timeout_s=60)
        assert led(old)
        requests_ledger = ledger()
    requests_ledger.show("deploy, split and rollback", watch.most_pods)
    assert requests_ledger.lost == 0
    controller.stop()
    assert has_own(old)
    assert has_own(new)
    assert cluster.revisions("canary") == [old, new]  # the one that we deployed, and none of the controller


def test_half_of_the_load_straight_to_the_route_loses_nothing(
    cluster: Cluster, start: Start, start_load: StartLoad, tmp_path: Path
) -> None:
    """Meanwhile another client edits the bounds, which are written again at the next poll."""
    client = cluster.client()
    revision = client.live_revision("around").name
    dispatcher = start_dispatcher(start, cluster, "around")
    controller = start_controller(start, tmp_path, "around", [dispatcher.control_url])
    with Watch(cluster, "around", [revision]) as watch:
        buffered = start_load(dispatcher.url, rate_rps=10, seconds=30)
        straight = start_load(f"http://{cluster.gateway}", rate_rps=10, seconds=30, host=cluster.host("around"))
        wait_until(lambda: client.revision(revision).min_pods > 0, "min-scale is set", timeout_s=60)

        def noticed() -> bool:  # an edit just before a new decision is overwritten by it, without a word
            client.annotate(revision, {"min-scale": "0"})
            time.sleep(1)
            return "another client changed the bounds" in controller.log

        wait_until(noticed, "the edit is noticed", timeout_s=30, every_s=1)
        wait_until(lambda: client.revision(revision).min_pods > 0, "min-scale is set again", timeout_s=30)
        ledgers = {"through the dispatcher": buffered(), "straight to the route": straight()}
    for what, ledger in ledgers.items():
        ledger.show(what, watch.most_pods)
        assert ledger.lost == 0
        print(f"{what}: late in the last 10 s: {ledger.late_ratio(from_s=20):.1%}")
    assert watch.most_pods >= 2  # as many as both loads keep busy
    controller.stop()


def test_the_users_bounds_are_limits_in_every_spelling_and_class(
    cluster: Cluster, start: Start, start_load: StartLoad, tmp_path: Path
) -> None:
    client = cluster.client()
    revisions = {name: client.live_revision(name).name for name in LIMITS}
    own = {name: client.annotations(revision) for name, revision in revisions.items()}
    started = dict(zip(LIMITS, start_pairs(start, cluster, tmp_path, tuple(LIMITS)), strict=True))
    with ExitStack() as stack:
        watches = {name: stack.enter_context(Watch(cluster, name, [revisions[name]])) for name in LIMITS}
        loads = {name: start_load(one.url, rate_rps=8, seconds=20) for name, (one, _) in started.items()}
        ledgers = {name: load() for name, load in loads.items()}
        time.sleep(5)
    for name, (_, (least, most)) in LIMITS.items():
        rows, revision = watches[name].rows, revisions[name]
        written = {bounds_of(row.annotations[revision]) for row in rows}
        ledgers[name].show(name, watches[name].most_pods)
        print(f"{name}: min-scale and max-scale {sorted(written)}")
        assert ledgers[name].lost == 0
        assert {most} == {high for _, high in written}
        assert all(least <= low <= most for low, _ in written)
        assert watches[name].most_pods <= most
    assert any(row.min_scale(revisions["activated"]) > 0 for row in watches["activated"].rows)
    for _, controller in started.values():
        controller.stop()
        assert controller.led
        assert "cannot patch revisions" not in controller.log
    for name, revision in revisions.items():
        assert client.annotations(revision) == own[name]


def bounds_of(annotations: Mapping[str, str]) -> tuple[int, int]:
    """Return min-scale and max-scale as Knative reads them: the new spelling before the old one."""
    low = annotations.get("min-scale", annotations.get("minScale", "0"))
    return int(low), int(annotations.get("max-scale", annotations.get("maxScale", "0")))


class TimedClient(KnativeClient):
    """A client that notes how long each patch of a Revision took."""

    def __init__(self, inner: KnativeClient) -> None:
        super().__init__(NAMESPACE, inner.api)
        self.took_s: list[float] = []

    def patch_settings(self, plural: str, name: str, settings: Mapping[str, str | None]) -> ScaledObject:
        began_s = time.monotonic()
        patched = super().patch_settings(plural, name, settings)
        self.took_s.append(time.monotonic() - began_s)
        return patched


def test_a_hundred_decisions_create_no_revision(cluster: Cluster) -> None:
    client = TimedClient(cluster.client())
    before = cluster.revisions("around")
    own = client.annotations(before[0])
    clocks = Clocks(time.monotonic, time.time)
    lease = LeaderLease(client, "around", "a-test", clocks)
    target = KnativeTarget(client, "around", lease, clocks)

    for decision in range(100):
        pods = 1 + decision % 2

        def carried_out(pods: int = pods) -> bool:
            target.poll()
            target.scale_to(pods)
            return target.poll().confirmed

        wait_until(carried_out, "the decision is carried out", timeout_s=60, every_s=0.05)
        assert client.revision(before[0]).min_pods == pods
    assert cluster.revisions("around") == before
    assert len(client.took_s) >= 100
    cuts = quantiles(client.took_s, n=20)
    print(
        f"{len(client.took_s)} patches: median {cuts[9] * 1000:.0f} ms, p95 {cuts[18] * 1000:.0f} ms; no new Revision"
    )
    target.close()
    assert client.annotations(before[0]) == own


@pytest.fixture
def dispatchers_address(cluster: Cluster) -> Iterator[str]:
    """Run two dispatchers in the cluster, from our manifest, in front of `around`; yield their Service's address."""
    argv, files = [f"{ROOT}/.venv/bin/python", "-m", "dispatcher"], {str(ROOT): str(ROOT)}
    cluster.add_image("dev.local/dispatcher-source", {"argv": argv, "cwd": str(ROOT), "files": files})
    cluster.run(
        "kubectl", "create", "secret", "generic", "dispatcher-control", "-n", NAMESPACE, "--from-literal=key=k3y"
    )
    manifest = "knative/manifests/dispatcher/dispatcher.yaml"
    for document in yaml.safe_load_all((ROOT / manifest).read_text()):
        if document["kind"] == "Deployment":
            document["spec"]["replicas"] = 2
            (container,) = document["spec"]["template"]["spec"]["containers"]
            container["image"] = "dev.local/dispatcher-source"
            (service,) = (variable for variable in container["env"] if variable["name"] == "SERVICE")
            service["value"] = "around"
        cluster.apply(document)
    cluster.run("kubectl", "rollout", "status", "-n", NAMESPACE, "deployment/dispatcher", "--timeout=120s")
    yield f"http://{cluster.address('service/dispatcher-service', '{.spec.clusterIP}')}:8001"
    cluster.run("kubectl", "delete", "-n", NAMESPACE, "--wait=false", "-f", manifest)
    cluster.run("kubectl", "delete", "secret", "dispatcher-control", "-n", NAMESPACE)


def test_two_dispatchers_rolled_under_load_lose_nothing(
    cluster: Cluster, dispatchers_address: str, start_load: StartLoad
) -> None:
    client = cluster.client()
    wait_for(f"{dispatchers_address}/readyz")
    labels = "app.kubernetes.io/name=dispatcher"
    before = {pod["metadata"]["name"] for pod in client.api.pods(labels)}
    assert len(before) == 2
    ledger = start_load(dispatchers_address, rate_rps=10, seconds=40)
    with Watch(cluster, "around", []) as watch:
        time.sleep(8)
        cluster.run("kubectl", "rollout", "restart", "-n", NAMESPACE, "deployment/dispatcher")
        cluster.run("kubectl", "rollout", "status", "-n", NAMESPACE, "deployment/dispatcher", "--timeout=120s")
        wait_until(
            lambda: before.isdisjoint(pod["metadata"]["name"] for pod in client.api.pods(labels)),
            "the old dispatchers have ended",
        )
        requests_ledger = ledger()
    requests_ledger.show("two dispatchers rolled", watch.most_pods)
    assert requests_ledger.lost == 0


def obedient(url: str, name: str) -> tuple[int, ...]:
    """Send a request, and again after each Retry-After; return its statuses in turn."""
    statuses: list[int] = []
    while len(statuses) < 10:
        answer = requests.post(f"{url}/predict", data=b"photo", headers={"X-Request-Id": name}, timeout=120)
        statuses.append(answer.status_code)
        if answer.status_code != 503:
            break
        time.sleep(float(answer.headers["Retry-After"]))
    return tuple(statuses)


def test_clients_that_obey_retry_after_are_admitted_when_they_return(
    cluster: Cluster, start: Start, tmp_path: Path
) -> None:
    """The pods are those of `kept`, two at first, which serve ten requests a second each."""
    dispatcher = start_dispatcher(start, cluster, "kept", "--queue-limit", "10")
    controller = start_controller(start, tmp_path, "kept", [dispatcher.control_url])
    wait_until(controller.announces, "capacity is announced", timeout_s=60)
    with ThreadPoolExecutor(60) as threads:
        first, second = (
            list(threads.map(lambda number: obedient(dispatcher.url, f"{wave}-{number}"), range(60)))  # noqa: B023
            for wave in ("first", "second")  # in the first one, the dispatcher learns how fast the queue drains
        )
    refused = [statuses for statuses in second if statuses[0] == 503]
    admitted = refused.count((503, 200))
    print(f"60 at once, queue of 10: {Counter(first)}, then {Counter(second)}")
    print(f"{len(refused)} refused, {admitted} of them admitted when they returned")
    assert {statuses[-1] for statuses in first + second} == {200}
    assert refused
    assert admitted >= 0.9 * len(refused)
    controller.stop()
