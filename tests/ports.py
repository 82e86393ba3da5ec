"""For integration tests: free ports, and waiting for a server."""

import socket
import time

import requests


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, timeout_s: float = 60.0) -> requests.Response:
    """Ask until it answers with 200."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        try:
            answer = requests.get(url, timeout=5)
            if answer.ok:
                return answer
        except requests.RequestException:
            pass
        time.sleep(0.05)
    raise AssertionError(f"{url} did not answer within {timeout_s} s")


def wait_for_port(port: int, timeout_s: float = 60.0) -> None:
    """Connect again and again until somebody takes it."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nobody took port {port} within {timeout_s} s")
