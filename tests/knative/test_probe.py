"""Readiness probes: which responses count, and that a probe never blocks."""

import socket

import pytest

from knative.probe import PROBE_TIMEOUT_S, ReadinessProbe, says_ready


@pytest.mark.parametrize(
    ("head", "ready"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Pod: pod-1\r\n\r\n", True, id="a 200 from this pod"),
        pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\nbody", True, id="a 200 without a name"),
        pytest.param(b"HTTP/1.1 200\r\n\r\n", True, id="no reason phrase"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx-pod: pod-2\r\n\r\n", False, id="another pod on its port"),
        pytest.param(b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False, id="not ready yet"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", False, id="another 2xx"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", False, id="not HTTP"),
        pytest.param(b"\r\n\r\n", False, id="nothing"),
        pytest.param(b"\xff\xfe 200\r\n\r\n", False, id="garbage"),
    ],
)
def test_says_ready(head: bytes, ready: bool) -> None:
    assert says_ready(head, "pod-1") is ready


@pytest.mark.integration
def test_a_response_in_pieces_counts_once_it_is_complete() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        probe = ReadinessProbe(server.getsockname()[1], "/ready", "pod-1")
        assert not probe.step(0.0)
        connection, _ = server.accept()
        with connection:
            assert not probe.step(0.1)
            assert connection.recv(4096).startswith(b"GET /ready HTTP/1.1\r\n")
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            assert not probe.step(0.2)
            connection.sendall(b"X-Pod: pod-1\r\n\r\n")
            assert any(probe.step(0.3) for _ in range(10_000))


@pytest.mark.integration
def test_a_request_that_times_out_is_replaced_by_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        probe = ReadinessProbe(server.getsockname()[1], "/ready", "pod-1")
        assert not probe.step(0.0)
        silent, _ = server.accept()
        assert not probe.step(0.1)
        assert not probe.step(PROBE_TIMEOUT_S)
        assert silent.recv(4096) != b""
        assert silent.recv(4096) == b""
        silent.close()
        assert not probe.step(PROBE_TIMEOUT_S)
        second, _ = server.accept()
        second.close()
        probe.close()
