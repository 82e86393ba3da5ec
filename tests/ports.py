"""Helpers of integration tests: free ports, and waiting for a server."""

import socket
import time

import requests

from knative.ports import free_port

__all__ = ["free_port", "wait_for", "wait_for_port"]


def wait_for(url: str, timeout_s: float = 60.0) -> requests.Response:
    """Send GET requests until one succeeds, and return its response."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        try:
            response = requests.get(url, timeout=5)
            if response.ok:
                return response
        except requests.RequestException:
            pass
        time.sleep(0.05)
    raise AssertionError(f"{url} did not answer within {timeout_s} s")


def wait_for_port(port: int, timeout_s: float = 60.0) -> None:
    """Wait until a process accepts connections on a port of 127.0.0.1."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"no process accepted a connection on port {port} within {timeout_s} s")
