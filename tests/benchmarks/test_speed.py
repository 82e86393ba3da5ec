"""How fast it is: `make bench` prints this table and writes bench.json. Ratios hold where absolute times do not."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import psutil
import pytest
import requests

from autoscaler_tuning.compare import simulated_run
from autoscaler_tuning.policies import policy_named
from autoscaler_tuning.policies.elastic import Elastic
from autoscaler_tuning.simulator.world import SimConfig
from autoscaler_tuning.types import Observation
from function.engines import load_engine
from function.images import preprocess
from loadgen.arrivals import arrival_times
from loadgen.workload import read_workload
from tests.ports import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
RUNS = 5

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

Say = Callable[[str, float, str], None]


@pytest.fixture(scope="module")
def say() -> Iterator[Say]:
    """One line of the table, kept for bench.json."""
    rows: list[dict[str, object]] = []

    def line(what: str, value: float, unit: str) -> None:
        rows.append({"what": what, "value": value, "unit": unit})

    yield line
    print("\n\n" + "\n".join(f"{row['what']:<60} {row['value']:>12.4g} {row['unit']}" for row in rows))
    (ROOT / "bench.json").write_text(json.dumps(rows, indent=1) + "\n")


def test_the_machine(say: Say) -> None:
    began_s = time.perf_counter()
    sum(range(10**7))
    say("this machine: sum(range(10**7)), a good one takes 0.15", time.perf_counter() - began_s, "s")


def first_answer(model_dir: Path, engine: str, photograph: bytes) -> tuple[float, float]:
    """Seconds from the start of the process to its first answer; resident MiB of master and worker after it."""
    port = free_port()
    settings = {"MODEL_DIR": str(model_dir), "PORT": str(port), "HOST": "127.0.0.1", "ENGINE": engine}
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env = {**inherited, **settings}  # with byte code, as the image has it
    command = [sys.executable, "-m", "gunicorn", "-c", "function/gunicorn.conf.py", "function.wsgi:app"]
    began_s = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                requests.post(f"http://127.0.0.1:{port}/predict", data=photograph, timeout=30).raise_for_status()
                break
            except requests.ConnectionError:
                time.sleep(0.002)
        took_s = time.perf_counter() - began_s
        for _ in range(20):
            requests.post(f"http://127.0.0.1:{port}/predict", data=photograph, timeout=30)
        master = psutil.Process(process.pid)
        resident = sum(one.memory_info().rss for one in [master, *master.children()])
        return took_s, resident / 2**20
    finally:
        process.terminate()
        process.wait()


def test_start_to_first_answer_and_memory(model_dir: Path, samples_dir: Path, say: Say) -> None:
    photograph = (samples_dir / "cat.jpg").read_bytes()
    engines = list(FILES)
    runs = {engine: list[tuple[float, float]]() for engine in engines}
    for _ in range(RUNS):  # in turn, so that a change of the machine's speed meets all of them
        for engine in engines:
            runs[engine].append(first_answer(model_dir, engine, photograph))
    for engine in engines:
        say(f"start to first answer, {engine}", median(took_s for took_s, _ in runs[engine]), "s")
    for engine in engines:
        say(f"resident under load, {engine}", max(resident for _, resident in runs[engine]), "MiB")


def test_inference(model_dir: Path, samples_dir: Path, say: Say) -> None:
    image = preprocess((samples_dir / "cat.jpg").read_bytes(), 10**8)
    engines = {name: load_engine(name, model_dir, 1) for name in FILES}
    times_s: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(30):
        for name, engine in engines.items():
            began_s = time.perf_counter()
            engine.infer(image)
            times_s[name].append(time.perf_counter() - began_s)
    for name in engines:
        say(f"one inference, one thread, {name}", 1000 * median(times_s[name]), "ms")
        say(f"  times as fast as torch, {name}", median(times_s["torch"]) / median(times_s[name]), "x")


def test_simulation_and_decisions(say: Say) -> None:
    workload = read_workload(ROOT / "workload.txt")
    arrivals_s = np.asarray(arrival_times(workload.counts, "count", 0))
    for name in ("kpa", "hpa", "elastic"):
        began_s = time.perf_counter()
        simulated_run(policy_named(name), arrivals_s, SimConfig(), 0)
        say(f"simulation of workload.txt, {name}", time.perf_counter() - began_s, "s")
    policy = Elastic()
    began_s = time.perf_counter()
    for tick in range(2000):
        policy.decide(Observation(tick / 2, 4, 0, arrived=15 * tick, service_time_s=0.1))
    say("one decision of elastic", 1000 * (time.perf_counter() - began_s) / 2000, "ms")
