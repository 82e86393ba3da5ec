"""What may come in the next seconds: what came after moments like this one, as far as the forecast missed it."""

from collections import deque
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from autoscaler_tuning.results import FloatArray

# Scenarios of a Poisson stream, used until enough was seen: quantiles of the normal law.
PRIOR = np.array([NormalDist().inv_cdf((index + 0.5) / 32) for index in range(32)])


@dataclass(frozen=True, slots=True)
class ScenarioConfig:
    """steps: length of a scenario, in ticks. memory_s: how far back it looks.

    likeness: weight exp(-likeness x |log ratio of the two levels|) of a past moment; 0 takes all alike.
    needed: past scenarios, at the least, before they take the place of the prior.
    surprise: weight of a scenario that nobody has seen yet, in which the rate doubles at once.
    """

    steps: int = 12
    memory_s: float = 900.0
    likeness: float = 3.5
    needed: int = 20
    surprise: float = 0.0
    factor: float = 2.0

    def __post_init__(self) -> None:
        if not (self.steps >= 1 and self.needed >= 1 and 0 < self.memory_s < float("inf")):
            raise ValueError(f"steps, needed, memory_s must be above 0: {self.steps}, {self.needed}, {self.memory_s}")
        if not (self.likeness >= 0 and 0 <= self.surprise < 1):
            raise ValueError(f"likeness >= 0 and 0 <= surprise < 1: {self.likeness}, {self.surprise}")


class Scenarios:
    """Past errors of the forecast, kept as whole paths, in standard deviations of a Poisson count.

    So a burst that once came out of silence may come again, at its own size, and noise grows with the root of the
    rate. A block bootstrap of residuals (Efron 1979; Künsch 1989), each weighted by likeness.
    """

    def __init__(self, config: ScenarioConfig, interval_s: float) -> None:
        self._config = config
        self._times_s = interval_s * np.arange(1, config.steps + 1)
        rows = max(1, round(config.memory_s / interval_s))
        self._paths = np.zeros((config.steps, rows))
        self._levels = np.zeros(rows)
        self._kept = 0
        self._pending: deque[tuple[int, float]] = deque(maxlen=config.steps + 1)

    def update(self, arrived: int, level_rps: float) -> None:
        """One more tick: the count of arrivals so far, and the level that was forecast with it."""
        self._pending.append((arrived, level_rps))
        if len(self._pending) > self._config.steps:
            first, level = self._pending[0]
            row = self._kept % len(self._levels)
            came = np.array([count for count, _ in self._pending][1:]) - first
            self._paths[:, row] = (came - level * self._times_s) / np.sqrt(max(1.0, level))
            self._levels[row] = level
            self._kept += 1

    def interrupt(self) -> None:
        """Ticks were missed: no path may lead across the gap."""
        self._pending.clear()

    def draw(self, expected: FloatArray, level_rps: float) -> tuple[FloatArray, FloatArray]:
        """Cumulative arrivals after each tick, shape (ticks, scenarios), and the scenarios' weights, which sum to 1.

        expected: cumulative arrivals that are forecast, shape (ticks,), at most config.steps ticks.
        """
        steps, kept = len(expected), min(self._kept, len(self._levels))
        if kept < self._config.needed:
            errors = np.outer(np.sqrt(expected), PRIOR)
            weights = np.full(len(PRIOR), 1 / len(PRIOR))
        else:
            errors = np.sqrt(max(1.0, level_rps)) * self._paths[:steps, :kept]
            ratios = np.log((self._levels[:kept] + 1) / (level_rps + 1))
            weights = np.exp(-self._config.likeness * np.abs(ratios))
            weights /= weights.sum()
        paths = np.maximum(0.0, expected[:, None] + errors)
        if self._config.surprise:
            paths = np.column_stack([paths, self._config.factor * expected])
            weights = np.append(weights * (1 - self._config.surprise), self._config.surprise)
        return paths, weights
