"""Finds the dispatchers behind a name: `dns+http://NAME:PORT` stands for one dispatcher at each address of the name.

A headless Service has the address of each of its ready pods.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

log = logging.getLogger(__name__)

# Thanos and gRPC name this kind of address in the same way.
PREFIX = "dns+"
ASK_EVERY_S = 2.0


def addresses_of(host: str) -> list[str]:
    """Return the addresses of a host name. Raises OSError if it has none."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return sorted({str(address[0]) for *_, address in found})


class DispatcherNames:
    """URLs of dispatchers, in which names with the prefix are replaced by their addresses at the moment.

    A name that cannot be resolved keeps the addresses that it had: the dispatchers may well be there.
    """

    def __init__(self, urls: Sequence[str], resolve: Callable[[str], list[str]] = addresses_of) -> None:
        self._urls, self._resolve = tuple(url.rstrip("/") for url in urls), resolve
        self._found: dict[str, tuple[str, ...]] = {
            url: (() if url.startswith(PREFIX) else (url,)) for url in self._urls
        }

    @property
    def can_change(self) -> bool:
        """Return whether any URL is a name to resolve."""
        return any(url.startswith(PREFIX) for url in self._urls)

    def current(self) -> tuple[str, ...]:
        """Return the URLs of the dispatchers as last resolved."""
        return tuple(dict.fromkeys(url for urls in self._found.values() for url in urls))

    def refresh(self) -> None:
        """Resolve the names anew."""
        for url in self._urls:
            if url.startswith(PREFIX):
                self._found[url] = self._expanded(url)

    def keep_fresh(self) -> None:
        """Resolve now, and then in a thread: a name server that hangs must not stop the controller."""
        if self.can_change:
            self.refresh()
            threading.Thread(target=self._refresh_for_ever, daemon=True).start()

    def _refresh_for_ever(self) -> None:
        while True:
            time.sleep(ASK_EVERY_S)
            self.refresh()

    def _expanded(self, url: str) -> tuple[str, ...]:
        parts = urlsplit(url.removeprefix(PREFIX))
        before = self._found[url]
        try:
            hosts = self._resolve(parts.hostname or "")
        except OSError as error:
            log.debug("%s: %s", url, error)
            return before
        port = f":{parts.port}" if parts.port else ""
        found = tuple(f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}{parts.path}" for host in hosts)
        if found != before:
            log.info("%s: dispatchers at %s", url, ", ".join(found))
        return found
