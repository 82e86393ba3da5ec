"""The frame of a tool: no terminal, pipe or interrupt ends it in a traceback, not even while it imports torch."""

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module

INTERRUPTED = 130  # as of a shell: 128 + SIGINT
PIPE_CLOSED = 141  # 128 + SIGPIPE


def run(module: str) -> int:
    """Import the tool's module and return the exit status of its main().

    Characters that the terminal's encoding lacks are written as escapes. A reader that closes the pipe, such as `head`,
    ends the tool silently with 141, an interrupt with 130, and output that cannot be written in one line with 1.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            with _no_exception_from_interrupts(module):
                main = import_module(module).main
            return int(main())
        finally:
            if sys.stdout is not None:  # closed by the shell: >&-
                sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stderr.write(f"{module}: interrupted\n")
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return PIPE_CLOSED
    except OSError as error:
        _drop_output()
        sys.stderr.write(f"{module}: {error}\n")
        return 1


@contextmanager
def _no_exception_from_interrupts(program: str) -> Iterator[None]:
    """Let an interrupt end the process at once: modules in C turn a KeyboardInterrupt into other exceptions."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # a shell ignores interrupts in background jobs
        signal.signal(signal.SIGINT, partial(_leave, program))
    yield
    signal.signal(signal.SIGINT, before)


def _leave(program: str, *_: object) -> None:
    os.write(2, f"{program}: interrupted\n".encode())
    os._exit(INTERRUPTED)


def _drop_output() -> None:
    """Send what is still buffered to /dev/null: Python would fail once more when it writes it at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
