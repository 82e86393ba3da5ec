"""Runs the load generator as a process, and passes its progress on."""

import json
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from autoscaler_tuning.live.local_stack import StackError, dies_with_parent, environment

# Exit status of the load generator for a run whose figures must not be used.
INVALID = 3
# Time after the last request for its answer and for the result, in seconds.
SPARE_S = 120

Show = Callable[[str], None]


def silent(text: str) -> None:
    """Show nothing."""


def replay(argv: Sequence[str], seconds: int, result: Path, record: Path, show: Show = silent) -> list[str]:
    """Run `python -m loadgen` with these arguments; return the reasons for which it calls its run invalid.

    record: the controller's record, whose last line tells the pods for the progress.
    Raises StackError if the load generator fails or does not end in time.
    """
    command = [sys.executable, "-m", "loadgen", *argv, "--json", str(result)]
    last = deque[str](maxlen=1)
    with subprocess.Popen(
        dies_with_parent(command), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        reader = threading.Thread(target=_pass_on, args=(process.stderr, record, last, show), daemon=True)
        reader.start()
        try:
            status = process.wait(seconds + SPARE_S)
        except subprocess.TimeoutExpired as error:
            raise StackError(f"the load generator did not end {SPARE_S} s after its last request") from error
        finally:
            process.kill()
            reader.join()
    if status not in (0, INVALID):
        raise StackError(f"the load generator exited with status {status}: {''.join(last) or 'it wrote nothing'}")
    return list(json.loads(result.read_text())["summary"]["invalid"]) if status == INVALID else []


def _pass_on(lines: IO[str], record: Path, last: deque[str], show: Show) -> None:
    for line in lines:
        last.append(line.strip())
        show(f"{line.strip()}; {pods_text(record)}")


def pods_text(record: Path) -> str:
    """Return the pods in the last line of a controller's record, for a line of progress."""
    try:
        line = json.loads(record.read_bytes().splitlines()[-1])
    except (OSError, ValueError, IndexError):
        return "pods unknown"
    age_s = time.time() - line["unix_s"]
    old = f" {age_s:.0f} s ago" if age_s > 5 else ""
    return f"{line['ready']} pods ready, {line['starting']} starting, {line['terminating']} terminating{old}"
