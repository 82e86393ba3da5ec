"""Compares loadgen with hey, wrk and vegeta against one server: how late requests arrive, and how a stall appears.

The server measures the lag, so that no tool has to be trusted. The lag of an arrival is its distance from a straight
line with the slope of the requested rate through the arrival that is earliest relative to it.
BENCH_SECONDS: length of each run. BENCH_PREFIX: put in front of the server and every tool, such as `chrt -f 10` on a
shared machine.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.paths import ROOT
from tests.ports import free_port, wait_for_port

SECONDS = int(os.environ.get("BENCH_SECONDS", "60"))
PREFIX = shlex.split(os.environ.get("BENCH_PREFIX", ""))
HOW_TO_GET = {
    "hey": "apt-get install hey",
    "wrk": "apt-get install wrk",
    "vegeta": "go install github.com/tsenart/vegeta/v12@latest",
}

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]


@dataclass(frozen=True, slots=True)
class ToolFigures:
    """The figures of a tool; lag: measured by the server; own_lag_p99_ms: reported by the tool, nan if it reports none."""

    tool: str
    asked_rps: float
    got_rps: float
    lag_p50_ms: float
    lag_p99_ms: float
    own_lag_p99_ms: float
    latency_p50_ms: float
    latency_p99_ms: float


Figures = dict[str, float]
NAN = float("nan")


@pytest.fixture(scope="module")
def rows() -> Iterator[Callable[[str, ToolFigures], None]]:
    """Return a function that keeps a row; print the tables and write bench-loadgen.json at the end."""
    tables: dict[str, list[ToolFigures]] = {}

    def keep(title: str, row: ToolFigures) -> None:
        tables.setdefault(title, []).append(row)

    yield keep
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"\n\n{SECONDS} s each, prefix {PREFIX or 'none'}, load average at the end {load}")
    for title, table in tables.items():
        print(f"\n{title}\n{'tool':<8}{'asked/s':>9}{'got/s':>9}   lag p50, p99 ms (own p99)   latency p50, p99 ms")
        for row in table:
            lag = f"{row.lag_p50_ms:9.2f} {row.lag_p99_ms:9.2f} ({row.own_lag_p99_ms:.2f})"
            latency = f"{row.latency_p50_ms:9.2f} {row.latency_p99_ms:9.2f}"
            print(f"{row.tool:<8}{row.asked_rps:>9.0f}{row.got_rps:>9.0f}{lag:>29}{latency:>22}")
    document = {title: [asdict(row) for row in table] for title, table in tables.items()}
    (ROOT / "bench-loadgen.json").write_text(json.dumps(document, indent=1) + "\n")


@contextmanager
def fast_server(log: Path, stall: tuple[float, float] = (0, 0)) -> Iterator[str]:
    """Start a server and yield its URL; afterwards, log contains the arrival times."""
    port = free_port()
    words = [str(port), str(stall[0]), str(stall[1]), str(log)]
    process = subprocess.Popen([*PREFIX, sys.executable, "-m", "tests.benchmarks.fast_server", *words], cwd=ROOT)
    try:
        wait_for_port(port)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(30)


def ran(*argv: str) -> str:
    """Run a tool and return its output."""
    done = subprocess.run([*PREFIX, *argv], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode in (0, 3), done.stderr
    return done.stdout


def loadgen(url: str, image: Path, rate: int, seconds: int) -> Figures:
    """Run loadgen with even gaps from one process."""
    out = image.parent / "out.json"
    workload = f"step:seconds={seconds},low={rate},high={rate},noise=none"
    ran(sys.executable, "-m", "loadgen", url, "--workload", workload, "--images", str(image.parent), "--mode", "even",
        "--protocol", "raw", "--processes", "1", "--quiet", "--json", str(out))  # fmt: skip
    summary = json.loads(out.read_text())["summary"]
    latency, lag = summary["latency"], summary["lag"]
    return {"p50": 1000 * latency["p50_s"], "p99": 1000 * latency["p99_s"], "own": 1000 * lag["p99_s"]}


def vegeta(url: str, image: Path, rate: int, seconds: int) -> Figures:
    """Run vegeta, an open loop with a constant rate."""
    attack = f"vegeta attack -rate {rate} -duration {seconds}s -body {image} | vegeta report -type json"
    latencies = json.loads(ran("bash", "-c", f"echo POST {url} | {attack}"))["latencies"]
    return {"p50": latencies["50th"] / 1e6, "p99": latencies["99th"] / 1e6}


def hey(url: str, image: Path, rate: int, seconds: int, workers: int = 20) -> Figures:
    """Run hey, a closed loop with a rate limit for each worker."""
    each = str(rate / workers)
    out = ran("hey", "-z", f"{seconds}s", "-c", str(workers), "-q", each, "-m", "POST", "-D", str(image), url)
    return {f"p{share}": 1000 * float(_found(rf"{share}% in ([0-9.]+) secs", out)) for share in (50, 99)}


def wrk(url: str, image: Path, _: int, seconds: int, workers: int = 2) -> Figures:
    """Run wrk, a closed loop without a rate."""
    script = image.with_suffix(".lua")
    script.write_text(f'wrk.method = "POST"\nlocal f = io.open("{image}", "rb")\nwrk.body = f:read("*a")\nf:close()\n')
    out = ran("wrk", "--latency", "-t1", f"-c{workers}", f"-d{seconds}s", "-s", str(script), url)
    units = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    found = {share: re.search(rf"{share}%\s+([0-9.]+)(us|ms|s)", out) for share in (50, 99)}
    return {f"p{share}": float(match[1]) * units[match[2]] for share, match in found.items() if match}


TOOLS: dict[str, Callable[[str, Path, int, int], Figures]] = {
    "loadgen": loadgen,
    "vegeta": vegeta,
    "hey": hey,
    "wrk": wrk,
}


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, text
    return match[1]


def noise_image(folder: Path, size_bytes: int) -> Path:
    """Write a PNG of about size_bytes bytes; it contains noise, which does not compress."""
    side = max(4, round((size_bytes / 3) ** 0.5))
    noise = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    return folder / "noise.png"


@dataclass(frozen=True, slots=True)
class Case:
    """The load that a tool generates; stall: when the server stops, and for how long."""

    image: Path
    rate: int
    seconds: int
    stall: tuple[float, float] = (0, 0)


def measured(tool: str, run: Callable[[str, Path, int, int], Figures], case: Case) -> ToolFigures:
    """Run a tool once against a server of its own and return its figures."""
    if tool in HOW_TO_GET and not shutil.which(tool):
        pytest.skip(f"needs {tool}: {HOW_TO_GET[tool]}")
    log = case.image.parent / "arrivals.json"
    with fast_server(log, case.stall) as url:
        figures = run(url, case.image, case.rate, case.seconds)
    arrived_s = np.array(json.loads(log.read_text()))
    lag_ms = 1000 * (arrived_s - np.arange(arrived_s.size) / case.rate)
    asked_rps, lag = float(case.rate), np.percentile(lag_ms - lag_ms.min(), (50, 99))
    if tool == "wrk":  # it has no requested rate, so nothing can be late
        asked_rps, lag = NAN, np.array([NAN, NAN])
    got_rps = (arrived_s.size - 1) / float(arrived_s[-1] - arrived_s[0])
    own = figures.get("own", NAN)
    return ToolFigures(tool, asked_rps, got_rps, float(lag[0]), float(lag[1]), own, figures["p50"], figures["p99"])


@pytest.mark.parametrize(("rate", "size_bytes"), [(2000, 1000), (440, 100_000)], ids=["1 kB", "100 kB"])
@pytest.mark.parametrize("tool", TOOLS)
def test_how_late_requests_arrive(
    rows: Callable[[str, ToolFigures], None], tmp_path: Path, tool: str, rate: int, size_bytes: int
) -> None:
    image = noise_image(tmp_path, size_bytes)
    row = measured(tool, TOOLS[tool], Case(image, rate, SECONDS))
    rows(f"{rate}/s of {size_bytes // 1000} kB, evenly", row)
    assert row.got_rps > 0


@pytest.mark.parametrize("tool", TOOLS)
def test_how_a_stall_of_one_second_appears(rows: Callable[[str, ToolFigures], None], tmp_path: Path, tool: str) -> None:
    """At 100/s for 10 s with a stall of 1 s, a tenth of the requests wait, for half a second on average."""
    run = partial(hey, workers=2) if tool == "hey" else TOOLS[tool]
    row = measured(tool, run, Case(noise_image(tmp_path, 1000), 100, 10, stall=(3, 1)))
    rows("100/s for 10 s against a server that stops once for 1 s: the p99 of all requests due is 0.9 s", row)
    if tool == "loadgen":
        assert row.latency_p99_ms > 800
