"""The control port: what the controller and operators may ask, and clients may not."""

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from dispatcher.keys import main as make_key
from tests.dispatcher.processes import Dispatcher, RawPod, Stub, StubHandler, exchange, post
from tests.paths import ROOT
from tests.stubs.certificates import make_pair

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("timing")]


@pytest.fixture(scope="module")
def shared() -> Iterator[Dispatcher]:
    """One dispatcher for the tests that need no flags of their own."""
    dispatcher = Dispatcher("--ml-service-url", Stub().url)
    yield dispatcher
    dispatcher.process.kill()
    dispatcher.process.communicate()


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        pytest.param({"data": b"{"}, 400, "", id="not JSON"),
        pytest.param({"data": b"[" * 100_000}, 400, "", id="deep"),
        pytest.param({"json": [1]}, 400, "JSON object", id="a list"),
        pytest.param({"json": {"ready_pods": -1, "concurrency": 1, "valid_s": 1}}, 400, "-1", id="negative"),
        pytest.param({"json": {"ready_pods": True, "concurrency": 1, "valid_s": 1}}, 400, "True", id="bool"),
        pytest.param({"json": {"ready_pods": 10**30, "concurrency": 1, "valid_s": 1}}, 400, "1000000", id="huge"),
        pytest.param({"data": b'{"ready_pods": 1, "concurrency": 1, "valid_s": NaN}'}, 400, "nan", id="nan"),
        pytest.param(
            {"json": {"ready_pods": 1, "concurrency": 1, "valid_s": 1, "problem": 5}}, 400, "text", id="problem"
        ),
        pytest.param(
            {"json": {"ready_pods": 1, "concurrency": 1, "valid_s": 1, "backends": []}},
            403,
            "--accept-backends",
            id="backends not accepted",
        ),
    ],
)
def test_a_bad_capacity_is_refused_with_rule_and_value(
    shared: Dispatcher, body: dict[str, Any], status: int, words: str
) -> None:
    answer = requests.put(f"{shared.control}/capacity", timeout=10, **body)
    assert answer.status_code == status
    assert words in answer.json()["error"]


def test_clients_cannot_set_the_capacity_nor_read_signals(shared: Dispatcher) -> None:
    for method, path in (("PUT", "/capacity"), ("GET", "/signals"), ("GET", "/queue"), ("GET", "/metrics")):
        answer = requests.request(method, shared.url + path, timeout=10)
        assert answer.status_code == 404
        assert f"{path} is on the control port {shared.control_port}" in answer.json()["error"]


def test_signals_tell_the_service_time_with_its_spread_and_samples(shared: Dispatcher) -> None:
    assert shared.post().status_code == 200
    times = shared.signals()["service_time_s"]
    assert set(times) == {"mean", "p95", "spread", "samples"}
    assert (times["mean"], times["samples"] >= 1) == (0.001, True)


def test_metrics_are_in_prometheus_format(shared: Dispatcher) -> None:
    shared.post()
    answer = requests.get(f"{shared.control}/metrics", timeout=10)
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert 'dispatcher_answers_total{status="200"}' in answer.text


def test_the_queue_shows_people_what_waits_and_what_the_controller_said(
    dispatch: Callable[..., Dispatcher], pool: ThreadPoolExecutor
) -> None:
    dispatcher = dispatch("--accept-backends", "--request-timeout-s", "6")
    assert requests.get(f"{dispatcher.control}/queue", timeout=10).json()["capacity"] is None
    waiting = pool.submit(dispatcher.post, headers={"X-Request-Priority": "low"})
    dispatcher.wait_until(lambda signals: signals["waiting"] == 1)
    dispatcher.set_capacity(ready_pods=0, concurrency=1, valid_s=3600, problem="ImagePullBackOff: no such image")
    seen = requests.get(f"{dispatcher.control}/queue", timeout=10).json()
    (low,) = [row for row in seen["classes"] if row["waiting"]]
    assert (low["priority"], low["waiting"], low["kept"]) == ("low", 1, 0)
    assert (seen["waiting"], seen["problem"]) == (1, "ImagePullBackOff: no such image")
    assert seen["held_bytes"] > 0
    assert (seen["capacity"]["requests"], seen["capacity"]["valid"]) == (0, True)
    refused = waiting.result()
    assert refused.status_code == 503
    assert "no pod became ready within --request-timeout-s 6: ImagePullBackOff" in refused.json()["error"]
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.json()["retry_after_s"] > 0


def test_with_a_key_only_its_bearer_may_use_the_control_port(
    dispatch: Callable[..., Dispatcher], tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    dispatcher = dispatch("--control-key-file", str(tmp_path / "key"))
    for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "Basic s3cret"}):
        answer = requests.get(f"{dispatcher.control}/signals", headers=headers, timeout=10)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "s3cret" not in answer.text
    bearer = {"Authorization": "Bearer s3cret"}
    assert requests.get(f"{dispatcher.control}/signals", headers=bearer, timeout=10).status_code == 200
    assert requests.get(f"{dispatcher.control}/healthz", timeout=10).status_code == 200


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--control-host", "0.0.0.0"), "--control-key-file must be set unless --control-host is a loopback address"),
        (("--control-key-file", "/nowhere"), "--control-key-file must be a readable file, got /nowhere"),
        (("--control-key-file", "/dev/null"), "--control-key-file must contain a key"),
        (("--api-keys-file", "/nowhere"), "--api-keys-file: cannot read /nowhere"),
        (("--ml-service-ca", "/nowhere"), "--ml-service-ca must be a file of CA certificates"),
        (("--ml-service-ca", __file__), "--ml-service-ca must be a file of CA certificates"),
        (("--control-port", "8001"), "--port and --control-port must differ, got 8001 for both"),
    ],
)
def test_a_setting_that_cannot_be_used_stops_the_start_with_status_2(flags: tuple[str, ...], words: str) -> None:
    command = [sys.executable, "-m", "dispatcher", "--host", "127.0.0.1", *flags]
    env = {name: value for name, value in os.environ.items() if name not in ("PORT", "HOST")}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_api_keys_admit_their_clients_and_stay_here(
    dispatch: Callable[..., Dispatcher], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets, lines = {}, []
    for name, flags in (("ada", []), ("batch", ["--high"])):
        make_key([name, *flags])
        secret, line = (shown.partition(": ")[2] for shown in capsys.readouterr().out.splitlines())
        secrets[name] = secret
        lines.append(line)
    (tmp_path / "keys").write_text("\n".join(lines))
    pod = RawPod()
    dispatcher = dispatch("--ml-service-url", pod.url, "--api-keys-file", str(tmp_path / "keys"))
    for headers in ({}, {"Authorization": "Bearer x"}, {"X-API-Key": "x"}, {"Authorization": "Basic x"}):
        answer = dispatcher.post(headers=headers)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert not pod.seen
    assert requests.get(f"{dispatcher.url}/openapi.json", timeout=10).status_code == 401
    for path in ("/", "/healthz", "/readyz", "/v2/health/live"):
        assert requests.get(dispatcher.url + path, timeout=10).status_code == 200
    ada = {"Authorization": f"Bearer {secrets['ada']}"}
    assert dispatcher.post(headers={**ada, "X-Other": "1"}).status_code == 200
    assert b"X-Other: 1" in pod.lines()
    assert secrets["ada"].encode() not in pod.seen[-1][0]
    assert (
        dispatcher.post(headers={"X-API-Key": secrets["ada"], "Authorization": "Basic for-the-pod"}).status_code == 200
    )
    assert b"Authorization: Basic for-the-pod" in pod.lines()
    refused = dispatcher.post(headers={**ada, "X-Request-Priority": "high"})
    assert (refused.status_code, "'ada' may not raise the priority" in refused.json()["error"]) == (403, True)
    raised = dispatcher.post(headers={"X-API-Key": secrets["batch"], "X-Request-Priority": "high"})
    assert raised.status_code == 200


def test_a_refusal_is_an_arrival(dispatch: Callable[..., Dispatcher]) -> None:
    dispatcher = dispatch("--accept-backends")
    dispatcher.set_capacity(ready_pods=0, concurrency=1, valid_s=60)
    assert dispatcher.post(headers={"X-Request-Timeout-Ms": "1"}).status_code == 429
    assert dispatcher.signals()["arrivals"]["count"] == 1


def test_a_refused_deadline_can_have_status_503(dispatch: Callable[..., Dispatcher]) -> None:
    answer = dispatch("--accept-backends", "--refuse-status", "503").post(headers={"X-Request-Deadline-Ms": "50"})
    assert answer.status_code == 503


def test_https_backends_are_checked_against_the_ca(dispatch: Callable[..., Dispatcher], tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), StubHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    stub = Stub()
    for name in ("delay_s", "seen", "statuses", "most_at_once", "at_once", "lock"):
        setattr(server, name, getattr(stub, name))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"https://localhost:{server.server_port}"
    assert dispatch("--ml-service-url", url, "--ml-service-ca", str(pair.cert)).post().status_code == 200
    doubtful = dispatch("--ml-service-url", url, "--request-timeout-s", "1").post()
    assert doubtful.status_code in (503, 504)
    assert len(stub.seen) == 1


def test_a_full_bound_in_bytes_refuses_with_retry_after(dispatch: Callable[..., Dispatcher]) -> None:
    dispatcher = dispatch("--accept-backends", "--queue-bytes", "1000")
    refused = exchange(dispatcher.port, post(body=bytes(2000)))
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: " in refused
    assert b"--queue-bytes" in refused
    with socket.create_connection(("127.0.0.1", dispatcher.port), timeout=30) as slow:
        slow.sendall(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n" + bytes(800))
        dispatcher.wait_until(
            lambda _: requests.get(f"{dispatcher.control}/queue", timeout=10).json()["held_bytes"] == 800
        )
    dispatcher.wait_until(lambda _: requests.get(f"{dispatcher.control}/queue", timeout=10).json()["held_bytes"] == 0)
