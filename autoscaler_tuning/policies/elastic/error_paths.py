"""What may come in the next seconds: what came after moments like this one, as far as the forecast missed it."""

from collections import deque
from dataclasses import dataclass
from math import exp, inf, log
from statistics import NormalDist

import numpy as np

from autoscaler_tuning.results import FloatArray

# Scenarios of a Poisson stream: quantiles of the normal law.
PRIOR = np.array([NormalDist().inv_cdf((index + 0.5) / 16) for index in range(16)])


@dataclass(frozen=True, slots=True)
class ErrorPathConfig:
    """steps: length of a scenario, in ticks.

    memory_s: how far back moments are remembered, all alike: what fades instead keeps pods ready for a jump of long
    ago, for late answers cost so much more than pods. long_memory_s: the same where jumps come again and again: at
    least `often` of them within it, each a path at least `burst` deviations of a Poisson count above the forecast.
    likeness: weight exp(-likeness x |log ratio of the two levels|) of a past moment; 0 takes all alike.
    prior: ticks that what is believed beforehand counts for: Poisson noise, and for a share `surprise` of it a burst
    that as many pods as surprise_pods would be busy with. After surprise_s of traffic the burst counts 1/e of that.
    """

    steps: int = 12
    memory_s: float = 250.0
    long_memory_s: float = 600.0
    often: int = 4
    burst: float = 15.0
    likeness: float = 5.0
    prior: float = 100.0
    surprise: float = 0.1
    surprise_pods: float = 2.5
    surprise_s: float = 80.0

    def __post_init__(self) -> None:
        for name in ("steps", "memory_s", "long_memory_s", "often", "burst", "prior", "surprise_s"):
            if not 0 < getattr(self, name) < inf:
                raise ValueError(f"{name} must be above 0 and finite, was {getattr(self, name)}")
        if not (0 <= self.likeness < inf and 0 <= self.surprise <= 1 and 0 <= self.surprise_pods < inf):
            raise ValueError(
                "likeness and surprise_pods must be at least 0, surprise from 0 to 1: "
                f"{self.likeness}, {self.surprise_pods}, {self.surprise}"
            )


class ErrorPaths:
    """Past errors of the forecast, kept as whole paths, in standard deviations of a Poisson count.

    So a burst that once came out of silence may come again, at its own size, and noise grows with the root of the
    rate. A block bootstrap of residuals (Efron 1979; Künsch 1989), weighted by likeness, beside a prior
    (Rubin 1981, the Bayesian bootstrap).
    """

    def __init__(self, config: ErrorPathConfig, interval_s: float) -> None:
        self._config = config
        self._times_s = interval_s * np.arange(1, config.steps + 1)
        self._short = max(1, round(config.memory_s / interval_s))
        rows = max(self._short, round(config.long_memory_s / interval_s))
        self._paths = np.zeros((config.steps, rows))
        self._levels = np.zeros(rows)
        self._fading = exp(-interval_s / config.surprise_s)
        self._kept = 0
        self._pending: deque[tuple[int, float]] = deque(maxlen=config.steps + 1)
        self._bursts: deque[int] = deque()
        self._bursting = False
        self._prior = np.full(len(PRIOR), config.prior / len(PRIOR))
        self._surprise = config.surprise * config.prior

    def update(self, arrived: int, level_rps: float) -> None:
        """One more tick: the count of arrivals so far, and the level that was forecast with it."""
        self._pending.append((arrived, level_rps))
        if len(self._pending) > self._config.steps:
            first, level = self._pending[0]
            row = self._kept % len(self._levels)
            came = np.array([count for count, _ in self._pending][1:]) - first
            self._paths[:, row] = (came - level * self._times_s) / np.sqrt(max(1.0, level))
            self._levels[row] = log(level + 1)
            self._surprise *= self._fading
            self._count_burst(bool(self._paths[-1, row] > self._config.burst))
            self._kept += 1

    def interrupt(self) -> None:
        """Ticks were missed: no path may lead across the gap."""
        self._pending.clear()

    @property
    def jumps_recur(self) -> bool:
        """Once is chance, `often` within the long memory is what this traffic does."""
        while self._bursts and self._bursts[0] < self._kept - len(self._levels):
            self._bursts.popleft()
        return len(self._bursts) >= self._config.often

    def _count_burst(self, bursting: bool) -> None:
        """Paths overlap: a burst counts once."""
        if (
            bursting
            and not self._bursting
            and not (self._bursts and self._kept - self._bursts[-1] <= self._config.steps)
        ):
            self._bursts.append(self._kept)
        self._bursting = bursting

    def draw(self, expected: FloatArray, level_rps: float, surprise_rps: float) -> tuple[FloatArray, FloatArray]:
        """Cumulative arrivals after each tick, shape (ticks, scenarios), and the scenarios' weights, which sum to 1.

        expected: cumulative arrivals that are forecast, shape (ticks,), at most config.steps ticks.
        """
        config, steps = self._config, len(expected)
        kept = min(self._kept, len(self._levels) if self.jumps_recur else self._short)
        rows = np.arange(self._kept - kept, self._kept) % len(self._levels)
        noise = np.outer(np.sqrt(expected), PRIOR)
        errors = np.sqrt(max(1.0, level_rps)) * self._paths[:steps, rows]
        jump = surprise_rps * self._times_s[:steps]
        paths = np.maximum(0.0, expected[:, None] + np.column_stack([errors, noise, jump]))
        likeness = np.exp(-config.likeness * np.abs(self._levels[rows] - log(level_rps + 1)))
        weights = np.concatenate([likeness, self._prior])
        surprise = self._surprise / (config.prior + kept)
        return paths, np.append(weights * ((1 - surprise) / weights.sum()), surprise)
