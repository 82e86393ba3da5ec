"""One pod: from the start of its process to the first answer, images a second, memory; beside the usual stack.

Throughput is told in images per CPU second of all of a server's processes, kept on one CPU as a pod is: what one core
gives, and steady where others use the machine too. Who asks has the other CPUs.
"""

import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import pytest
from PIL import Image

from function.classifier import Classifier
from function.images import preprocess
from function.tools.matrix import Trial, alone_s
from function.variants import ORT_FLOAT32, ORT_INT8, Variant
from tests.benchmarks.conftest import Say
from tests.benchmarks.servers import OURS, USUAL, Server, ours, running, usual
from tests.function.loading import loaded_classifier
from tests.paths import ROOT

STARTS, ROUNDS, IMAGES = 7, 9, 40
CLIENTS = (1, 4)

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def model(model_dir: Path, samples_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With int8, calibrated on the samples: enough for speed, not for agreement."""
    folder = tmp_path_factory.mktemp("bench") / "model"
    shutil.copytree(model_dir, folder)
    command = [
        sys.executable,
        "-m",
        "function.tools.export",
        "--int8",
        "--calibrate",
        str(samples_dir),
        "--out",
        str(folder),
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


def resized(path: Path, width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def first_answer(command: tuple[str, ...], settings: dict[str, str], photograph: bytes) -> tuple[float, float]:
    """Seconds from the start of the process to its first answer over HTTP, and CPU seconds that it took."""
    with running(command, settings) as server:
        server.wait()
        server.ask([photograph])
        return time.perf_counter() - server.began_s, server.cpu_s()


def test_from_the_start_to_the_first_answer(model: Path, samples_dir: Path, say: Say) -> None:
    photograph = (samples_dir / "cat.jpg").read_bytes()
    trial = Trial(model, (samples_dir / "cat.jpg",), 1, 1)
    services: dict[str, Callable[[], tuple[float, float]]] = {
        "float32": lambda: first_answer(OURS, ours(model), photograph),
        "int8": lambda: first_answer(OURS, ours(model, "onnxruntime", "int8"), photograph),
        "openvino float32": lambda: first_answer(OURS, ours(model, "openvino"), photograph),
        "usual stack": lambda: first_answer(USUAL, usual(model), photograph),
    }
    engines: dict[str, Variant] = {"float32": ORT_FLOAT32, "int8": ORT_INT8}
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in services}
    alone: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(STARTS):  # in turn, so that a change of the machine's speed meets all of them
        for name, measure in services.items():
            took[name].append(measure())
        for name, variant in engines.items():
            alone[name].append(alone_s(trial, variant))
    for name, runs in took.items():
        say(f"start to first answer over HTTP, {name}", median(wall_s for wall_s, _ in runs), "s")
        say("  CPU of it", median(cpu_s for _, cpu_s in runs), "s")
    for name, seconds in alone.items():
        say(f"start to first answer, engine alone, {name}", median(seconds), "s")
        over = median(wall_s - own_s for (wall_s, _), own_s in zip(took[name], seconds, strict=True))
        say("  HTTP, Flask and gunicorn on top of it", over, "s")


@contextmanager
def kept_on(cpus: set[int]) -> Iterator[None]:
    """This thread."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def rate_of_loop(classifier: Classifier, photographs: list[bytes]) -> float:
    """Images per CPU second of this process."""
    began_s = time.process_time()
    for photograph in photographs:
        classifier.classify(photograph)
    return len(photographs) / (time.process_time() - began_s)


def rate_of_server(server: Server, photographs: list[bytes], clients: int) -> float:
    """Images per CPU second of its processes."""
    before_s = server.cpu_s()
    server.ask(photographs, clients)
    return len(photographs) / (server.cpu_s() - before_s)


@pytest.mark.parametrize(("width", "height"), [(500, 375), (1920, 1440)], ids=["500x375", "1920x1440"])
def test_images_per_cpu_second(model: Path, samples_dir: Path, say: Say, width: int, height: int) -> None:
    """In each round new processes: where the memory of one happens to lie makes it up to 15 % faster or slower.

    One client is what a pod has under containerConcurrency 1; several keep a server busy, and make it share its CPU.
    """
    photographs = [resized(path, width, height) for path in sorted(samples_dir.glob("*.jpg"))]
    asked = [photographs[index % len(photographs)] for index in range(IMAGES)]
    float32 = loaded_classifier(model)
    services = {
        "float32": (OURS, ours(model)),
        "int8": (OURS, ours(model, "onnxruntime", "int8")),
        "usual stack": (USUAL, usual(model)),
    }
    bare_loop: list[float] = []
    rates: dict[tuple[str, int], list[float]] = {(name, clients): [] for clients in CLIENTS for name in services}
    resident: dict[str, list[float]] = {name: [] for name in services}
    *others, served = sorted(os.sched_getaffinity(0))
    with kept_on(set(others) or {served}):
        for _ in range(ROUNDS):
            with kept_on({served}):
                bare_loop.append(rate_of_loop(float32, asked))
            for name, (command, settings) in services.items():
                with running(command, settings, served) as server:
                    server.wait()
                    server.ask(asked[:8])
                    for clients in CLIENTS:
                        rates[name, clients].append(rate_of_server(server, asked, clients))
                    resident[name].append(server.resident_mib())
    say(f"{width}x{height}, images per CPU second, bare loop", median(bare_loop), "1/s")
    for clients in CLIENTS:
        for name in services:
            say(f"{width}x{height}, {clients} at a time, {name}", median(rates[name, clients]), "1/s")
        say("  float32 over HTTP, times the bare loop", median_ratio(rates["float32", clients], bare_loop), "x")
        for name in ("float32", "int8"):
            ratio = median_ratio(rates[name, clients], rates["usual stack", clients])
            say(f"  {name} over HTTP, times the usual stack", ratio, "x")
    for name, mib in resident.items():
        say(f"  resident under load, all processes, {name}", median(mib), "MiB")


def median_ratio(mine: list[float], theirs: list[float]) -> float:
    """Of what was measured in the same round."""
    return median(one / other for one, other in zip(mine, theirs, strict=True))


def test_pre_processing(samples_dir: Path, say: Say) -> None:
    for width, height in ((1920, 1440), (500, 375)):
        bodies = [resized(path, width, height) for path in sorted(samples_dir.glob("*.jpg"))]
        for exact in (False, True):
            took_s = []
            for body in bodies * 10:
                began_s = time.process_time()
                preprocess(body, 10**8, exact)
                took_s.append(time.process_time() - began_s)
            say(f"{width}x{height} before inference{', decoded in full' if exact else ''}", 1000 * median(took_s), "ms")
