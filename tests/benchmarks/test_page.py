"""What the live page costs the controller: CPU time without a viewer, with one and with fifty, in turn.

The controller scales nothing; it reads a dispatcher that answers 100 lines of metrics a second. A viewer reads the
stream of events as a browser does.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import psutil
import pytest
import requests

from tests.autoscaler_tuning.live.page.made import full_history, served
from tests.benchmarks.tables import show
from tests.paths import ROOT
from tests.ports import free_port, wait_for
from tests.stubs import browser as browsers

ROUNDS, ROUND_S = 3, 15.0

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]


@pytest.fixture
def controller(model_dir: Path, tmp_path: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Run a dispatcher and a controller of no pods; yield the controller's address and process."""
    port, control_port, page_port = free_port(), free_port(), free_port()
    ours = ("--host", "127.0.0.1", "--port", str(port), "--control-port", str(control_port), "--accept-backends")
    control = ("control", "--target", "local", "--dispatcher", f"http://127.0.0.1:{control_port}")
    where = ("--host", "127.0.0.1", "--port", str(page_port), "--model-dir", str(model_dir), "--log-dir", str(tmp_path))
    with ExitStack() as stack:
        processes = []
        for argv in (("dispatcher", *ours), ("autoscaler_tuning", *control, *where)):
            process = subprocess.Popen([sys.executable, "-m", *argv], cwd=ROOT, stderr=subprocess.DEVNULL)
            stack.callback(process.wait, 60)
            stack.callback(process.terminate)
            processes.append(process)
        wait_for(f"http://127.0.0.1:{page_port}/")
        yield f"http://127.0.0.1:{page_port}", psutil.Process(processes[1].pid)


def busy_share(process: psutil.Process, url: str, viewers: int) -> float:
    """Return the share of a core that a process uses with so many viewers."""
    with ExitStack() as stack:
        for _ in range(viewers):
            stack.enter_context(requests.get(f"{url}/page/events", stream=True, timeout=60))
        time.sleep(1)
        before_s, began_s = sum(process.cpu_times()[:2]), time.monotonic()
        time.sleep(ROUND_S)
        return float(sum(process.cpu_times()[:2]) - before_s) / (time.monotonic() - began_s)


def test_cost_of_viewers(controller: tuple[str, psutil.Process]) -> None:
    """Goals: under 1 % of a core with one viewer and 3 % with fifty, over the controller without one."""
    url, process = controller
    shares: dict[int, list[float]] = {0: [], 1: [], 50: []}
    for _ in range(ROUNDS):
        for viewers, found in shares.items():
            found.append(busy_share(process, url, viewers))
    alone = median(shares[0])
    rows = [
        {
            "viewers": viewers,
            "% of a core": 100 * median(found),
            "% for the page's viewers": 100 * (median(found) - alone),
        }
        for viewers, found in shares.items()
    ]
    show("page", f"the controller with the page, medians of {ROUNDS} rounds of {ROUND_S:g} s", rows)


def test_first_paint() -> None:
    """Goal: under 1 s on loopback with an hour of history."""
    if reason := browsers.why_not():
        pytest.skip(reason)
    took_s = []
    with served(full_history(3600)) as (url, _), browsers.browser() as tab:
        for _ in range(5):
            tab.show(f"{url}/")
            tab.wait_for("document.querySelectorAll('#plots canvas').length === 4")
            paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"
            took_s.append(float(tab.wait_for(paint)))
    show("page", "the page with an hour of history", [{"first contentful paint, s": median(took_s)}])
