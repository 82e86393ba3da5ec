"""The addresses that a dispatcher listens on: one or several, IPv4 and IPv6."""

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
import requests

from autoscaler_tuning.live.local_stack import free_or_other, loopback_addresses
from tests.paths import ROOT
from tests.ports import free_port, wait_for

pytestmark = pytest.mark.integration


def command(host: str, port: int) -> list[str]:
    ports = ["--port", str(port), "--control-port", str(free_port(taken={port}))]
    return [sys.executable, "-m", "dispatcher", "--host", host, *ports]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def process(port: int, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(command(request.param, port), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    yield started
    started.terminate()
    started.communicate(timeout=60)
    assert started.returncode == 0


@pytest.mark.parametrize("process", ["127.0.0.1,::1", "[::1], 127.0.0.1"], indirect=True)
@pytest.mark.usefixtures("process")
def test_a_dispatcher_listens_on_each_of_its_addresses(port: int) -> None:
    wait_for(f"http://127.0.0.1:{port}/")
    assert wait_for(f"http://[::1]:{port}/").ok


@pytest.mark.parametrize("process", ["::1"], indirect=True)
@pytest.mark.usefixtures("process")
def test_a_dispatcher_listens_on_no_other_address(port: int) -> None:
    wait_for(f"http://[::1]:{port}/")
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}/", timeout=10)


@pytest.mark.parametrize("host", ["x86_64-conda-linux-gnu", "192.0.2.1", "127.0.0.1,2001:db8::1"])
def test_an_address_of_another_machine_is_named(host: str, port: int) -> None:
    done = subprocess.run(command(host, port), check=False, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "HOST must be an address of this machine: unset it if a shell or conda has set it" in done.stderr


def test_up_listens_on_both_loopback_addresses_where_both_are_free(port: int) -> None:
    assert loopback_addresses(port) == "127.0.0.1,::1"
    with socket.create_server(("::1", port), family=socket.AF_INET6):
        assert loopback_addresses(port) == "127.0.0.1"


def test_up_takes_another_port_for_its_control_where_the_default_is_taken(port: int) -> None:
    assert free_or_other(port) == port
    with socket.create_server(("127.0.0.1", port)):
        assert free_or_other(port) != port
