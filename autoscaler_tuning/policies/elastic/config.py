"""Settings of `elastic`, and its ablations."""

from dataclasses import dataclass, field
from math import inf

from autoscaler_tuning.policies.elastic.error_paths import ErrorPathConfig
from autoscaler_tuning.policies.elastic.forecast import ForecastConfig

# Ablations: elastic without one of its parts.
ABLATIONS = {
    "elastic-nostock": "elastic[compares_with_stock=false]",
    "elastic-norecurrence": "elastic[expects_recurrence=false]",
    "elastic-nosteady": "elastic[steady_share=0]",
    "elastic-nohold": "elastic[hold_s=0]",
    "elastic-nohedge": "elastic[hedge=1]",
    "elastic-nojump": "elastic[forecast.jump_sigmas=1e9]",
    "elastic-nosurprise": "elastic[scenarios.surprise=0]",
    "elastic-nogrowth": "elastic[scenarios.growth_s=0]",
    "elastic-nolikeness": "elastic[scenarios.likeness=0,scenarios.long_likeness=0]",
    "elastic-nolong": "elastic[scenarios.long_likeness=0]",
    "elastic-nopast": "elastic[scenarios.memory_s=0.001]",
}
ABOVE_0 = ("slo_s", "interval_s", "late_price", "drain_s", "first_service_time_s", "first_cold_start_s")


@dataclass(frozen=True, slots=True)
class ElasticConfig:
    """Settings of `elastic`; the same values serve every trace, simulated and live.

    late_price: price of one late response, in pod-seconds; the knob that trades cost for lateness.
    hold_s: how long capacity stays after it was last wanted; about the time that starting a pod anew would cost. For
        a burst that is due, and after one that was expected, at most the mean start time.
    hedge: most pods that may be started for each missing pod while requests are late.
    drain_s: time within which waiting requests are served if the SLO is shorter than the service time.
    zero_after_s: time without a request after which the policy may scale to zero.
    most_pods: upper bound of the search for the best number of pods.
    first_service_time_s, first_cold_start_s: assumed until measured.
    steady_share: weight of the late responses of a steady Poisson stream (queueing.py) beside those of the scenarios,
        which contain a part of them; with 1, a crowd of the WorldCup traces takes 5 % more pods.
    expects_recurrence: prepare for bursts at the intervals of past ones (recurrence.py).
    compares_with_stock: let stock KPA decide while elastic has cost more (never_worse.py).
    forecast, scenarios: settings of the rate forecast and of its error paths.
    """

    slo_s: float = 0.5
    interval_s: float = 0.5
    late_price: float = 250.0
    hold_s: float = 7.0
    hedge: float = 3.0
    drain_s: float = 30.0
    zero_after_s: float = 30.0
    most_pods: int = 1000
    first_service_time_s: float = 0.1
    first_cold_start_s: float = 3.0
    steady_share: float = 0.6
    expects_recurrence: bool = True
    compares_with_stock: bool = True
    forecast: ForecastConfig = field(default_factory=ForecastConfig)
    scenarios: ErrorPathConfig = field(default_factory=ErrorPathConfig)

    def __post_init__(self) -> None:
        for name in (*ABOVE_0, "most_pods"):
            if not 0 < getattr(self, name) < inf:
                raise ValueError(f"{name} must be above 0 and finite, got {getattr(self, name)}")
        for name, least in (("hold_s", 0), ("zero_after_s", 0), ("hedge", 1), ("steady_share", 0)):
            if not least <= getattr(self, name) < inf:
                raise ValueError(f"{name} must be finite and at least {least}, got {getattr(self, name)}")
