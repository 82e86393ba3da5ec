"""How a policy acts on Knative: it sets bounds, or is Knative's own autoscaler; Knative brings the last pod to zero."""

from dataclasses import dataclass, field, replace

from autoscaler_tuning.policies.base import Policy
from autoscaler_tuning.policies.hpa.hpa import Hpa
from autoscaler_tuning.policies.kpa.kpa import Kpa, KpaConfig
from autoscaler_tuning.policies.kpa.pod_autoscaler import PodAutoscaler, RevisionConfig, Wish
from autoscaler_tuning.types import Decision, Observation


@dataclass(slots=True)
class ScaleToZero:
    """Any policy as it acts on a Revision, where the last pod is Knative's to end.

    `kpa` is Knative's autoscaler: the PodAutoscaler reconciles what it desires. `hpaN` scales the Deployment itself
    and never to zero. Every other policy writes bounds on the live Revision: min-scale and max-scale both n; for no
    pods 0 and 1, and then Knative's KPA decides between them. It wants none once its stable window saw no request,
    wakes at the first by itself, and the last pod ends when the grace period (or the retention period, if longer) is
    over too. The grace period counts from when the activator came into the path: with Knative's default
    target-burst-capacity it is there all the time.
    Source: knative/serving pkg/reconciler/autoscaling/kpa; timed on a real Knative: one request, no pods 65 s later.
    """

    inner: Policy
    stable_window_s: float = 60.0
    grace_s: float = 30.0
    retention_s: float = 0.0
    _kpa: Kpa = field(init=False)
    _autoscaler: PodAutoscaler | None = field(default=None, init=False)
    _desired: int | None = field(default=None, init=False)
    _excess: int = field(default=-1, init=False)
    _asked_s: float = field(default=float("-inf"), init=False)

    def __post_init__(self) -> None:
        if isinstance(self.inner, Kpa):
            self._kpa, self.stable_window_s = self.inner, self.inner.config.stable_window_s
        else:
            self._kpa = Kpa(KpaConfig(stable_window_s=self.stable_window_s))
        self._config()

    @property
    def interval_s(self) -> float:
        return self.inner.interval_s

    def decide(self, obs: Observation) -> Decision:
        """Ask the policy, and Knative's autoscaler when it is due or a request finds no pod."""
        if isinstance(self.inner, Hpa):
            return replace(self.inner.decide(obs), direct=True)
        pods = obs.ready_pods + obs.starting_pods
        if self._autoscaler is None:
            self._autoscaler = PodAutoscaler(self._config(), obs.now_s, obs.ready_pods)
        if self._kpa is self.inner:
            wanted, bounds = self._ask(obs), (0, 0)
        else:
            wanted = self.inner.decide(obs)
            bounds = (wanted.pods, max(1, wanted.pods))
            if obs.now_s - self._asked_s >= self._kpa.interval_s or (not pods and obs.waiting):
                self._ask(obs)
        wish = Wish(self._desired, self._excess, *bounds)
        scaled = self._autoscaler.reconcile(obs.now_s, wish, obs.ready_pods, pods)
        direct = self._autoscaler.direct and self._kpa is self.inner
        if scaled == wanted.pods:
            return replace(wanted, direct=direct)
        return replace(wanted, pods=scaled, reason=f"Knative keeps {scaled} ({wanted.reason})", direct=direct)

    def _ask(self, obs: Observation) -> Decision:
        """One tick of Knative's autoscaler; without a metric its last answer stands."""
        self._asked_s = obs.now_s
        decision = self._kpa.decide(obs)
        if self._kpa.scaled is not None:
            self._desired, self._excess = self._kpa.scaled.pods, self._kpa.scaled.excess_burst_capacity
        return decision

    def _config(self) -> RevisionConfig:
        return RevisionConfig(self.stable_window_s, self.grace_s, self.retention_s)
