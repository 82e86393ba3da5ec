"""A Knative Service in memory, with any number of controllers' targets on one fake clock."""

from dataclasses import dataclass, field

from autoscaler_tuning.live.knative_target import KnativeTarget
from autoscaler_tuning.live.leader import Clocks, LeaderLease, NoLease
from knative.client import KnativeClient
from knative.errors import ForbiddenError
from knative.leases import LEASES
from knative.objects import REVISIONS, SERVICES
from tests.knative.fake_api import FakeApi, merged, pod_json, ready, revision_json, service_json

FIRST, SECOND = "resnet18-00001", "resnet18-00002"
# the knobs of a Revision that is led, with wanted pods and without
LED = {"target-utilization-percentage": "100", "window": "6s"}
IDLE = {"window": "6s"}


def cluster(**annotations: str) -> FakeApi:
    """Return a cluster with one Revision that receives all traffic and has these annotations."""
    api = FakeApi(revisions=[revision_json(FIRST, **annotations)], pods=[pod_json("a", FIRST, ready())])
    route(api, {FIRST: 100})
    return api


def route(api: FakeApi, percents: dict[str, int]) -> None:
    """Divide the traffic; a Revision with 0 % keeps a tag."""
    traffic = [{"revisionName": name, "percent": percent, "tag": name} for name, percent in percents.items()]
    api.objects[SERVICES]["resnet18"] = service_json("resnet18", *traffic)


@dataclass
class KnativeWorld:
    """Targets of controllers that share a cluster; a killed controller is one that is simply not used any more."""

    api: FakeApi = field(default_factory=lambda: cluster(min_scale="1", max_scale="20"))
    now_s: float = 1000.0

    def controller(self, name: str, observes: bool = False) -> KnativeTarget:
        """Return the target of a new controller."""
        client = KnativeClient("default", self.api)
        clocks = Clocks(lambda: self.now_s, self._unix_s)
        lease = NoLease() if observes else LeaderLease(client, "resnet18", name, clocks)
        return KnativeTarget(client, "resnet18", lease, clocks)

    def run(self, target: KnativeTarget, for_s: float, pods: int | None = None) -> None:
        """Poll the target each quarter of a second; with a number of pods, decide it each half."""
        for step in range(round(for_s * 4)):
            target.poll()
            if pods is not None and step % 2 == 0:
                target.scale_to(pods)
            self.now_s += 0.25
        target.poll()

    def bounds(self, revision: str = FIRST) -> tuple[str | None, str | None]:
        """Return min-scale and max-scale of a Revision."""
        found = self.api.annotations(revision)
        return found.get("min-scale"), found.get("max-scale")

    def writes(self, plural: str = REVISIONS) -> int:
        """Return how many writes there were."""
        return sum(1 for _, written, _, _ in self.api.calls if written == plural)

    def stored(self) -> list[str]:
        """Return the annotations of the Lease, which hold what was found."""
        return sorted(self.api.objects[LEASES]["elastic-resnet18"]["metadata"].get("annotations", {}))

    def recreate(self, revision: str, **annotations: str) -> None:
        """Delete a Revision and make it again, under another UID."""
        made = revision_json(revision, **annotations)
        self.api.objects[REVISIONS][revision] = merged(made, {"metadata": {"uid": "a-new-uid"}})

    def _unix_s(self) -> float:
        return self.now_s + 1_700_000_000


def refuse_revisions(verb: str, plural: str, name: str) -> None:
    """Refuse writes to Revisions, as a role that lacks the permission does."""
    if plural == REVISIONS:
        raise ForbiddenError(f"cannot {verb} {plural}/{name}: forbidden (HTTP 403)")
