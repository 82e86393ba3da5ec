"""CPU time and memory of a process and its children, read from /proc."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """CPU time and memory of a process tree.

    cpu_seconds: of all live processes, and of the ended children that they have waited for.
    resident_bytes: sum over the processes; shared pages count once per process.
    """

    cpu_seconds: float
    resident_bytes: int


def tree_usage(pid: int) -> ProcessUsage | None:
    """Return the usage of a process and its descendants; None if it is gone. Takes about 20 us per process."""
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
        # fields are counted from the last bracket, because the command in brackets may contain spaces and brackets
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    ticks = sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime
    return ticks / TICKS_PER_S, int(fields[21]) * PAGE_BYTES


def _children(pid: int) -> list[int]:
    """Return the children of all threads of the process; none if the kernel does not list them."""
    children: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # the thread may have ended meanwhile
                children += [int(child) for child in (thread / "children").read_text().split()]
    return children
