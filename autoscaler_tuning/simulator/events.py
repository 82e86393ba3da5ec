"""The event loop: knows time and order, nothing of pods or requests."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

Action = Callable[[], None]


class EventLoop:
    """Runs actions in time order; actions due at the same time run in scheduling order."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._queue: list[tuple[float, int, Action]] = []
        self._sequence = count()

    def at(self, time_s: float, action: Action) -> None:
        """Run action at time_s; raises ValueError if that has passed."""
        if not time_s >= self.now_s:  # written so that nan fails too
            raise ValueError(f"cannot schedule at {time_s} s: it is already {self.now_s} s")
        heappush(self._queue, (time_s, next(self._sequence), action))

    def run_until(self, end_s: float, done: Callable[[], bool] = lambda: False) -> None:
        """Run what is due up to end_s, or until done(); the clock then stands at end_s, or at the last action."""
        while not done():
            if not self._queue or self._queue[0][0] > end_s:
                self.now_s = end_s
                return
            self.now_s, _, action = heappop(self._queue)
            action()
