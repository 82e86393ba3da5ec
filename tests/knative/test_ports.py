"""Ports: a free one, and the message for one that cannot be bound."""

import errno
import os
import socket

import pytest

from knative import ports


@pytest.mark.integration
def test_a_free_port_can_be_bound() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", ports.free_port()))


@pytest.mark.integration
def test_a_free_port_is_none_of_the_taken_ones() -> None:
    taken = {port for port in range(65536) if port % 4 < 2}
    assert all(ports.free_port(taken) not in taken for _ in range(10))


@pytest.mark.integration
def test_a_taken_port_names_the_process_that_listens_on_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        text = ports.bind_failure("0.0.0.0", port, OSError(errno.EADDRINUSE, "Address already in use"))
    assert text.startswith(f"cannot bind 0.0.0.0:{port}: process {os.getpid()} (")
    assert text.endswith(") is listening on it")


def test_a_taken_port_whose_process_is_not_visible_is_reported_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.net_connections", lambda kind: [])
    text = ports.bind_failure("0.0.0.0", 8001, OSError(errno.EADDRINUSE, "Address already in use"))
    assert text == "cannot bind 0.0.0.0:8001: another process is listening on it (not visible from here)"


def test_any_other_error_is_reported_as_it_is() -> None:
    text = ports.bind_failure("0.0.0.0", 80, PermissionError(errno.EACCES, "Permission denied"))
    assert text == "cannot bind 0.0.0.0:80: [Errno 13] Permission denied"
