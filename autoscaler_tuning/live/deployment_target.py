"""A Deployment with a HorizontalPodAutoscaler as a target: a decision sets minReplicas."""

from collections.abc import Sequence
from contextlib import suppress

from autoscaler_tuning.live.bounds_keeper import Live
from autoscaler_tuning.live.led_target import Observed
from knative.client import KnativeClient
from knative.errors import ClusterError, ConflictError, NotFoundError
from knative.objects import Pod
from knative.workloads import HPAS, MIN_REPLICAS, Deployment, ScaledObject


class ScaledDeployment:
    """A Deployment, its pods and its HorizontalPodAutoscaler.

    with_hpa: whether the controller writes to the HPA; another autoscaler may follow its wish instead.
    """

    def __init__(self, client: KnativeClient, deployment: str, with_hpa: bool = True) -> None:
        self._client, self.name, self._with_hpa = client, deployment, with_hpa
        self._hpa = ""
        self._deployment: Deployment | None = None
        self._live: tuple[Live, ...] = ()

    @property
    def heal(self) -> str:
        """Return the line that sets minReplicas to Kubernetes' default."""
        patch = '{"spec": {"minReplicas": 1}}'
        return f"lower them with `kubectl patch hpa {self._hpa} --type merge -p '{patch}'`"

    def observe(self, now_s: float) -> Observed:
        """Read the Deployment and its HPA.

        Raises ClusterError: NotFoundError without an HPA, OwnedError if it is another program's.
        """
        self._deployment = deployment = self._client.deployment(self.name)
        self._live = (Live(self._read_hpa(), 1.0),) if self._with_hpa else ()
        return Observed(
            live=self._live,
            concurrency=None,
            problem=deployment.problem if deployment.replicas else "NoReplicas: 0 replicas turn a Deployment's HPA off",
        )

    def pods(self) -> Sequence[Pod]:
        """Read the pods of the Deployment."""
        return self._client.pods_with(self._deployment.selector) if self._deployment else ()

    def hasten(self) -> None:
        """Raise the replicas to minReplicas; the HPA alone would need up to 15 s to do the same.

        A Deployment with 0 replicas stays as it is, because its HPA is off: a user did that.
        """
        deployment = self._deployment
        if deployment is None:
            return
        least = max((int(one.scaled.settings.get(MIN_REPLICAS, 1)) for one in self._live), default=0)
        if 0 < deployment.replicas < least:
            with suppress(ConflictError):  # the next poll tries again with what it reads
                self._client.set_replicas(deployment, least)

    def _read_hpa(self) -> ScaledObject:
        with suppress(NotFoundError):
            if self._hpa:
                return self._client.scaled(HPAS, self._hpa)
        self._hpa = self._client.hpa_of(self.name)
        found = self._client.scaled(HPAS, self._hpa)
        if found.settings.get(MIN_REPLICAS) == "0":
            raise ClusterError(f"minReplicas of the HPA {self._hpa} must be at least 1, got 0: it is off without pods")
        return found
