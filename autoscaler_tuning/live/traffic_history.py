"""The traffic of several dispatchers on one clock, which none of them can move: each may start, lag, restart or go."""

from collections.abc import Sequence
from dataclasses import replace
from math import floor

from autoscaler_tuning.live.signals import Signals
from autoscaler_tuning.types import Second

SECONDS_KEPT = 120


class TrafficHistory:
    """What one dispatcher has reported, on the controller's clock; it continues when the dispatcher restarts.

    signals: its last answer; None before the first one.
    seconds: its whole seconds by their index on the controller's clock.
    """

    def __init__(self) -> None:
        self.signals: Signals | None = None
        self.seconds: dict[int, Second] = {}
        self._arrived_before = self._released_before = 0
        self._shift_s = 0

    @property
    def arrived(self) -> int:
        """Return the requests so far, those before restarts included; it never falls."""
        return self._arrived_before + (self.signals.arrived if self.signals else 0)

    @property
    def released(self) -> int:
        """Return the requests sent on so far, as arrived counts them."""
        return self._released_before + (self.signals.released if self.signals else 0)

    def keep_counts(self) -> None:
        """Keep only the counts of a dispatcher that is gone, with which it continues if it comes back."""
        self.seconds.clear()
        if self.signals:
            self.signals = replace(self.signals, seconds=())

    def update(self, signals: Signals, now_s: float) -> None:
        """Add what the dispatcher answered at now_s."""
        last = self.signals
        if last is None or signals.now_s < last.now_s or signals.arrived < last.arrived:
            self._arrived_before, self._released_before = self.arrived, self.released
            self._shift_s = floor(now_s - signals.now_s)  # so that no whole second ends in the future
        self.signals = signals
        newest = max(self.seconds, default=-1)
        for second in signals.seconds:
            if second.index + self._shift_s > newest:
                self.seconds[second.index + self._shift_s] = second
        for index in [index for index in self.seconds if index <= max(self.seconds) - SECONDS_KEPT]:
            del self.seconds[index]


def merged(histories: Sequence[TrafficHistory], answered: Sequence[TrafficHistory], now_s: float) -> Signals:
    """Return the signals of several dispatchers as those of one, on the controller's clock.

    histories: those of all dispatchers. What a silent one had reported stays in the counts and in the past seconds.
    answered: those of the dispatchers that answered at now_s; what waits and runs is theirs. At least one.
    """
    present = [one.signals for one in answered if one.signals]
    measured = [signals.service_time_s for signals in present if signals.service_time_s is not None]
    return Signals(
        now_s=now_s,
        seconds=_added([one.seconds for one in histories if one.seconds], [one.seconds for one in answered]),
        arrived=sum(one.arrived for one in histories),
        waiting=sum(signals.waiting for signals in present),
        in_flight=sum(signals.in_flight for signals in present),
        oldest_wait_s=max(signals.oldest_wait_s for signals in present),
        feasible_backlog_s=sum(signals.feasible_backlog_s for signals in present),
        service_time_s=sum(measured) / len(measured) if measured else None,
        released=sum(one.released for one in histories),
    )


def _added(known: Sequence[dict[int, Second]], answered: Sequence[dict[int, Second]]) -> tuple[Second, ...]:
    """Return the sums up to the newest second that all who answered have closed; where one did not run, it adds 0."""
    newest = min((max(seconds) for seconds in answered if seconds), default=-1)
    oldest = max(newest - SECONDS_KEPT + 1, min((min(seconds) for seconds in known), default=0))
    rows = ([seconds[index] for seconds in known if index in seconds] for index in range(oldest, newest + 1))
    return tuple(
        Second(oldest + offset, sum(one.arrivals for one in row), sum(one.concurrency for one in row))
        for offset, row in enumerate(rows)
    )
