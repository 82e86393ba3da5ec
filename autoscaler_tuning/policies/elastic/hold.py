"""Capacity that is held for a while after it was last wanted."""

from collections import deque


class Hold:
    """The most pods that were wanted within the last seconds."""

    def __init__(self) -> None:
        self._wanted: deque[tuple[float, int]] = deque()  # with fewer and fewer pods

    def most(self, now_s: float, pods: int, hold_s: float) -> int:
        """Add the pods that are wanted now; return the most that were wanted within hold_s."""
        while self._wanted and self._wanted[0][0] <= now_s - hold_s:
            self._wanted.popleft()
        while self._wanted and self._wanted[-1][1] <= pods:
            self._wanted.pop()
        self._wanted.append((now_s, pods))
        return self._wanted[0][1]
