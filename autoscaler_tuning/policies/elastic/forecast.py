"""Forecast of the arrival rate of the next seconds: its level, and jumps."""

from collections import deque
from dataclasses import dataclass
from math import sqrt


@dataclass(frozen=True, slots=True)
class ForecastConfig:
    """Settings of the rate forecast.

    level_gain: smoothing gain per second of data, in (0, 1].
    jump_sigmas: a jump is a recent rate more than this many standard deviations of a Poisson count above the level.
    jump_window_s: length of the newest data over which the recent rate is measured.
    """

    level_gain: float = 0.3
    jump_sigmas: float = 3.0
    jump_window_s: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.level_gain <= 1:
            raise ValueError(f"level_gain must be above 0 and at most 1, got {self.level_gain}")
        if not (0 < self.jump_sigmas < float("inf") and 0 < self.jump_window_s < float("inf")):
            raise ValueError(
                "jump_sigmas and jump_window_s must be above 0 and finite, "
                f"got {self.jump_sigmas}, {self.jump_window_s}"
            )


class RateForecast:
    """A smoothed level, reset to the recent rate if the newest arrivals are far above it.

    A trend was worth nothing: pods start within seconds, in which a level changes little or jumps. Only the growth
    within a jump is kept, because a burst often takes a few seconds to reach its height.
    Source: simple exponential smoothing; the jump is a one-sided test of a Poisson count.
    """

    def __init__(self, config: ForecastConfig) -> None:
        self._config = config
        self.level_rps = 0.0
        self.jumped = False
        self.growth_rps_s = 0.0  # by how much the rate rose in a second, if the newest tick is a jump
        self._seen: deque[tuple[float, int]] = deque()
        self._rates: deque[tuple[float, float]] = deque()

    def update(self, now_s: float, arrived: int) -> None:
        """Add the number of arrivals so far; now_s must increase from call to call."""
        if self._seen:
            self._learn(now_s, arrived)
        self._seen.append((now_s, arrived))

    def _learn(self, now_s: float, arrived: int) -> None:
        then_s, before = self._seen[-1]
        elapsed_s = now_s - then_s
        while len(self._seen) > 1 and self._seen[1][0] <= now_s - self._config.jump_window_s:
            self._seen.popleft()
        first_s, first = self._seen[0]
        recent_rps = (arrived - first) / max(self._config.jump_window_s, now_s - first_s)
        while len(self._rates) > 1 and self._rates[1][0] <= now_s - self._config.jump_window_s:
            self._rates.popleft()
        self._rates.append((now_s, recent_rps))
        self.jumped = recent_rps - self.level_rps > self._config.jump_sigmas * sqrt(max(1.0, self.level_rps))
        rise_rps = max(0.0, recent_rps - self._rates[0][1])
        self.growth_rps_s = rise_rps / self._config.jump_window_s if self.jumped else 0.0
        if self.jumped:
            self.level_rps = recent_rps
            return
        gain = 1 - (1 - self._config.level_gain) ** elapsed_s
        self.level_rps = gain * (arrived - before) / elapsed_s + (1 - gain) * self.level_rps
