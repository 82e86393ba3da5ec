"""Forecast of the arrival rate of the next seconds: level, trend and jumps."""

from collections import deque
from dataclasses import dataclass
from math import sqrt


@dataclass(frozen=True, slots=True)
class ForecastConfig:
    """Settings of the rate forecast.

    level_gain, trend_gain: smoothing gains per second of data, in (0, 1] and [0, 1].
    jump_sigmas: a jump is a recent rate more than this many standard deviations of a Poisson count above the level.
    jump_window_s: length of the newest data over which the recent rate is measured.
    """

    level_gain: float = 0.3
    trend_gain: float = 0.03
    jump_sigmas: float = 3.0
    jump_window_s: float = 1.0

    def __post_init__(self) -> None:
        if not (0 < self.level_gain <= 1 and 0 <= self.trend_gain <= 1):
            raise ValueError(
                "level_gain must be above 0 and at most 1, trend_gain from 0 to 1, "
                f"got {self.level_gain}, {self.trend_gain}"
            )
        if not (0 < self.jump_sigmas < float("inf") and 0 < self.jump_window_s < float("inf")):
            raise ValueError(
                "jump_sigmas and jump_window_s must be above 0 and finite, "
                f"got {self.jump_sigmas}, {self.jump_window_s}"
            )


class RateForecast:
    """Holt's level and trend, reset to the recent rate if the newest arrivals are far above the level.

    Source: Holt (1957), linear exponential smoothing; the jump is a one-sided test of a Poisson count.
    """

    def __init__(self, config: ForecastConfig) -> None:
        self._config = config
        self.level_rps = 0.0
        self.trend_rps_per_s = 0.0
        self.jumped = False
        self._seen: deque[tuple[float, int]] = deque()

    def update(self, now_s: float, arrived: int) -> None:
        """Add the number of arrivals so far; now_s must increase from call to call."""
        if self._seen:
            self._learn(now_s, arrived)
        self._seen.append((now_s, arrived))

    def expected(self, horizon_s: float) -> float:
        """Return the expected arrivals of the next horizon_s; a falling trend is not extrapolated."""
        return horizon_s * (self.level_rps + max(0.0, self.trend_rps_per_s) * horizon_s / 2)

    def _learn(self, now_s: float, arrived: int) -> None:
        then_s, before = self._seen[-1]
        elapsed_s = now_s - then_s
        while len(self._seen) > 1 and self._seen[1][0] <= now_s - self._config.jump_window_s:
            self._seen.popleft()
        first_s, first = self._seen[0]
        recent_rps = (arrived - first) / max(self._config.jump_window_s, now_s - first_s)
        self.jumped = recent_rps - self.level_rps > self._config.jump_sigmas * sqrt(max(1.0, self.level_rps))
        if self.jumped:
            self.level_rps, self.trend_rps_per_s = recent_rps, 0.0
            return
        gain = 1 - (1 - self._config.level_gain) ** elapsed_s
        trend_gain = 1 - (1 - self._config.trend_gain) ** elapsed_s
        before_rps = self.level_rps
        predicted_rps = max(0.0, before_rps + self.trend_rps_per_s * elapsed_s)
        self.level_rps = gain * (arrived - before) / elapsed_s + (1 - gain) * predicted_rps
        self.trend_rps_per_s += trend_gain * ((self.level_rps - before_rps) / elapsed_s - self.trend_rps_per_s)
