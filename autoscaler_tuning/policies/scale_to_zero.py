"""How a policy acts on a Knative Revision, where Knative removes the last pod.

A registry row names one of three ways: `knative_decides` for Knative's own autoscaler, `writes_bounds` for a policy
whose decisions become min-scale and max-scale, `scales_the_deployment` for HPA, which never scales to zero.
"""

from dataclasses import dataclass, field, replace

from autoscaler_tuning.policies.base import Policy, RevisionSettings
from autoscaler_tuning.policies.kpa.kpa import Kpa, KpaConfig
from autoscaler_tuning.policies.kpa.pod_autoscaler import PodAutoscaler, RevisionConfig, ScaleInputs
from autoscaler_tuning.policies.observations import Observations
from autoscaler_tuning.types import Decision, Observation


def knative_decides(kpa: Kpa, revision: RevisionSettings) -> Policy:
    """Wrap Knative's autoscaler in the PodAutoscaler that reconciles its desired scale."""
    return ScaleToZero(kpa, kpa.config.stable_window_s, retention_s=revision.retention_s, kpa=kpa)


def writes_bounds(policy: Policy, revision: RevisionSettings) -> Policy:
    """Wrap a policy that sets min-scale and max-scale of the live Revision."""
    return ScaleToZero(policy, revision.zero_window_s, retention_s=revision.retention_s)


def scales_the_deployment(policy: Policy, _: RevisionSettings) -> Policy:
    """Wrap a policy of Knative's HPA class, which scales the Deployment itself and never to zero."""
    return ScalesDeployment(policy)


@dataclass(frozen=True, slots=True)
class ScalesDeployment:
    """A policy without Knative's activator in the path: the ingress sends requests straight to the pods."""

    inner: Policy

    @property
    def interval_s(self) -> float:
        return self.inner.interval_s

    def decide(self, obs: Observation) -> Decision:
        """Return the decision of one tick, marked direct."""
        return replace(self.inner.decide(obs), direct=True)


@dataclass(slots=True)
class ScaleToZero:
    """A policy as it acts on a Revision whose last pod Knative removes.

    If `kpa` is given, it is also the inner policy, and the PodAutoscaler reconciles the scale that it desires.
    Otherwise the policy sets bounds on the live Revision: n for both min-scale and max-scale, or 0 and 1 if it wants no
    pods, and Knative's KPA decides between them. KPA wants no pods once its stable window contains no request, and
    starts a pod by itself at the first request. The last pod must also outlast the grace period, or the retention
    period if that is longer. The grace period counts from when the activator was put into the path; with Knative's
    default target-burst-capacity the activator is always in the path.
    Source: knative/serving pkg/reconciler/autoscaling/kpa; timed on a real Knative: one request, no pods 65 s later.
    """

    inner: Policy
    stable_window_s: float = 60.0
    grace_s: float = 30.0
    retention_s: float = 0.0
    kpa: Kpa | None = None
    _observations: Observations = field(default_factory=Observations, init=False)
    _knative: Kpa = field(init=False)
    _autoscaler: PodAutoscaler | None = field(default=None, init=False)
    _desired: int | None = field(default=None, init=False)
    _excess_burst_capacity: int = field(default=-1, init=False)
    _knative_tick_s: float = field(default=float("-inf"), init=False)

    def __post_init__(self) -> None:
        self._knative = self.kpa or Kpa(KpaConfig(stable_window_s=self.stable_window_s))
        self._config()

    @property
    def interval_s(self) -> float:
        return self.inner.interval_s

    def decide(self, obs: Observation) -> Decision:
        """Run one tick of the policy, and of Knative's autoscaler if its tick is due or a request finds no pod."""
        obs = self._observations.usable(obs)
        pods = obs.ready_pods + obs.starting_pods
        if self._autoscaler is None:
            self._autoscaler = PodAutoscaler(self._config(), obs.now_s, obs.ready_pods)
        if self.kpa:
            wanted, bounds = self._tick_knative(obs), (0, 0)
        else:
            wanted = self.inner.decide(obs)
            bounds = (wanted.pods, max(1, wanted.pods))
            if obs.now_s - self._knative_tick_s >= self._knative.interval_s or (not pods and obs.waiting):
                self._tick_knative(obs)
        inputs = ScaleInputs(self._desired, self._excess_burst_capacity, *bounds)
        scaled = self._autoscaler.reconcile(obs.now_s, inputs, obs.ready_pods, pods)
        direct = self._autoscaler.direct and self.kpa is not None
        if scaled == wanted.pods:
            return wanted if direct == wanted.direct else replace(wanted, direct=direct)
        reason = f"Knative sets {scaled} pods instead of {wanted.pods} ({wanted.reason})"
        return replace(wanted, pods=scaled, reason=reason, direct=direct)

    def _tick_knative(self, obs: Observation) -> Decision:
        """Run one tick of Knative's autoscaler; without a metric its last desired scale stays in force."""
        self._knative_tick_s = obs.now_s
        decision = self._knative.decide(obs)
        if self._knative.scaled is not None:
            self._desired = self._knative.scaled.pods
            self._excess_burst_capacity = self._knative.scaled.excess_burst_capacity
        return decision

    def _config(self) -> RevisionConfig:
        return RevisionConfig(self.stable_window_s, self.grace_s, self.retention_s)
