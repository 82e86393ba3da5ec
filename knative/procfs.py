"""CPU time and memory of a process and its children, read from /proc."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """What a process tree used.

    cpu_seconds: of all its living processes and of the children they have waited for.
    resident_bytes: summed; pages that processes share count once in each.
    """

    cpu_seconds: float
    resident_bytes: int


def tree_usage(pid: int) -> ProcessUsage | None:
    """Usage of a process and its descendants; None when it is gone. Some 20 us a process."""
    own = _usage(pid)
    if own is None:
        return None
    cpu_seconds, resident_bytes = own
    for child in _children(pid):
        usage = tree_usage(child)
        if usage is not None:
            cpu_seconds += usage.cpu_seconds
            resident_bytes += usage.resident_bytes
    return ProcessUsage(cpu_seconds, resident_bytes)


def _usage(pid: int) -> tuple[float, int] | None:
    try:
        # the command, in brackets, may hold spaces and brackets itself: fields are counted from the last one
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    ticks = sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime
    return ticks / TICKS_PER_S, int(fields[21]) * PAGE_BYTES


def _children(pid: int) -> list[int]:
    """Children of all the process's threads; none where the kernel does not list them."""
    children: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # threads come and go
                children += [int(child) for child in (thread / "children").read_text().split()]
    return children
