"""Names of dispatchers: each address of a dns+ name is one dispatcher, and a silent name server changes nothing."""

import argparse

import pytest

from autoscaler_tuning.commands.flags import dispatcher_urls
from autoscaler_tuning.live.dispatcher_names import DispatcherNames, addresses_of


class NameServer:
    """Answers with the addresses that it is told, or not at all."""

    def __init__(self, *addresses: str) -> None:
        self.addresses: list[str] | None = list(addresses)

    def resolve(self, host: str) -> list[str]:
        if self.addresses is None:
            raise OSError(f"{host}: temporary failure in name resolution")
        return self.addresses


def test_each_address_of_a_name_is_one_dispatcher() -> None:
    names = DispatcherNames(["dns+http://control:8011", "http://b:1/"], NameServer("10.0.0.1", "fd00::1").resolve)
    names.refresh()
    assert names.current() == ("http://10.0.0.1:8011", "http://[fd00::1]:8011", "http://b:1")


def test_an_address_without_the_prefix_is_not_resolved() -> None:
    names = DispatcherNames(["http://control:8011"], NameServer("10.0.0.1").resolve)
    names.refresh()
    assert (names.current(), names.can_change) == (("http://control:8011",), False)


def test_pods_that_come_and_go_are_followed() -> None:
    server = NameServer("10.0.0.1")
    names = DispatcherNames(["dns+http://control:8011"], server.resolve)
    assert names.current() == ()
    for addresses in (["10.0.0.1"], ["10.0.0.1", "10.0.0.2"], ["10.0.0.2"], []):
        server.addresses = addresses
        names.refresh()
        assert names.current() == tuple(f"http://{address}:8011" for address in addresses)


def test_a_name_that_cannot_be_resolved_keeps_its_dispatchers() -> None:
    server = NameServer("10.0.0.1")
    names = DispatcherNames(["dns+http://control:8011"], server.resolve)
    names.refresh()
    server.addresses = None
    names.refresh()
    assert names.current() == ("http://10.0.0.1:8011",)


def test_this_machine_has_an_address() -> None:
    assert addresses_of("127.0.0.1") == ["127.0.0.1"]


def test_the_flag_accepts_names_and_refuses_other_schemes() -> None:
    assert dispatcher_urls("dns+http://a:1, http://b:2") == ("dns+http://a:1", "http://b:2")
    with pytest.raises(argparse.ArgumentTypeError, match="must be http"):
        dispatcher_urls("dns+ftp://a:1")
