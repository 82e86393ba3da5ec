"""No terminal, pipe or interrupt ends one of our commands in a traceback."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from tests.paths import ROOT

pytestmark = pytest.mark.integration

# Each command with a module that it imports late.
COMMANDS = {
    "knative": "yaml",
    "autoscaler_tuning": "numpy",
    "function.tools.export": "torch",
    "function.tools.matrix": "numpy",
    "function.tools.prepare": "onnxruntime",
    "function.tools.trial": "numpy",
}
INTERRUPT = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
FRAMES = {
    "knative": "from knative.console import run; raise SystemExit(run('frame', lambda: main))",
    "function": "sys.modules['frame'] = sys.modules['__main__']; from function.tools.console import run; raise SystemExit(run('frame'))",
}


def allow_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def framed(
    frame: str,
    body: str,
    stdout: int | IO[str] | None = subprocess.PIPE,
    encoding: str = "utf-8",
    before: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a main function with this body in one of the two frames."""
    code = f"import os, signal, sys\ndef main():\n    {body}\n    return 7\n{FRAMES[frame]}"
    return subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )


@pytest.mark.parametrize("module", COMMANDS)
def test_an_interrupt_during_the_imports_is_one_line(module: str, tmp_path: Path) -> None:
    (tmp_path / f"{COMMANDS[module]}.py").write_text(INTERRUPT)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", module],
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        preexec_fn=allow_interrupts,
    )
    assert (done.returncode, done.stderr) == (130, f"{module}: interrupted\n")


@pytest.mark.parametrize("frame", FRAMES)
def test_an_interrupt_during_the_work_is_one_line(frame: str) -> None:
    done = framed(frame, "os.kill(os.getpid(), signal.SIGINT)", before=allow_interrupts)
    assert (done.returncode, done.stderr) == (130, "frame: interrupted\n")


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("many", [1, 100_000], ids=["little", "much"])
def test_a_closed_pipe_ends_a_command_silently(frame: str, many: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = framed(frame, f"print('x' * {many})", stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("many", [1, 100_000], ids=["little", "much"])
def test_a_full_disk_is_one_line(frame: str, many: int) -> None:
    with Path("/dev/full").open("w") as full:
        done = framed(frame, f"print('x' * {many})", stdout=full)
    assert (done.returncode, done.stderr) == (1, "frame: [Errno 28] No space left on device\n")


@pytest.mark.parametrize("frame", FRAMES)
def test_what_the_terminal_cannot_show_is_escaped(frame: str) -> None:
    done = framed(frame, "print('5 \\u00b5s \\u2265'); print('\\u2265', file=sys.stderr)", encoding="ascii")
    assert (done.returncode, done.stdout, done.stderr) == (7, "5 \\xb5s \\u2265\n", "\\u2265\n")


@pytest.mark.parametrize("frame", FRAMES)
def test_a_closed_standard_output_is_no_error(frame: str) -> None:
    done = framed(frame, "print('x')", stdout=None, before=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (7, "")


def test_the_manifest_may_go_into_a_closed_pipe() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        render = [sys.executable, "-m", "knative", "render"]
        done = subprocess.run(render, check=False, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
