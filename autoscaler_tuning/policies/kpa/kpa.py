"""Knative's own autoscaler, KPA.

Source: knative/serving at 98e5ef90aa, pkg/autoscaler/scaling/autoscaler.go, Scale().
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, inf, isfinite
from typing import Literal

from autoscaler_tuning.policies.kpa.windows import MaxWindow, TimedBuckets
from autoscaler_tuning.policies.observations import Observations
from autoscaler_tuning.types import Decision, Observation, Second

# Up to this many pods are all scraped; of more pods a sample, sized for 95 % confidence, a standard deviation of 10 and
# a margin of error of 5.
ALL_SCRAPED_PODS = 3
SAMPLE_FACTOR = 1.96**2 * 100 / 25
# Lowest and highest value of each setting; those of Knative's webhook where it has a limit.
RANGES = {
    "target_value": (0.01, inf),
    "total_value": (0.01, inf),
    "stable_window_s": (6, 3600),
    "panic_window_s": (1, 3600),
    "panic_threshold": (1, inf),
    "scale_down_delay_s": (0, inf),
    "activation_scale": (0, inf),
    "tick_s": (0.1, inf),
}


@dataclass(frozen=True, slots=True)
class KpaConfig:
    """Settings of KPA, with Knative's defaults at containerConcurrency 1.

    target_value: requests in flight per pod to aim at; by default 70 % of total_value.
    total_value: requests in flight that a pod can take.
    target_burst_capacity: -1 means unlimited. max_scale_up_rate, max_scale_down_rate: largest factors of one tick.
    metric: requests in flight or requests per second; target_value and total_value are in the same unit.
    weighted: give newer seconds of a window more weight (metric-aggregation-algorithm weighted-exponential).
    """

    target_value: float = 0.7
    total_value: float = 1.0
    stable_window_s: float = 60.0
    panic_window_s: float = 6.0
    panic_threshold: float = 2.0
    max_scale_up_rate: float = 1000.0
    max_scale_down_rate: float = 2.0
    scale_down_delay_s: float = 0.0
    target_burst_capacity: float = 211.0
    activation_scale: int = 0
    reachable: bool = True
    metric: Literal["concurrency", "rps"] = "concurrency"
    weighted: bool = False
    tick_s: float = 2.0

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if not (least <= value <= most and isfinite(value)):
                raise ValueError(f"{name} must be finite and from {least} to {most}, got {value}")
        if not (1 < self.max_scale_up_rate < inf and 1 < self.max_scale_down_rate < inf):
            raise ValueError(
                "max_scale_up_rate and max_scale_down_rate must be above 1 and finite, "
                f"got {self.max_scale_up_rate}, {self.max_scale_down_rate}"
            )
        if not (self.target_burst_capacity == -1 or 0 <= self.target_burst_capacity < inf):
            raise ValueError(f"target_burst_capacity must be -1 or at least 0, got {self.target_burst_capacity}")
        if self.panic_window_s > self.stable_window_s:
            raise ValueError(
                f"panic_window_s must be at most stable_window_s, {self.stable_window_s}, got {self.panic_window_s}"
            )


@dataclass(frozen=True, slots=True)
class Scaled:
    """Result of one tick: desired pods, spare capacity beyond the target burst, and whether KPA is panicking."""

    pods: int
    excess_burst_capacity: int
    panicking: bool


class KpaScaler:
    """Scale(), called once a tick with the two window averages."""

    def __init__(self, config: KpaConfig, now_s: float, ready_pods: int) -> None:
        """Start in panic mode if there is more than one ready pod, so that none is removed before there is data."""
        self._config = config
        self._panic_since_s = now_s if ready_pods > 1 else None
        self._panic_pods = ready_pods
        self._delay = MaxWindow(config.scale_down_delay_s) if config.scale_down_delay_s > 0 else None

    def scale(self, now_s: float, ready_pods: int, stable: float, panic: float) -> Scaled:
        """Return the result of one tick.

        stable, panic: mean concurrency over each window, summed over pods.
        """
        config, current = self._config, max(1, ready_pods)
        wanted_panic = ceil(panic / config.target_value)
        pods = self._limited(ceil(stable / config.target_value), current)
        panic_pods = self._limited(wanted_panic, current)
        self._update_panic(now_s, wanted_panic / current >= config.panic_threshold)
        panicking = self._panic_since_s is not None
        if panicking:
            self._panic_pods = pods = max(self._panic_pods, pods, panic_pods)
        if config.reachable and self._delay:
            pods = self._delay.record(now_s, pods)
        return Scaled(pods, self._excess_burst_capacity(ready_pods, panic), panicking)

    def _limited(self, wanted: int, current: int) -> int:
        """Limit the wanted pods to the rates of one tick, and raise any above 0 to at least the activation scale."""
        config = self._config
        most = ceil(config.max_scale_up_rate * current)
        least = floor(current / config.max_scale_down_rate) if config.reachable else 0
        pods = min(max(wanted, least), most)
        if config.activation_scale > 1 and wanted > 0:
            return max(pods, config.activation_scale)
        return pods

    def _update_panic(self, now_s: float, surging: bool) -> None:
        """Enter panic mode on a surge; leave it when more than a stable window has passed since the last surge."""
        if surging:
            self._panic_since_s = now_s
        elif self._panic_since_s is not None and self._panic_since_s + self._config.stable_window_s < now_s:
            self._panic_since_s, self._panic_pods = None, 0

    def _excess_burst_capacity(self, ready_pods: int, panic: float) -> int:
        capacity = self._config.target_burst_capacity
        if capacity == 0:
            return 0
        if capacity < 0:
            return -1
        return floor(ready_pods * self._config.total_value - capacity - panic)


def sample_size(pods: int) -> int:
    """Return how many of these pods are scraped each second.

    Source: pkg/autoscaler/metrics/sample_size.go: a sample of normally distributed values at 95 % confidence.
    """
    return pods if pods <= ALL_SCRAPED_PODS else ceil(pods * SAMPLE_FACTOR / (pods + SAMPLE_FACTOR - 1))


def scraped(by_pod: Sequence[float], index: int) -> float:
    """Estimate the sum over all pods from the sample of second `index`.

    Knative shuffles the pods; here each second's sample begins where the previous one ended.
    """
    size = sample_size(len(by_pod))
    sample = [by_pod[(index * size + one) % len(by_pod)] for one in range(size)]
    return sum(sample) / size * len(by_pod)


class Kpa:
    """The policy `kpa`: Knative's windows over the value reported each second, and Scale() every tick.

    While there are pods, each second is reported when it ends, including idle ones, because the queue-proxies are
    scraped. Up to three pods are all scraped, of more pods a sample; if requests went straight to the pods, the mean of
    the sample stands for all pods. The activator also reports its count once a second, up to and including the first
    idle second. The first request after that is reported at once as a concurrency of 1, which is later subtracted from
    the value of its second. So a single short request after an idle period is a load of 1, and without pods idle
    seconds are not reported at all. The caller runs an extra tick when the first request arrives at zero pods, as the
    activator pokes the autoscaler.
    scaled: result of the last tick; None if there was no data.
    Source: pkg/autoscaler/metrics (collector.go, stats_scraper.go), pkg/activator/handler/concurrency_reporter.go.
    """

    def __init__(self, config: KpaConfig | None = None) -> None:
        self.config = config or KpaConfig()
        self.scaled: Scaled | None = None
        self._observations = Observations()
        self._stable = TimedBuckets(self.config.stable_window_s)
        self._panic = TimedBuckets(self.config.panic_window_s)
        self._recorded = -1
        self._arrived = 0
        self._counting = False
        self._counted_early: int | None = None
        self._scaler: KpaScaler | None = None

    @property
    def interval_s(self) -> float:
        return self.config.tick_s

    def decide(self, obs: Observation) -> Decision:
        """Decide one tick; without data, keep the current pods."""
        obs = self._observations.usable(obs)
        self._record(obs)
        self.scaled = None
        if not obs.fresh or (self._stable.is_empty(obs.now_s) and self._is_scraped):
            current = obs.ready_pods + obs.starting_pods
            return Decision(current, f"no data: keep {current} pods")
        if self._scaler is None:
            self._scaler = KpaScaler(self.config, obs.now_s, obs.ready_pods)
        stable, panic = self._average(self._stable, obs.now_s), self._average(self._panic, obs.now_s)
        self.scaled = scaled = self._scaler.scale(obs.now_s, obs.ready_pods, stable, panic)
        metric = self.config.metric
        if scaled.panicking:
            reason = f"panic: {scaled.pods} pods for {metric} {panic:.1f} over {self.config.panic_window_s:g} s"
        else:
            reason = f"stable: {scaled.pods} pods for {metric} {stable:.1f} over {self.config.stable_window_s:g} s"
        return Decision(scaled.pods, reason)

    @property
    def _is_scraped(self) -> bool:
        """Whether Knative scrapes the pods.

        If the activator is always in the path it does not; then a window without reports means no load, not no data.
        """
        return self.config.target_burst_capacity != -1

    def _record(self, obs: Observation) -> None:
        """Add the seconds that are new, and the first request of the current one."""
        for second in obs.seconds:
            if second.index > self._recorded:
                self._recorded = second.index
                self._arrived += second.arrivals
                if 0 <= second.concurrency < inf:
                    self._report(second, obs.ready_pods)
        active = obs.arrived > self._arrived or (obs.waiting and obs.ready_pods + obs.starting_pods == 0)
        if active and not self._counting:
            self._count_first(floor(obs.now_s))

    def _report(self, second: Second, ready_pods: int) -> None:
        """Add the value that the activator or the queue-proxies report for a finished second."""
        if second.by_pod:
            self._counting = False
            if self._is_scraped:
                concurrency = scraped(second.by_pod, second.index)
                self._add(second.index + 1, concurrency if self.config.metric == "concurrency" else second.arrivals)
            return
        if not self._counting and second.arrivals:
            self._count_first(second.index)
        self._counting = self._counting or second.concurrency > 0
        if self._counting or (ready_pods and self._is_scraped):
            early = 1.0 if self._counted_early == second.index else 0.0
            value = second.concurrency if self.config.metric == "concurrency" else float(second.arrivals)
            self._add(second.index + 1, max(0.0, value - early))
        self._counting = self._counting and second.concurrency > 0

    def _count_first(self, index: int) -> None:
        """Add a concurrency of 1 for the first request after an idle period, in second `index`."""
        self._counting, self._counted_early = True, index
        self._add(index, 1.0)

    def _average(self, buckets: TimedBuckets, now_s: float) -> float:
        return buckets.weighted_average(now_s) if self.config.weighted else buckets.average(now_s)

    def _add(self, time_s: float, value: float) -> None:
        self._stable.record(time_s, value)
        self._panic.record(time_s, value)
