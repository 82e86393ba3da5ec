"""How late requests are sent, and what a stall looks like: loadgen beside hey, wrk and vegeta, one server, one run.

The lag is seen by the server, so that no tool is believed: arrivals against the straight line of the rate that was
asked for, drawn through the arrival that was earliest by it. BENCH_SECONDS: length of each run. BENCH_PREFIX: put before
the server and every tool alike, such as `chrt -f 10` on a machine that others use too.
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
class FigureDiff:
    """lag: seen by the server; own_lag_p99_ms: what the tool says itself; nan: it cannot say."""

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
def rows() -> Iterator[Callable[[str, FigureDiff], None]]:
    """Keeps rows; prints the tables and writes bench-loadgen.json at the end."""
    tables: dict[str, list[FigureDiff]] = {}

    def keep(title: str, row: FigureDiff) -> None:
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
    """Its URL; what arrived when is in log afterwards."""
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
    """What a tool prints."""
    done = subprocess.run([*PREFIX, *argv], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode in (0, 3), done.stderr
    return done.stdout


def loadgen(url: str, image: Path, rate: int, seconds: int) -> Figures:
    """Even, from one process."""
    out = image.parent / "out.json"
    workload = f"step:seconds={seconds},low={rate},high={rate},noise=none"
    ran(sys.executable, "-m", "loadgen", url, "--workload", workload, "--images", str(image.parent), "--mode", "even",
        "--protocol", "raw", "--processes", "1", "--quiet", "--json", str(out))  # fmt: skip
    summary = json.loads(out.read_text())["summary"]
    latency, lag = summary["latency"], summary["lag"]
    return {"p50": 1000 * latency["p50_s"], "p99": 1000 * latency["p99_s"], "own": 1000 * lag["p99_s"]}


def vegeta(url: str, image: Path, rate: int, seconds: int) -> Figures:
    """Constant rate, open loop."""
    attack = f"vegeta attack -rate {rate} -duration {seconds}s -body {image} | vegeta report -type json"
    latencies = json.loads(ran("bash", "-c", f"echo POST {url} | {attack}"))["latencies"]
    return {"p50": latencies["50th"] / 1e6, "p99": latencies["99th"] / 1e6}


def hey(url: str, image: Path, rate: int, seconds: int, workers: int = 20) -> Figures:
    """A closed loop with a limit for each worker."""
    each = str(rate / workers)
    out = ran("hey", "-z", f"{seconds}s", "-c", str(workers), "-q", each, "-m", "POST", "-D", str(image), url)
    return {f"p{share}": 1000 * float(_found(rf"{share}% in ([0-9.]+) secs", out)) for share in (50, 99)}


def wrk(url: str, image: Path, _: int, seconds: int, workers: int = 2) -> Figures:
    """A closed loop without a rate."""
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


def photograph(folder: Path, size_bytes: int) -> Path:
    """A PNG of about so many bytes, of noise, since that does not compress."""
    side = max(4, round((size_bytes / 3) ** 0.5))
    noise = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    return folder / "noise.png"


@dataclass(frozen=True, slots=True)
class Case:
    """What a tool is asked for; stall: when the server stops, and for how long."""

    image: Path
    rate: int
    seconds: int
    stall: tuple[float, float] = (0, 0)


def measured(tool: str, run: Callable[[str, Path, int, int], Figures], case: Case) -> FigureDiff:
    """One run of one tool against a server of its own."""
    if tool in HOW_TO_GET and not shutil.which(tool):
        pytest.skip(f"needs {tool}: {HOW_TO_GET[tool]}")
    log = case.image.parent / "arrivals.json"
    with fast_server(log, case.stall) as url:
        figures = run(url, case.image, case.rate, case.seconds)
    arrived_s = np.array(json.loads(log.read_text()))
    lag_ms = 1000 * (arrived_s - np.arange(arrived_s.size) / case.rate)
    asked_rps, lag = float(case.rate), np.percentile(lag_ms - lag_ms.min(), (50, 99))
    if tool == "wrk":  # it asks for no rate, so nothing can be late
        asked_rps, lag = NAN, np.array([NAN, NAN])
    got_rps = (arrived_s.size - 1) / float(arrived_s[-1] - arrived_s[0])
    own = figures.get("own", NAN)
    return FigureDiff(tool, asked_rps, got_rps, float(lag[0]), float(lag[1]), own, figures["p50"], figures["p99"])


@pytest.mark.parametrize(("rate", "size_bytes"), [(2000, 1000), (440, 100_000)], ids=["1 kB", "100 kB"])
@pytest.mark.parametrize("tool", TOOLS)
def test_how_late_requests_arrive(
    rows: Callable[[str, FigureDiff], None], tmp_path: Path, tool: str, rate: int, size_bytes: int
) -> None:
    image = photograph(tmp_path, size_bytes)
    row = measured(tool, TOOLS[tool], Case(image, rate, SECONDS))
    rows(f"{rate}/s of {size_bytes // 1000} kB, evenly", row)
    assert row.got_rps > 0


@pytest.mark.parametrize("tool", TOOLS)
def test_what_a_stall_of_one_second_looks_like(
    rows: Callable[[str, FigureDiff], None], tmp_path: Path, tool: str
) -> None:
    """100/s for 10 s, and the server stops for 1 s: a tenth of all due requests wait, half a second on average."""
    run = partial(hey, workers=2) if tool == "hey" else TOOLS[tool]
    row = measured(tool, run, Case(photograph(tmp_path, 1000), 100, 10, stall=(3, 1)))
    rows("100/s for 10 s against a server that stops once for 1 s: p99 of what is due is 0.9 s", row)
    if tool == "loadgen":
        assert row.latency_p99_ms > 800
