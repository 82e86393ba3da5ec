"""Clusters in memory with one workload each, for the rules that every target in a cluster obeys."""

from collections.abc import Callable
from dataclasses import dataclass, field

from autoscaler_tuning.live.cluster_targets import KUBERNETES
from autoscaler_tuning.live.deployment_target import ScaledDeployment
from autoscaler_tuning.live.knative_target import KnativeTarget
from autoscaler_tuning.live.leader import Clocks, LeaderLease, NoLease
from autoscaler_tuning.live.led_target import LedTarget
from knative.client import KnativeClient
from knative.errors import ForbiddenError
from knative.leases import LEASES
from knative.objects import MAX_SCALE, MIN_SCALE, REVISIONS, Json
from knative.workloads import DEPLOYMENTS, HPAS, MAX_REPLICAS, MIN_REPLICAS, PODAUTOSCALERS
from tests.autoscaler_tuning.live.knative_world import FIRST, cluster
from tests.knative.fake_api import FakeApi, deployment_json, hpa_json, merged, pod_autoscaler_json, pod_json, ready

NAME = "ml-app"
# The user's bounds in every world, between which the lower bound is led.
LEAST, MOST = 2, 8


@dataclass
class TargetWorld:
    """A workload with the user's bounds LEAST and MOST, and any number of controllers on one fake clock.

    plural, name: the object that the cluster's own autoscaler reads.
    """

    api: FakeApi
    plural: str
    name: str
    least: str
    most: str
    lease: str
    make: Callable[[KnativeClient, LeaderLease | NoLease, Clocks], LedTarget]
    now_s: float = 1000.0
    found: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.found = self.settings()

    def controller(self, name: str, observes: bool = False) -> LedTarget:
        """Return the target of a new controller; a killed one is simply not used any more."""
        client = KnativeClient("default", self.api)
        clocks = Clocks(lambda: self.now_s, self._unix_s)
        lease = NoLease() if observes else LeaderLease(client, self.lease.removeprefix("elastic-"), name, clocks)
        return self.make(client, lease, clocks)

    def run(self, target: LedTarget, for_s: float, pods: int | None = None) -> None:
        """Poll the target each quarter of a second; with a number of pods, decide it each half."""
        for step in range(round(for_s * 4)):
            target.poll()
            if pods is not None and step % 2 == 0:
                target.scale_to(pods)
            self.now_s += 0.25
        target.poll()

    def settings(self) -> Json:
        """Return the annotations or the spec of the object."""
        thing = self.api.objects[self.plural][self.name]
        return dict(thing["spec"] if self.plural == HPAS else thing["metadata"]["annotations"])

    def bounds(self) -> tuple[int, int]:
        """Return the lower and the upper bound."""
        settings = self.settings()
        return int(settings[self.least]), int(settings[self.most])

    def edit(self, least: int) -> None:
        """Change the lower bound as another client would."""
        self._change({self.least: least if self.plural == HPAS else str(least)})

    def recreate(self, most: int) -> None:
        """Delete the object and make it again, under another UID and with this upper bound."""
        for plural in {self.plural, REVISIONS} & {kind for kind in self.api.objects if self.api.objects[kind]}:
            thing = self.api.objects[plural][self.name]
            self.api.objects[plural][self.name] = merged(thing, {"metadata": {"uid": f"new-{plural}"}})
        kept = dict.fromkeys(self.settings(), None) if self.plural != HPAS else {}
        number = most if self.plural == HPAS else str(most)
        own = {self.least: 1 if self.plural == HPAS else "1", self.most: number}
        self._change({**kept, **own})
        self.found = self.settings()

    def writes(self) -> int:
        """Return how many writes to anything but the Lease there were."""
        return sum(1 for _, written, _, _ in self.api.calls if written != LEASES)

    def stored(self) -> list[str]:
        """Return the annotations of the Lease, which hold what was found."""
        return sorted(self.api.objects[LEASES][self.lease]["metadata"].get("annotations", {}))

    def refuse(self, verb: str, plural: str, name: str) -> None:
        """Refuse writes to everything but the Lease, as a role that lacks the permission does."""
        if plural != LEASES:
            raise ForbiddenError(f"cannot {verb} {plural}/{name}: forbidden (HTTP 403)")

    def _change(self, settings: Json) -> None:
        changes = {"spec": settings} if self.plural == HPAS else {"metadata": {"annotations": settings}}
        # the annotations of a PodAutoscaler are those of its Revision, when both are new
        for plural in {self.plural, REVISIONS} & {kind for kind in self.api.objects if self.api.objects[kind]}:
            self.api.objects[plural][self.name] = merged(self.api.objects[plural][self.name], changes)

    def _unix_s(self) -> float:
        return self.now_s + 1_700_000_000


def knative(copies: bool, plural: str) -> TargetWorld:
    """Return a Knative Service; the version copies annotations of the Revision to its PodAutoscaler or does not."""
    bounds = {"min_scale": str(LEAST), "max_scale": str(MOST)}
    api = cluster(**bounds)
    api.copies = copies
    api.objects[PODAUTOSCALERS][FIRST] = pod_autoscaler_json(FIRST, **bounds)

    def make(client: KnativeClient, lease: LeaderLease | NoLease, clocks: Clocks) -> LedTarget:
        return KnativeTarget(client, "resnet18", lease, clocks)

    return TargetWorld(api, plural, FIRST, MIN_SCALE, MAX_SCALE, "elastic-resnet18", make)


def deployment() -> TargetWorld:
    """Return a Deployment and its HPA."""
    pod = merged(pod_json("a", FIRST, ready()), {"metadata": {"labels": {"app": NAME}}})
    api = FakeApi(pods=[pod])
    api.objects[DEPLOYMENTS][NAME] = deployment_json(NAME, LEAST)
    api.objects[HPAS]["own-hpa"] = hpa_json("own-hpa", NAME, LEAST, MOST)
    api.objects[HPAS]["other"] = hpa_json("other", "other")

    def make(client: KnativeClient, lease: LeaderLease | NoLease, clocks: Clocks) -> LedTarget:
        return LedTarget(ScaledDeployment(client, NAME), client, lease, clocks)

    return TargetWorld(api, HPAS, "own-hpa", MIN_REPLICAS, MAX_REPLICAS, f"elastic-{KUBERNETES}.{NAME}", make)


WORLDS: dict[str, Callable[[], TargetWorld]] = {
    "a Revision": lambda: knative(True, REVISIONS),
    "the PodAutoscaler of a new Knative": lambda: knative(True, PODAUTOSCALERS),
    "the PodAutoscaler of an old Knative": lambda: knative(False, PODAUTOSCALERS),
    "an HPA": deployment,
}
