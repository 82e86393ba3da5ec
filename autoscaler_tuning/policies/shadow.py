"""Shadow mode: computes what a policy would have done with live traffic while another autoscaler scales the pods.

The policy observes a shadow service. Its arrivals and service times are the live ones. Its pods are those that the
policy wanted, each ready after the mean start time of live pods. Its queue holds what these pods would not have served.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import floor, inf

from autoscaler_tuning.policies.base import Policy
from autoscaler_tuning.policies.observations import Observations
from autoscaler_tuning.policies.start_times import StartTimes
from autoscaler_tuning.types import Decision, Observation, Order, PodPhase, PodSample, Second

STEP_S = 0.1
FIRST_COLD_START_S = 3.0
# Price of one late request, in pod-seconds.
LATE_PRICE = 250.0
SECONDS_KEPT = 120
# Expired requests are kept step by step for two minutes of overload. Later each two parcels become one, so that an hour
# of it takes no more memory; the oldest wait is then wrong by at most 0.2 % of the longest one. An even number.
MOST_EXPIRED = 1200
# After a longer time without a decision, or a jump of the clock, what happened in between counts for neither service.
LONGEST_GAP_S = 60.0


@dataclass(frozen=True, slots=True)
class ShadowConfig:
    """Settings of a shadow.

    order: order of the shadow queue.
    live_order: order of the live queue; None means the same.
    late_price: price of one late request, in pod-seconds.
    first_service_time_s: service time until one has been measured.
    """

    slo_s: float = 0.5
    order: Order = "fifo"
    live_order: Order | None = None
    late_price: float = LATE_PRICE
    first_service_time_s: float = 0.1

    def __post_init__(self) -> None:
        for name in ("slo_s", "late_price", "first_service_time_s"):
            if not 0 < getattr(self, name) < inf:
                raise ValueError(f"{name} must be above 0 and finite, got {getattr(self, name)}")


class FluidQueue:
    """A queue of requests as a fluid: the arrivals of a step are one parcel, and pods serve at their mean rate."""

    def __init__(self, slo_s: float, order: Order) -> None:
        self._slo_s, self._order = slo_s, order
        self._in_time: deque[list[float]] = deque()  # [arrival time, requests]
        self._expired: deque[list[float]] = deque()
        self._width_s = 0.0  # time within which arrivals become one expired parcel
        self.late = 0.0
        self.busy_pods = 0.0

    @property
    def waiting(self) -> float:
        """Return the requests in the queue."""
        return self.feasible + sum(amount for _, amount in self._expired)

    @property
    def feasible(self) -> float:
        """Return the requests in the queue that can still be answered within the SLO."""
        return sum(amount for _, amount in self._in_time)

    def oldest_s(self) -> float | None:
        """Return the arrival time of the oldest request; None if the queue is empty."""
        return min((parcels[0][0] for parcels in (self._in_time, self._expired) if parcels), default=None)

    def step(self, now_s: float, arrived: float, pods: int, service_time_s: float) -> None:
        """Advance by STEP_S to now_s: add the arrivals, serve, and count requests as late that cannot meet the SLO."""
        if arrived > 0:
            self._in_time.append([now_s - STEP_S / 2, arrived])
        capacity = pods * STEP_S / service_time_s
        left = capacity
        first, then = self._in_time, self._expired
        if self._order == "fifo":
            first, then = then, first
        for parcels in (first, then):
            left = _served(parcels, left)
        self.busy_pods = pods * (1 - left / capacity) if capacity else 0.0
        while self._in_time and self._in_time[0][0] < now_s + service_time_s - self._slo_s:
            self._expire(self._in_time.popleft())

    def _expire(self, parcel: list[float]) -> None:
        """Count a parcel as late and keep it, in lasting overload as a part of the one before."""
        self.late += parcel[1]
        if not self._expired:
            self._width_s = 0.0
        elif parcel[0] - self._expired[-1][0] < self._width_s:
            self._expired[-1][1] += parcel[1]
            return
        self._expired.append(parcel)
        if len(self._expired) == MOST_EXPIRED:
            self._width_s = 2 * (parcel[0] - self._expired[0][0]) / MOST_EXPIRED
            pairs = iter(self._expired)
            self._expired = deque([since_s, one + two] for (since_s, one), (_, two) in zip(pairs, pairs, strict=True))


def _served(parcels: deque[list[float]], capacity: float) -> float:
    """Serve the oldest parcels first; return the remaining capacity."""
    while parcels and capacity > 0:
        taken = min(capacity, parcels[0][1])
        capacity -= taken
        parcels[0][1] -= taken
        if parcels[0][1] <= 1e-9:
            parcels.popleft()
    return capacity


@dataclass(slots=True)
class _ShadowPod:
    """used_before_s: CPU time of a ready pod before this one was ready; None until it is."""

    name: str
    started_s: float
    ready_s: float
    used_before_s: float | None = None


class ShadowPods:
    """The pods that the policy wanted."""

    def __init__(self) -> None:
        self._pods: list[_ShadowPod] = []
        self._started = 0
        self._all_ready_s = 0.0
        self._all_settled = True
        self._used_s = 0.0  # CPU time of a pod that has been ready from the beginning

    def __len__(self) -> int:
        return len(self._pods)

    def ready(self, now_s: float) -> int:
        """Return the number of ready pods."""
        if now_s >= self._all_ready_s:
            return len(self._pods)
        return sum(1 for pod in self._pods if pod.ready_s <= now_s)

    def scale_to(self, pods: int, now_s: float, cold_start_s: float) -> None:
        """Start pods, or stop the newest ones."""
        while len(self._pods) < pods:
            self._started += 1
            self._all_ready_s = max(self._all_ready_s, now_s + cold_start_s)
            self._all_settled = False
            self._pods.append(_ShadowPod(f"shadow-{self._started}", now_s, now_s + cold_start_s))
        del self._pods[max(0, pods) :]

    def use(self, busy_pods: float, now_s: float) -> None:
        """Add the CPU time of STEP_S, spread over the ready pods: a busy pod uses one CPU."""
        if busy_pods > 0:
            self._settle(now_s)
            self._used_s += busy_pods / self.ready(now_s) * STEP_S

    def samples(self, now_s: float) -> Iterator[PodSample]:
        """Yield the pods as a policy observes them."""
        self._settle(now_s)
        for pod in self._pods:
            if pod.used_before_s is None:
                yield PodSample(pod.name, PodPhase.STARTING, pod.started_s, None, 0.0)
            else:
                cpu_s = self._used_s - pod.used_before_s
                yield PodSample(pod.name, PodPhase.READY, pod.started_s, pod.ready_s, cpu_s)

    def _settle(self, now_s: float) -> None:
        """Begin to count the CPU time of pods that have become ready."""
        if self._all_settled:
            return
        for pod in self._pods:
            if pod.used_before_s is None and pod.ready_s <= now_s:
                pod.used_before_s = self._used_s
        self._all_settled = now_s >= self._all_ready_s


class Shadow:
    """Wraps a policy: it observes live signals and returns the decisions of the inner policy in the shadow service.

    Estimated regret, in pod-seconds: the cost of the live service so far minus the cost of the inner policy, where cost
    is pod-seconds (ready and starting) + late_price x late requests. If it is above 0, the policy would have been
    cheaper. The late requests of both services come from a fluid queue with the same live arrivals and service times,
    served by the live ready pods in one and by the shadow pods in the other. So the errors of the model affect both
    alike: no randomness within a tenth of a second, mean start times, live pods in the order of the shadow queue. The
    shadow service starts with the live pods; time without fresh signals counts for neither.
    """

    def __init__(self, inner: Policy, config: ShadowConfig) -> None:
        self._inner, self._config = inner, config
        self._live = FluidQueue(config.slo_s, config.live_order or config.order)
        self._shadow = FluidQueue(config.slo_s, config.order)
        self._pods = ShadowPods()
        self._observations = Observations()
        self._starts = StartTimes(FIRST_COLD_START_S)
        self._seconds: deque[Second] = deque(maxlen=SECONDS_KEPT)
        self._load_of: dict[int, float] = {}
        self._live_pod_seconds = self._pod_seconds = 0.0
        self._arrived = 0
        self._stepped_s: float | None = None
        self._decided_s = -inf
        self._decision = Decision(0, "no decision yet")

    @property
    def interval_s(self) -> float:
        return min(0.5, self._inner.interval_s)

    @property
    def regret_pod_seconds(self) -> float:
        """Return the estimated regret so far; the docstring of the class defines it."""
        return self.live_cost - self.cost

    @property
    def live_cost(self) -> float:
        """Return the cost of the live service so far, in pod-seconds."""
        return self._live_pod_seconds + self._config.late_price * self._live.late

    @property
    def cost(self) -> float:
        """Return the cost of the inner policy in the shadow service so far, in pod-seconds."""
        return self._pod_seconds + self._config.late_price * self._shadow.late

    def decide(self, obs: Observation) -> Decision:
        """Return the inner policy's decision; its record also has the figures of both services."""
        obs = self._observations.usable(obs)
        gap_s = 0.0 if self._stepped_s is None else obs.now_s - self._stepped_s
        if not obs.fresh or gap_s > LONGEST_GAP_S:
            self._stepped_s = None
            return replace(self._decision, reason="shadow: no data")
        self._starts.update(obs.pods)
        self._advance(obs)
        must_wake = len(self._pods) == 0 and self._shadow.waiting > 0
        if obs.now_s - self._decided_s >= self._inner.interval_s - 1e-9 or must_wake:
            self._decided_s = obs.now_s
            decision = self._inner.decide(self._shadow_observation(obs))
            self._pods.scale_to(decision.pods, obs.now_s, self._starts.mean_s)
            self._decision = replace(decision, reason=f"shadow: {decision.reason}")
        return replace(self._decision, record={**self._decision.record, **self.figures()})

    def figures(self) -> dict[str, float]:
        """Return the figures of both services by the names under which they are exported."""
        return {
            "regret_pod_seconds": self.regret_pod_seconds,
            "shadow_pods": float(len(self._pods)),
            "shadow_pod_seconds": self._pod_seconds,
            "shadow_late": self._shadow.late,
            "live_pod_seconds": self._live_pod_seconds,
            "live_late": self._live.late,
        }

    def _advance(self, obs: Observation) -> None:
        """Advance both queues to now in whole steps, over which the arrivals since the last call are spread evenly."""
        if self._stepped_s is None:
            self._stepped_s, self._arrived = obs.now_s, obs.arrived
            if not len(self._pods):
                self._pods.scale_to(obs.ready_pods + obs.starting_pods, obs.now_s, 0.0)
            self._close_seconds(obs)
            return
        steps = floor((obs.now_s - self._stepped_s) / STEP_S + 1e-9)
        if steps < 1:
            return
        arrived = max(0, obs.arrived - self._arrived) / steps
        self._arrived = obs.arrived
        service_time_s = obs.service_time_s or self._config.first_service_time_s
        for _ in range(steps):
            self._stepped_s += STEP_S
            self._step(self._stepped_s, arrived, obs, service_time_s)
        self._close_seconds(obs)

    def _step(self, now_s: float, arrived: float, obs: Observation, service_time_s: float) -> None:
        self._live.step(now_s, arrived, obs.ready_pods * obs.concurrency, service_time_s)
        self._shadow.step(now_s, arrived, self._pods.ready(now_s) * obs.concurrency, service_time_s)
        self._pods.use(self._shadow.busy_pods / obs.concurrency, now_s)
        self._live_pod_seconds += (obs.ready_pods + obs.starting_pods) * STEP_S
        self._pod_seconds += len(self._pods) * STEP_S
        second = floor(now_s - STEP_S / 2)
        load = self._shadow.waiting + self._shadow.busy_pods
        self._load_of[second] = self._load_of.get(second, 0.0) + load * STEP_S

    def _close_seconds(self, obs: Observation) -> None:
        """Add the new live seconds with the shadow concurrency; seconds before the shadow began keep the live one."""
        closed = self._seconds[-1].index if self._seconds else -1
        for second in obs.seconds:
            if second.index > closed:
                load = self._load_of.get(second.index, second.concurrency)
                self._seconds.append(replace(second, concurrency=load if load > 1e-6 else 0.0))
                self._load_of = {index: load for index, load in self._load_of.items() if index > second.index}

    def _shadow_observation(self, obs: Observation) -> Observation:
        now_s, queue = obs.now_s, self._shadow
        ready, oldest_s = self._pods.ready(now_s), queue.oldest_s()
        service_time_s = obs.service_time_s or self._config.first_service_time_s
        return replace(
            obs,
            ready_pods=ready,
            starting_pods=len(self._pods) - ready,
            seconds=tuple(self._seconds),
            waiting=round(queue.waiting),
            in_flight=round(queue.busy_pods),
            oldest_wait_s=0.0 if oldest_s is None else max(0.0, now_s - oldest_s),
            feasible_backlog_s=queue.feasible * service_time_s,
            pods=tuple(self._pods.samples(now_s)),
        )
