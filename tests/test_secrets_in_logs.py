"""No secret appears in what any component prints, at the most talkative level of its log."""

import base64
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import requests

from tests.dispatcher.journal.redis_server import RedisServer
from tests.dispatcher.processes import Stub
from tests.paths import ROOT
from tests.ports import free_port
from tests.stubs.collector import collector
from tests.stubs.processes import running

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

SECRETS = {
    "API key": "apikey-4f9c1b72d0",
    "API key that is not valid": "wrongkey-77aa10fe",
    "control key": "controlkey-b81e55d2",
    "Redis password": "redispassword-09ac3d",
    "idempotency key": "idempotencykey-5be0",
    "sink secret": base64.b64encode(b"sink secret of 24 bytes!").decode(),
    "query": "querysecret-31d7aa",
    "collector key": "collectorkey-8d2f40",
    "sink password": "sinkpassword-6c01ee",
    "image": "bytes-of-the-image-2b7d",
}
# Runs a module with every logger at DEBUG: basicConfig() of the program does nothing where a handler is there already.
AT_DEBUG = """
import logging, runpy, sys
logging.basicConfig(level=logging.DEBUG)
logging.getLogger("test").debug("starts")
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def found_in(text: str) -> dict[str, str]:
    """Return the lines of a log that contain a secret, by the secret's name."""
    return {name: line for name, secret in SECRETS.items() for line in text.splitlines() if secret in line}


def at_debug(module: str, *words: str) -> list[str]:
    return [sys.executable, "-c", AT_DEBUG, module, *words]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with collector() as traces:
        for name, text in traces.environment.items():
            monkeypatch.setenv(name, text)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"api-key={SECRETS['collector key']}")
        yield


def test_the_dispatcher(environment: None, tmp_path: Path) -> None:
    """With keys, a Redis journal that goes away, a sink that refuses, and clients that send credentials everywhere."""
    redis = RedisServer(tmp_path, password=SECRETS["Redis password"])
    (tmp_path / "keys").write_text(f"team {sha256(SECRETS['API key'].encode()).hexdigest()}\n")
    (tmp_path / "control").write_text(SECRETS["control key"])
    (tmp_path / "sink").write_text(f"whsec_{SECRETS['sink secret']}")
    port, control_port, log, stub = free_port(), free_port(), tmp_path / "log.txt", Stub()
    stub.statuses = [503, 0, 200]
    flags = ["--host", "127.0.0.1", "--port", str(port), "--control-port", str(control_port), "--log-requests"]
    flags += ["--ml-service-url", stub.url, "--api-keys-file", str(tmp_path / "keys")]
    flags += ["--control-key-file", str(tmp_path / "control"), "--result-sink-key-file", str(tmp_path / "sink")]
    flags += ["--journal", redis.url.replace("//", f"//:{SECRETS['Redis password']}@")]
    flags += ["--result-sink", f"http://user:{SECRETS['sink password']}@127.0.0.1:{free_port()}/"]
    try:
        with running(at_debug("dispatcher", *flags), port, log=log):
            ask(f"http://127.0.0.1:{port}")
            for key in (SECRETS["control key"], "wrong"):
                headers = {"Authorization": f"Bearer {key}"}
                requests.get(f"http://127.0.0.1:{control_port}/signals", headers=headers, timeout=10)
            redis.kill()
            ask(f"http://127.0.0.1:{port}")
            time.sleep(1)
    finally:
        redis.kill()
    assert '"path":"/predict"' in log.read_text()
    assert "DEBUG" in log.read_text()
    assert found_in(log.read_text()) == {}


def ask(url: str) -> None:
    """Send secrets in all places in which clients send them, with a valid key and with another one."""
    photo = {"file": ("a.jpg", b"\xff\xd8" + SECRETS["image"].encode(), "image/jpeg")}
    for key in (SECRETS["API key"], SECRETS["API key that is not valid"]):
        for field_of_key in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
            for prefer in ({}, {"Prefer": "respond-async"}):
                headers = {**field_of_key, **prefer, "Idempotency-Key": SECRETS["idempotency key"]}
                target = f"{url}/predict?api_key={SECRETS['query']}"
                requests.post(target, files=photo, headers=headers, timeout=60)
                requests.get(f"{url}/v2?token={SECRETS['query']}", headers=headers, timeout=60)
    requests.post(f"{url}/predict?{SECRETS['query']}", headers={"X-API-Key": SECRETS["API key"]}, timeout=60)


def test_a_pod(environment: None, tmp_path: Path, model_dir: Path, samples_dir: Path) -> None:
    """The pod gets what a client that goes around the dispatcher sends it."""
    port, log = free_port(), tmp_path / "log.txt"
    with pytest.MonkeyPatch.context() as patch:
        for name, text in {"PORT": str(port), "HOST": "127.0.0.1", "MODEL_DIR": str(model_dir)}.items():
            patch.setenv(name, text)
        patch.setenv("LOG_LEVEL", "debug")
        patch.setenv("LOG_REQUESTS", "1")
        command = [sys.executable, "-m", "gunicorn", "-c", "function/gunicorn.conf.py", "function.wsgi:app"]
        with running(command, port, log=log):
            ask(f"http://127.0.0.1:{port}")
            requests.post(f"http://127.0.0.1:{port}/predict", data=(samples_dir / "cat.jpg").read_bytes(), timeout=60)
            time.sleep(1)
    assert '"path":"/predict"' in log.read_text()
    assert "[DEBUG]" in log.read_text()
    assert found_in(log.read_text()) == {}


def test_the_controller(environment: None, tmp_path: Path, model_dir: Path) -> None:
    """With the key of a dispatcher that it can use, and with that of another one."""
    port, control_port = free_port(), free_port()
    flags = ["--host", "127.0.0.1", "--port", str(port), "--control-port", str(control_port), "--accept-backends"]
    for name, key in (("right", SECRETS["control key"]), ("wrong", SECRETS["API key"])):
        (tmp_path / "control").write_text(SECRETS["control key"])
        (tmp_path / "key").write_text(key)
        log, own_port = tmp_path / f"{name}.txt", free_port()
        control = ["control", "--target", "local", "--dispatcher", f"http://127.0.0.1:{control_port}"]
        control += ["--dispatcher-key-file", str(tmp_path / "key"), "--port", str(own_port), "--host", "127.0.0.1"]
        control += ["--model-dir", str(model_dir), "--log-dir", str(tmp_path), "--for-s", "4"]
        dispatcher = [sys.executable, "-m", "dispatcher", *flags, "--control-key-file", str(tmp_path / "control")]
        with running(dispatcher, port), log.open("wb") as printed:
            command = at_debug("autoscaler_tuning", *control)
            subprocess.run(command, cwd=ROOT, stdout=printed, stderr=printed, timeout=120, check=False)
        assert "DEBUG" in log.read_text()
        assert found_in(log.read_text()) == {}


def test_loadgen(environment: None, tmp_path: Path) -> None:
    """With a key, and a URL with secrets, against a server that answers and one that is not there."""
    (tmp_path / "workload.txt").write_text("5\n")
    for url in (Stub().url, f"http://127.0.0.1:{free_port()}"):
        words = [
            f"{url}/predict?api_key={SECRETS['query']}",
            "--workload",
            str(tmp_path / "workload.txt"),
            "--trace",
            "1",
        ]
        words += [
            "--key",
            SECRETS["API key"],
            "--header",
            f"Idempotency-Key: {SECRETS['idempotency key']}",
            "--verbose",
        ]
        done = subprocess.run(
            at_debug("loadgen", *words), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
        )
        assert "DEBUG" in done.stderr
        assert found_in(done.stdout + done.stderr) == {}
