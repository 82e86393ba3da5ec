"""Scenarios of the next seconds' arrivals: the forecast plus the errors that it made after similar past moments."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt
from statistics import NormalDist

import numpy as np

from autoscaler_tuning.results import FloatArray

# Prior scenarios of a Poisson stream: 16 quantiles of the standard normal distribution.
PRIOR = np.array([NormalDist().inv_cdf((index + 0.5) / 16) for index in range(16)])


@dataclass(frozen=True, slots=True)
class ErrorPathConfig:
    """Settings of the error paths.

    steps: length of a path, in ticks.
    memory_s: age up to which past paths are used, all with the same weight. A weight that fades with age would keep
        pods ready for a jump that was long ago, because late responses cost so much more than pods.
    long_memory_s: the same if jumps recur, which means that it contains at least `often` bursts. A burst is a path that
        ends more than `burst` standard deviations of a Poisson count above the forecast.
    likeness, long_likeness: a past path has the weight exp(-likeness x |log ratio of its level to the present one| -
        long_likeness x the same of the levels' mean, which is smoothed with the time constant long_s); with 0 and 0 all
        paths have the same weight. The long one tells a lull from calm, and a jump from a rate that has lasted.
    prior: weight of the prior scenarios, in ticks of experience: Poisson noise, and in addition a share `surprise` of
        this weight for a burst that keeps surprise_pods pods busy, at most surprise_factor times as many as the present
        rate does once a minute of it has been seen. That share falls to 1/e after surprise_s of traffic.
    growth_s: how long a rate that just jumped goes on rising as fast in the highest of the noise scenarios.
    """

    steps: int = 12
    memory_s: float = 250.0
    long_memory_s: float = 600.0
    often: int = 4
    burst: float = 15.0
    likeness: float = 3.0
    long_likeness: float = 4.0
    long_s: float = 60.0
    prior: float = 50.0
    surprise: float = 0.2
    surprise_pods: float = 2.0
    surprise_factor: float = 5.0
    surprise_s: float = 80.0
    growth_s: float = 1.0

    def __post_init__(self) -> None:
        for name in ("steps", "memory_s", "long_memory_s", "often", "burst", "long_s", "prior", "surprise_s"):
            if not 0 < getattr(self, name) < inf:
                raise ValueError(f"{name} must be above 0 and finite, got {getattr(self, name)}")
        for name in ("likeness", "long_likeness", "surprise_pods", "surprise_factor", "growth_s"):
            if not 0 <= getattr(self, name) < inf:
                raise ValueError(f"{name} must be finite and at least 0, got {getattr(self, name)}")
        if not 0 <= self.surprise <= 1:
            raise ValueError(f"surprise must be from 0 to 1, got {self.surprise}")


class ErrorPaths:
    """Past forecast errors, kept as whole paths in standard deviations of a Poisson count.

    Thus a burst that once followed an idle period can recur at its own size, and noise grows with the square root of
    the rate. Source: a block bootstrap of residuals (Efron 1979; Künsch 1989), weighted by the likeness of the moment
    (Lall and Sharma 1996) and combined with a prior (Rubin 1981, the Bayesian bootstrap). The growth that stops after
    growth_s is a damped trend (Gardner and McKenzie 1985).
    """

    def __init__(self, config: ErrorPathConfig, interval_s: float) -> None:
        self._config = config
        self._interval_s = interval_s
        self._times_s = interval_s * np.arange(1, config.steps + 1)
        self._short_rows = max(1, round(config.memory_s / interval_s))
        self._rows = max(self._short_rows, round(config.long_memory_s / interval_s))
        # A ring whose rows are kept twice, so that the newest ones are always one slice.
        self._paths = np.zeros((config.steps, 2 * self._rows))
        self._levels = np.zeros((2, 2 * self._rows))  # log(level + 1), and the same of the mean
        self._unexplained = np.ones(2 * self._rows)
        self._fading = exp(-interval_s / config.surprise_s)
        self._mean_rps, self._mean_gain = 0.0, 1 - exp(-interval_s / config.long_s)
        self._kept = self._ticks = 0
        self._pending: deque[tuple[int, float, float]] = deque(maxlen=config.steps + 1)
        self._bursts: deque[tuple[int, int]] = deque()  # [first path that contains it, tick]
        self._bursting = False
        self._prior = np.full(len(PRIOR), config.prior / len(PRIOR))
        self._surprise = config.surprise * config.prior

    def update(self, arrived: int, level_rps: float) -> bool:
        """Add one tick, the arrivals so far and the level of the forecast then; return whether a burst begins."""
        self._ticks += 1
        self._mean_rps += self._mean_gain * (level_rps - self._mean_rps)
        self._pending.append((arrived, level_rps, self._mean_rps))
        first, level, mean = self._pending[0]
        ahead = arrived - first - level * self._interval_s * (len(self._pending) - 1)
        # in a shorter time the level may still be settling, unless hardly anything had arrived before
        known = first < self._config.burst or len(self._pending) > self._config.steps
        begins = self._count_burst(known and ahead > self._config.burst * max(1.0, level) ** 0.5)
        if len(self._pending) > self._config.steps:
            row = self._kept % self._rows
            came = np.array([count for count, *_ in self._pending][1:]) - first
            path = (came - level * self._times_s) / sqrt(max(1.0, level))
            for copy in (row, row + self._rows):
                self._paths[:, copy], self._unexplained[copy] = path, 1.0
                self._levels[:, copy] = log(level + 1), log(mean + 1)
            self._surprise *= self._fading
            self._kept += 1
        return begins

    def interrupt(self) -> None:
        """Drop the incomplete paths, because ticks were missed and no path may span the gap."""
        self._pending.clear()

    def explain(self, ticks_ago: Sequence[int]) -> None:
        """Forget bursts that recur: they are neither errors of the forecast nor a sign of others.

        ticks_ago: when they began, to one tick; 0 is the burst that begins now.
        """
        for row, tick in list(self._bursts):
            if any(abs(self._ticks - tick - ago) <= 1 for ago in ticks_ago):
                self._bursts.remove((row, tick))
                self._pending.clear()
                first, end = max(row, self._kept - self._rows), min(self._kept, row + self._config.steps + 1)
                rows = np.arange(first, end) % self._rows
                self._unexplained[rows] = self._unexplained[rows + self._rows] = 0.0

    @property
    def jumps_recur(self) -> bool:
        """Whether the long memory contains at least `often` bursts; fewer count as chance."""
        while self._bursts and self._bursts[0][0] < self._kept - self._rows:
            self._bursts.popleft()
        return len(self._bursts) >= self._config.often

    def _count_burst(self, bursting: bool) -> bool:
        """Count a burst once, although several overlapping paths contain it; return whether it begins."""
        near = self._bursts and self._kept - self._bursts[-1][0] <= self._config.steps
        begins = bursting and not self._bursting and not near
        if begins:
            self._bursts.append((self._kept, self._ticks))
        self._bursting = bursting
        return begins

    def draw(
        self, expected: FloatArray, level_rps: float, surprise_rps: float, growth_rps_s: float = 0.0
    ) -> tuple[FloatArray, FloatArray]:
        """Return scenarios of the cumulative arrivals, shape (ticks, scenarios), and their weights, which sum to 1.

        expected: forecast of the cumulative arrivals, shape (ticks,), at most config.steps ticks.
        level_rps: present level of the forecast. surprise_rps: extra rate in the scenario of a burst.
        growth_rps_s: by how much the rate rose in the last second, if it jumped.
        """
        config, steps = self._config, len(expected)
        kept = min(self._kept, self._rows if self.jumps_recur else self._short_rows)
        end = self._kept % self._rows + self._rows
        newest = slice(end - kept, end)
        paths = np.empty((steps, kept + len(PRIOR) + 1))
        np.multiply(self._paths[:steps, newest], sqrt(max(1.0, level_rps)), out=paths[:, :kept])
        np.multiply(np.sqrt(expected)[:, None], PRIOR, out=paths[:, kept:-1])
        times_s = self._times_s[:steps]
        growing_s = np.minimum(times_s, config.growth_s)
        paths[:, -2] += growth_rps_s * growing_s * (times_s - growing_s / 2)
        paths[:, -1] = surprise_rps * times_s
        paths += expected[:, None]
        np.maximum(paths, 0.0, out=paths)
        weights = np.empty(paths.shape[1])
        present = np.array([[log(level_rps + 1)], [log(self._mean_rps + 1)]])
        unlikeness = np.array([config.likeness, config.long_likeness]) @ np.abs(self._levels[:, newest] - present)
        np.exp(-unlikeness, out=weights[:kept])
        weights[:kept] *= self._unexplained[newest]
        weights[kept:-1] = self._prior
        surprise = self._surprise / (config.prior + kept)
        weights[:-1] *= (1 - surprise) / weights[:-1].sum()
        weights[-1] = surprise
        return paths, weights
