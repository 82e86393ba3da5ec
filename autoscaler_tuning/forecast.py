"""The arrival rate a cold start ahead, with a margin that its own past errors set."""

from collections import deque
from dataclasses import dataclass
from math import sqrt

import numpy as np


@dataclass(frozen=True, slots=True)
class ForecastConfig:
    """Gains are per second of data, in (0, 1]; jump_sigmas in standard deviations of a Poisson count.

    coverage: share of past seconds that the upper forecast should have covered.
    """

    level_gain: float = 0.5
    trend_gain: float = 0.1
    jump_sigmas: float = 4.0
    coverage: float = 0.9
    scores_kept: int = 240
    scores_needed: int = 20
    first_margin: float = 1.0


class RateForecast:
    """Holt's level and trend, reset by a jump, with a margin calibrated on the errors it made.

    The score of a past forecast f is (actual - f) / sqrt(f): a Poisson count's error in standard deviations; the
    margin is a quantile of these scores, as in split conformal prediction.
    Source: Holt (1957); Gibbs and Candes, arXiv 2106.00170, for calibrating on a stream.
    """

    def __init__(self, config: ForecastConfig) -> None:
        self._config = config
        self.level_rps = 0.0
        self.trend_rps_per_s = 0.0
        self._seen: deque[tuple[float, int]] = deque()
        self._promises: deque[tuple[float, float]] = deque()
        self._scores: deque[float] = deque(maxlen=config.scores_kept)

    def update(self, now_s: float, arrived: int) -> None:
        """Take in the count of arrivals so far; calls less than 0.2 s apart are joined with the next."""
        if self._seen and now_s - self._seen[-1][0] < 0.2:
            return
        self._seen.append((now_s, arrived))
        while len(self._seen) > 2 and self._seen[1][0] <= now_s - 1:
            self._seen.popleft()
        if len(self._seen) > 1 and not self._jumped():
            then_s, before = self._seen[-2]
            self._learn((arrived - before) / (now_s - then_s), now_s - then_s)
        self._score(now_s)

    def upper_rps(self, now_s: float, horizon_s: float) -> float:
        """The rate not to be exceeded horizon_s from now, most of the time; never below the level of now.

        Remembers the forecast without its margin, to be scored when its time has come.
        """
        expected_rps = self.level_rps + horizon_s * max(0.0, self.trend_rps_per_s)
        self._promises.append((now_s + horizon_s, expected_rps))
        return expected_rps + self.margin() * sqrt(expected_rps)

    def margin(self) -> float:
        """Standard deviations that the upper forecast adds; not below 0."""
        if len(self._scores) < self._config.scores_needed:
            return self._config.first_margin
        return max(0.0, float(np.quantile(self._scores, self._config.coverage)))

    def last_second_rps(self) -> float:
        """Mean rate over the newest second or so of data."""
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        return (last - first) / max(1.0, last_s - first_s)

    def _learn(self, rate_rps: float, elapsed_s: float) -> None:
        gain = 1 - (1 - self._config.level_gain) ** elapsed_s
        trend_gain = 1 - (1 - self._config.trend_gain) ** elapsed_s
        before_rps = self.level_rps
        predicted_rps = max(0.0, before_rps + self.trend_rps_per_s * elapsed_s)
        self.level_rps = gain * rate_rps + (1 - gain) * predicted_rps
        slope = (self.level_rps - before_rps) / elapsed_s
        self.trend_rps_per_s += trend_gain * (slope - self.trend_rps_per_s)

    def _jumped(self) -> bool:
        """Whether the last second was far above the level; then it is the new level."""
        recent_rps = self.last_second_rps()
        if recent_rps - self.level_rps <= self._config.jump_sigmas * sqrt(max(1.0, self.level_rps)):
            return False
        self.level_rps, self.trend_rps_per_s = recent_rps, 0.0
        return True

    def _score(self, now_s: float) -> None:
        actual_rps = self.last_second_rps()
        while self._promises and self._promises[0][0] <= now_s:
            _, expected_rps = self._promises.popleft()
            self._scores.append((actual_rps - expected_rps) / sqrt(max(1.0, expected_rps)))
