"""Gives memory back to the operating system: the C library keeps what a burst of requests has left."""

import asyncio
import ctypes
from collections.abc import Callable

# A smaller burst leaves less than the process takes anyway.
WORTH_BYTES = 1 << 26
PERIOD_S = 1.0


class MemoryPeak:
    """The most bytes held since memory was last given back."""

    def __init__(self) -> None:
        self._most_bytes = 0

    def has_passed(self, held_bytes: int) -> bool:
        """Note how many bytes are held now; return True once after a peak, when a quarter of it is left or less."""
        self._most_bytes = max(self._most_bytes, held_bytes)
        if self._most_bytes < WORTH_BYTES or held_bytes > self._most_bytes // 4:
            return False
        self._most_bytes = held_bytes
        return True


async def give_back(held_bytes: Callable[[], int]) -> None:
    """Give memory back after each peak, for ever; with a C library other than glibc, do nothing.

    That stops the process for 0.14 s per GB, which is why it happens after a peak and not all the time.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    peak = MemoryPeak()
    while trim is not None:
        await asyncio.sleep(PERIOD_S)
        if peak.has_passed(held_bytes()):
            trim(0)
