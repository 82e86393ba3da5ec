"""Readiness: which answers count."""

import pytest

from knative.probe import says_ready


@pytest.mark.parametrize(
    ("head", "ready"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Pod: pod-1\r\n\r\n", True, id="a 200 of this pod"),
        pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\nbody", True, id="a 200 without a name"),
        pytest.param(b"HTTP/1.1 200\r\n\r\n", True, id="no reason phrase"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx-pod: pod-2\r\n\r\n", False, id="a stranger on its port"),
        pytest.param(b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False, id="not ready yet"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", False, id="another 2xx"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", False, id="not HTTP"),
        pytest.param(b"\r\n\r\n", False, id="nothing"),
        pytest.param(b"\xff\xfe 200\r\n\r\n", False, id="garbage"),
    ],
)
def test_says_ready(head: bytes, ready: bool) -> None:
    assert says_ready(head, "pod-1") is ready
