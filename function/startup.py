"""The phases of a cold start, timed from the start of the process."""

import os
import time
from pathlib import Path


class ColdStart:
    """mark() ends a phase; the first, `imports`, began with the process: interpreter, gunicorn, fork, our imports."""

    def __init__(self) -> None:
        self._ended_s = process_age_s()
        self.phases_s: dict[str, float] = {"imports": self._ended_s}

    def mark(self, phase: str) -> None:
        """The phase that lasted until now is over."""
        now_s = process_age_s()
        self.phases_s[phase] = now_s - self._ended_s
        self._ended_s = now_s

    def line(self) -> str:
        """For one line of the log."""
        phases = ", ".join(f"{phase} {seconds:.3f}" for phase, seconds in self.phases_s.items())
        return f"ready {self._ended_s:.3f} s after its start: {phases}"


def process_age_s(pid: int | None = None) -> float:
    """Seconds since the process (this one) was started; a gunicorn worker counts from its master's start.

    Source: proc(5), field starttime of /proc/PID/stat, in clock ticks since boot.
    """
    ticks = int(Path(f"/proc/{pid or os.getppid()}/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
