"""The phases of a cold start, timed from the start of the process, and a background thread for the engine's part."""

import ctypes
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# interpreter: from the start of the process to our first line, including gunicorn's own modules.
# imports: our modules, Flask and numpy. engine: loading its native library. weights: verifying and mapping them.
# warmup: one inference. ready: the whole start. The engine's phases run in parallel with the imports, so the sum of the
# phases exceeds `ready`.
PHASES = ("interpreter", "imports", "engine", "weights", "warmup", "ready")
# The native library of each engine, whose loading takes most of the time of the engine's import.
NATIVE = {"onnxruntime": "capi/onnxruntime_pybind11_state*.so"}


class ColdStart:
    """The timer of a cold start, created by the first line of ours that runs."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self.phases_s: dict[str, float] = {"interpreter": process_age_s(self._pid)}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the block to the phase."""
        began_s = time.perf_counter()
        yield
        self.phases_s[name] = self.phases_s.get(name, 0.0) + time.perf_counter() - began_s

    def ready(self) -> None:
        """Record that the pod is ready for requests."""
        self.phases_s["ready"] = process_age_s(self._pid)

    def line(self) -> str:
        """Return the phases as one line for the log."""
        phases = ", ".join(f"{phase} {self.phases_s[phase]:.3f}" for phase in PHASES[:-1] if phase in self.phases_s)
        return f"ready {self.phases_s['ready']:.3f} s after process start: {phases}"


@cache
def cold_start() -> ColdStart:
    """Return the timer of this process; a gunicorn worker inherits its master's."""
    return ColdStart()


class Background:
    """One thread that starts the engine step by step while the main thread imports modules.

    Loading a library, hashing and inference do not hold the interpreter lock. With two CPUs they add no time to the
    start, and with one CPU they take no longer than in sequence. close() ends the thread before the pod is ready.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "cold-start")

    def start(self, step: Callable[[], T]) -> "Future[T]":
        return self._pool.submit(step)

    def close(self) -> None:
        self._pool.shutdown(wait=True)


def load_native(engine: str) -> None:
    """Map and relocate the engine's native library with ctypes, which unlike `import` releases the interpreter lock."""
    spec = find_spec(engine)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for library in Path(folder).glob(NATIVE.get(engine, "no library")):
            ctypes.CDLL(str(library))


def process_age_s(pid: int) -> float:
    """Return the seconds since the process was started, to about 0.01 s.

    Source: proc(5), field starttime of /proc/PID/stat, in clock ticks since boot.
    """
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
