"""The phases of a cold start, timed from the start of the process, and the engine's part of it beside the imports."""

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

# interpreter: from the process's start to our first line; under gunicorn its own modules are in it.
# imports: ours, Flask's and numpy's. engine: its native library. weights: verified and mapped. warmup: one inference.
# ready: all of it, from the process's start. Phases of the engine run beside the imports, so they add up to more.
PHASES = ("interpreter", "imports", "engine", "weights", "warmup", "ready")
# The library that importing the engine loads, by far the largest part of that import.
NATIVE = {"onnxruntime": "capi/onnxruntime_pybind11_state*.so"}


class ColdStart:
    """Made with the first line of ours that runs."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self.phases_s: dict[str, float] = {"interpreter": process_age_s(self._pid)}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what is done inside, in addition to what the phase took before."""
        began_s = time.perf_counter()
        yield
        self.phases_s[name] = self.phases_s.get(name, 0.0) + time.perf_counter() - began_s

    def ready(self) -> None:
        """The next request is answered."""
        self.phases_s["ready"] = process_age_s(self._pid)

    def line(self) -> str:
        """For one line of the log."""
        phases = ", ".join(f"{phase} {self.phases_s[phase]:.3f}" for phase in PHASES[:-1] if phase in self.phases_s)
        return f"ready {self.phases_s['ready']:.3f} s after its start: {phases}"


@cache
def cold_start() -> ColdStart:
    """The one of this process; a gunicorn worker has its master's."""
    return ColdStart()


class Background:
    """One thread that brings the engine up, step by step, while the interpreter is busy with imports.

    Loading a library, hashing and inference need no interpreter, so that on two CPUs they cost no time, on one none
    more. close() ends the thread: nothing of it is left once the pod is ready.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "cold-start")

    def start(self, step: Callable[[], T]) -> "Future[T]":
        return self._pool.submit(step)

    def close(self) -> None:
        self._pool.shutdown(wait=True)


def load_native(engine: str) -> None:
    """Map and relocate the engine's library, which ctypes does without holding the interpreter; `import` holds it."""
    spec = find_spec(engine)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for library in Path(folder).glob(NATIVE.get(engine, "no library")):
            ctypes.CDLL(str(library))


def process_age_s(pid: int) -> float:
    """Seconds since the process was started, to about 0.01 s.

    Source: proc(5), field starttime of /proc/PID/stat, in clock ticks since boot.
    """
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
