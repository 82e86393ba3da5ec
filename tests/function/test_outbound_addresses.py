"""Where a link's name may lead, and that the address that was checked is the one that is used."""

import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from function.outbound import checked_addresses, fetch, is_allowed
from function.protocols import RefusedError


@pytest.mark.parametrize(
    ("name", "address", "allowed"),
    [
        ("images.example.com", "93.184.215.14", True),
        ("images.example.com", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("images.example.com", "10.0.0.1", False),
        ("images.example.com", "172.16.0.1", False),
        ("images.example.com", "192.168.0.1", False),
        ("images.example.com", "100.64.0.1", False),
        ("images.example.com", "127.0.0.1", False),
        ("images.example.com", "0.0.0.0", False),
        ("images.example.com", "169.254.169.254", False),
        ("images.example.com", "224.0.0.1", False),
        ("images.example.com", "::1", False),
        ("images.example.com", "::ffff:10.0.0.1", False),
        ("images.example.com", "fe80::1%eth0", False),
        ("images.example.com", "fd00:ec2::254", False),
        ("minio.default.svc", "10.0.0.1", True),
        ("minio.default.svc.cluster.local", "10.0.0.1", True),
        ("store.corp.internal", "192.168.0.1", True),
        ("minio", "10.0.0.1", True),
        ("minio", "::ffff:10.0.0.1", True),
        ("minio", "127.0.0.1", False),
        ("minio", "169.254.169.254", False),
        ("minio", "::ffff:169.254.169.254", False),
        ("minio", "240.0.0.1", False),
        ("localhost", "127.0.0.1", True),
        ("localhost", "10.0.0.1", False),
    ],
)
def test_a_name_leads_only_to_addresses_that_it_may_have(name: str, address: str, allowed: bool) -> None:
    assert is_allowed(name, address) is allowed


def test_an_address_in_link_hosts_is_meant_as_it_is() -> None:
    assert checked_addresses(urlsplit("http://10.0.0.1:9000/a")) == ("10.0.0.1",)


def resolver(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let each resolution of rebound.example give the next answer; return the names that were asked for."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: Any, *arguments: Any, **settings: Any) -> Any:
        if host != "rebound.example":
            return real(host, *arguments, **settings)
        asked.append(host)
        found = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


def test_an_address_that_is_not_allowed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver(monkeypatch, ["127.0.0.1", "93.184.215.14"])
    assert checked_addresses(urlsplit("http://rebound.example/a")) == ("93.184.215.14",)


def test_a_name_that_leads_inside_is_refused_without_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver(monkeypatch, ["127.0.0.1", "169.254.169.254"])
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("connected"))
    with pytest.raises(RefusedError, match=r"got .rebound.example. with 127.0.0.1, 169.254.169.254") as caught:
        fetch("http://rebound.example/a", ("rebound.example",), 30.0, 10)
    assert caught.value.status == 403


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_name_is_resolved_once_and_its_checked_address_is_used(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = resolver(monkeypatch, ["93.184.215.14"], ["127.0.0.1"])
    connected: list[object] = []

    def connect(address: object, timeout: float) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(RefusedError, match="failed: ConnectionRefusedError"):
        fetch(f"{scheme}://rebound.example/a", ("rebound.example",), 30.0, 10)
    assert asked == ["rebound.example"]
    assert connected == [("93.184.215.14", 443 if scheme == "https" else 80)]
