"""What large images took goes back to the system."""

import ctypes
from typing import Final

# Source: glibc's malloc.h
M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
LARGE_BYTES: Final = 4 * 1024 * 1024


def return_large_blocks() -> None:
    """Blocks above LARGE_BYTES are mapped each by itself, and unmapped when they are free.

    Left alone, glibc raises this bound to 32 MB with the first large image, and from then on each thread keeps what its
    largest one took: a pod that answered 2,000 bad and huge images held 654 MiB, with this 434. Other C libraries have
    no such setting, and nothing happens. Setting it keeps the bound for what is returned from a heap's end at 128 KB,
    which an ordinary photograph exceeds: it is raised, or each request asks for the same 460 pages again.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(M_TRIM_THRESHOLD, 2 * LARGE_BYTES)
