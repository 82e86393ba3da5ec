"""Makes the target of a controller in a cluster: a Knative Service or a Deployment."""

import socket
import time
import uuid

from autoscaler_tuning.live.deployment_target import ScaledDeployment
from autoscaler_tuning.live.knative_target import KnativeTarget
from autoscaler_tuning.live.leader import Clocks, LeaderLease, NoLease
from autoscaler_tuning.live.led_target import LedTarget
from knative.client import KnativeClient

# --target
KNATIVE, KUBERNETES = "knative", "kubernetes"


def cluster_target(kind: str, namespace: str, name: str, writes: bool) -> LedTarget:
    """Return a Knative Service or a Deployment as a target. Raises ClusterError if no cluster is configured.

    writes: whether the controller may hold the Lease and write; otherwise it only observes.
    """
    client = KnativeClient(namespace)
    # a Service may have the name of a Deployment; a name with a dot is no Service's
    leased = name if kind == KNATIVE else f"{KUBERNETES}.{name}"
    clocks = Clocks(time.monotonic, time.time)
    lease = LeaderLease(client, leased, identity(), clocks) if writes else NoLease()
    if kind == KNATIVE:
        return KnativeTarget(client, name, lease, clocks)
    workload = ScaledDeployment(client, name, with_hpa=writes)
    return LedTarget(workload, client, lease, clocks)


def identity() -> str:
    """Return a name that no other process has, in which a reader recognises the machine or the pod."""
    return f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
