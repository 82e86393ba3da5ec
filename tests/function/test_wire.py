"""What reaches a pod's socket: everything that gunicorn refuses by itself has the app's form and is counted."""

import http.client
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from function.ports import address, bind_address, refuse_taken_port
from tests.function.test_server import Pod
from tests.ports import free_port

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("wire")]


@pytest.fixture(scope="module")
def pod(model_dir: Path) -> Iterator[Pod]:
    started = Pod(model_dir, POD_NAME="pod-7").ready()
    yield started
    assert "Traceback" not in started.kill()


def responses(pod: Pod, sent: bytes) -> bytes:
    """Send the bytes and return all that the pod sends until it closes."""
    received = b""
    with socket.create_connection(("127.0.0.1", pod.port), timeout=60) as connection:
        connection.sendall(sent)
        while block := connection.recv(65536):
            received += block
    return received


def counted(pod: Pod) -> int:
    """Return the number of all counted responses."""
    exported = requests.get(f"{pod.url}/metrics", timeout=60).text
    return sum(
        int(float(count)) for count in re.findall(r"^function_requests_total\{.*\} (\S+)$", exported, re.MULTILINE)
    )


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000, 431, "fields of at most 32768 bytes each", id="field"),
        pytest.param(b"GET / HTTP/1.1" + b"\r\nX: a" * 200, 431, "at most 100 header fields", id="fields"),
        pytest.param(b"GET /" + b"a" * 9000 + b" HTTP/1.1", 414, "Request Line is too large (", id="line"),
        pytest.param(b"GET / HTTP/1.1\r\nExpect: a miracle", 417, "expectation: 'a miracle'", id="expectation"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b", 400, "malformed request", id="two hosts"),
        pytest.param(b"GET / HTTP/1.1\r\nNo colon", 400, "malformed request", id="no field"),
        pytest.param(b"GET / HTTP/1.1\r\nX: a\r\n folded", 400, "malformed request", id="a folded line"),
        pytest.param(b"GET / HTTP/1.1\r\nX: a\0", 400, "malformed request", id="a zero byte"),
        pytest.param(b"GET / HTTP/7", 400, "malformed request", id="version"),
        pytest.param(b"get / HTTP/1.1", 400, "malformed request", id="method"),
        pytest.param(b"GET / /HTTP/1.1", 400, "malformed request", id="a space in the path"),
        pytest.param(b"PRI * HTTP/2.0", 400, "malformed request", id="HTTP/2"),
        pytest.param(b"POST / HTTP/1.1\r\nTransfer-Encoding: br, chunked", 400, "transfer coding", id="coding"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: -1", 400, "malformed request", id="length"),
        pytest.param("POST / HTTP/1.1\r\nContent-Length: \u00b2".encode("latin-1"), 400, "malformed", id="digit"),
        pytest.param(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 400, "use http://, not https://", id="TLS"),
    ],
)
def test_a_request_that_gunicorn_refuses_is_refused_as_by_the_app(
    pod: Pod, sent: bytes, status: int, words: str
) -> None:
    before = counted(pod)
    head, _, body = responses(pod, sent + b"\r\n\r\n").partition(b"\r\n\r\n")
    fields = head.decode().split("\r\n")
    assert fields[0].startswith(f"HTTP/1.1 {status} ")
    assert {"Content-Type: application/json", "X-Pod: pod-7", f"Content-Length: {len(body)}"} <= set(fields)
    assert words in json.loads(body)["error"]
    assert counted(pod) == before + 2  # and the request for the metrics


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Authorization": "Bearer " + "a" * 32_000}, id="a long token"),
        pytest.param({f"X-{number}": "a" * 8000 for number in range(8)}, id="64 kB in eight headers"),
        pytest.param({"X-Forwarded-Proto": "https", "X-Forwarded-Protocol": "https"}, id="two of the scheme"),
        pytest.param({"X-Forwarded-Proto": "http", "X-Forwarded-Ssl": "on"}, id="contradictory ones"),
        pytest.param({"X-Forwarded-Proto": "https", "X-Forwarded-For": "::1"}, id="of a proxy"),
        pytest.param({"SCRIPT_NAME": "/elsewhere", "PATH_INFO": "/elsewhere"}, id="of a gateway"),
        pytest.param({"X_under_score": "1"}, id="with underscores"),
    ],
)
def test_headers_that_nothing_reads_refuse_no_request(pod: Pod, headers: dict[str, str]) -> None:
    assert requests.get(f"{pod.url}/health/readiness", headers=headers, timeout=60).status_code == 200


@pytest.mark.parametrize("size", [11_000_000, 60_000_000])
def test_a_client_that_reads_only_after_it_has_sent_sees_413(pod: Pod, size: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", pod.port, timeout=60)
    connection.request("POST", "/predict", bytes(size))
    response = connection.getresponse()
    assert (response.status, response.headers["X-Pod"]) == (413, "pod-7")
    assert f"got {size}" in json.loads(response.read())["error"]


def test_a_client_that_sends_chunks_sees_413(pod: Pod) -> None:
    blocks = (bytes(1_000_000) for _ in range(30))
    response = requests.post(f"{pod.url}/predict", data=blocks, timeout=60)
    assert response.status_code == 413


@pytest.mark.parametrize(
    "refused",
    [
        pytest.param(b"X: " + b"a" * 40_000 + b"\r\nContent-Length: 20000000\r\n\r\n", id="a long header"),
        pytest.param(b"Expect: a miracle\r\nContent-Length: 20000000\r\n\r\n", id="an expectation"),
    ],
)
def test_a_client_sees_a_refusal_of_its_head_after_it_has_sent_its_body(pod: Pod, refused: bytes) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\n" + refused
    assert b'{"error":' in responses(pod, head + bytes(20_000_000))


@pytest.mark.parametrize("path", [b"/", b"/metrics", b"/nowhere"])
def test_a_malformed_rest_of_a_body_gets_no_second_response(pod: Pod, path: bytes) -> None:
    head = b"GET " + path + b" HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert responses(pod, head + b"zz\r\n").count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("path", ["http://pod", "http://pod/", "//", "/health/liveness/", "/health//liveness"])
def test_other_spellings_of_a_path_are_served(pod: Pod, path: str) -> None:
    sent = f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
    assert responses(pod, sent).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_a_pod_listens_on_an_ipv6_address(model_dir: Path, host: str) -> None:
    pod = Pod(model_dir, HOST=host)
    pod.url = f"http://[::1]:{pod.port}"
    try:
        assert requests.get(f"{pod.ready().url}/", timeout=60).json()["status"] == "alive"
    finally:
        pod.kill()


@pytest.mark.parametrize("host", ["x86_64-conda-linux-gnu", "192.0.2.1", "2001:db8::1", "..", "http://localhost"])
def test_a_host_that_is_no_address_of_this_machine_is_named(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        refuse_taken_port("function", *address({"HOST": host, "PORT": str(free_port())}))
    assert left.value.code == 2
    assert f"HOST must be an address of this machine, got {host!r}: unset it if a shell" in capsys.readouterr().err


def test_a_taken_port_of_an_ipv6_address_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server, pytest.raises(SystemExit):
        refuse_taken_port("function", "::1", str(server.getsockname()[1]))
    assert re.match(
        r"function: cannot bind \[::1\]:\d+: process \d+ \(.+\) is listening on it", capsys.readouterr().err
    )


def test_empty_settings_of_the_address_count_as_not_set() -> None:
    assert bind_address(*address({"HOST": "", "PORT": ""})) == "0.0.0.0:8000"
    assert bind_address(*address({"HOST": "[::]", "PORT": "80"})) == "[::]:80"
