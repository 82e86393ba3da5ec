"""Several dispatchers: capacity is divided over those that answer, and a silent one is left out."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from autoscaler_tuning.live.dispatchers import Dispatchers
from autoscaler_tuning.live.signals import ScrapeError
from autoscaler_tuning.live.sources import AnnouncedCapacity
from tests.autoscaler_tuning.live.test_signals import BODY
from tests.ports import free_port

pytestmark = pytest.mark.integration


class FakeDispatcher(ThreadingHTTPServer):
    """Answers GET /signals with BODY, and keeps the bodies of PUT /capacity and the credentials."""

    daemon_threads = True

    def __init__(self, port: int = 0, host: str = "127.0.0.1", protocol: str = "HTTP/1.0") -> None:
        self.protocol, self.connections = protocol, 0
        self.told: list[dict[str, Any]] = []
        self.credentials: list[str | None] = []
        super().__init__((host, port), _Control)
        self.url = f"http://{host}:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _Control(BaseHTTPRequestHandler):
    server: FakeDispatcher

    def setup(self) -> None:
        super().setup()
        self.protocol_version = self.server.protocol
        self.server.connections += 1

    def finish(self) -> None:
        super().finish()
        self.server.connections -= 1

    def do_GET(self) -> None:
        self.server.credentials.append(self.headers["Authorization"])
        self._answer(BODY)

    def do_PUT(self) -> None:
        self.server.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer({})

    def _answer(self, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Log nothing."""


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def pair() -> Iterator[tuple[FakeDispatcher, FakeDispatcher]]:
    both = FakeDispatcher(), FakeDispatcher()
    yield both
    for one in both:
        one.stop()


def shares(*dispatchers: FakeDispatcher) -> list[int]:
    return [one.told[-1]["ready_pods"] for one in dispatchers]


@pytest.mark.parametrize(("pods", "expected"), [(0, [0, 0]), (1, [1, 1]), (2, [1, 1]), (5, [3, 2])])
def test_capacity_is_divided_and_each_gets_at_least_one_while_a_pod_is_ready(
    pair: tuple[FakeDispatcher, FakeDispatcher], pods: int, expected: list[int]
) -> None:
    Dispatchers([one.url for one in pair], Clock()).announce(AnnouncedCapacity(pods, 1), 5.0)
    assert shares(*pair) == expected


def test_a_dead_dispatcher_is_left_out_until_it_answers_again() -> None:
    clock, first, port = Clock(), FakeDispatcher(), free_port()
    second = FakeDispatcher(port)
    dispatchers = Dispatchers([first.url, second.url], clock)
    assert dispatchers.signals().waiting == 2 * BODY["waiting"]
    second.stop()
    alone = dispatchers.signals()
    assert alone.waiting == BODY["waiting"]
    assert alone.arrived == 2 * BODY["arrivals"]["count"], "the count of arrivals never falls"
    dispatchers.announce(AnnouncedCapacity(4, 1), 5.0)
    assert shares(first) == [4]
    again = FakeDispatcher(port)
    assert dispatchers.signals().waiting == BODY["waiting"], "it is not asked at once again"
    clock.now_s = 10.0
    assert dispatchers.signals().waiting == 2 * BODY["waiting"]
    dispatchers.announce(AnnouncedCapacity(4, 1), 5.0)
    assert shares(first, again) == [2, 2]
    first.stop()
    again.stop()


def test_without_any_dispatcher_that_answers_signals_and_announcements_fail() -> None:
    dispatchers = Dispatchers([f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"], Clock())
    with pytest.raises(ScrapeError, match="cannot read signals"):
        dispatchers.signals()
    with pytest.raises(ScrapeError, match="no dispatcher answers"):
        dispatchers.announce(AnnouncedCapacity(1, 1), 5.0)


def test_the_key_goes_with_each_request(pair: tuple[FakeDispatcher, FakeDispatcher]) -> None:
    Dispatchers([pair[0].url], Clock(), key="secret").signals()
    assert pair[0].credentials == ["Bearer secret"]


def test_the_dispatchers_behind_a_name_are_followed_and_their_arrivals_stay_counted() -> None:
    first = FakeDispatcher()
    second = FakeDispatcher(first.server_port, "127.0.0.2")
    hosts = ["127.0.0.1", "127.0.0.2"]
    dispatchers = Dispatchers([f"dns+http://control:{first.server_port}"], Clock(), resolve=lambda host: list(hosts))
    arrived = BODY["arrivals"]["count"]
    assert dispatchers.signals().arrived == 2 * arrived
    dispatchers.announce(AnnouncedCapacity(3, 1), 5)
    assert [told["ready_pods"] for one in (first, second) for told in one.told] == [2, 1]
    hosts.remove("127.0.0.1")
    wait_for_share(dispatchers, second, 3)
    assert dispatchers.signals().arrived == 2 * arrived
    first.stop()
    second.stop()


def test_of_a_dispatcher_that_is_gone_only_the_counts_are_kept_and_it_can_come_back() -> None:
    first = FakeDispatcher(protocol="HTTP/1.1")
    second = FakeDispatcher(first.server_port, "127.0.0.2")
    hosts, clock = ["127.0.0.1", "127.0.0.2"], Clock()
    dispatchers = Dispatchers([f"dns+http://control:{first.server_port}"], clock, resolve=lambda host: list(hosts))
    arrived = BODY["arrivals"]["count"]
    assert dispatchers.signals().arrived == 2 * arrived
    dispatchers.announce(AnnouncedCapacity(2, 1), 5)
    hosts.remove("127.0.0.1")
    wait_for_share(dispatchers, second, 3)
    for connections in (1, 0, 1):
        until_s = time.monotonic() + 30
        while first.connections != connections:
            assert time.monotonic() < until_s, first.connections
            time.sleep(0.1)
            assert dispatchers.signals().arrived == 2 * arrived, "what it had counted is counted once"
        clock.now_s += 121.0
        if not connections:
            hosts.append("127.0.0.1")
    first.stop()
    second.stop()


def wait_for_share(dispatchers: Dispatchers, dispatcher: FakeDispatcher, ready_pods: int) -> None:
    """Read and announce until the dispatcher gets all of the capacity; names are resolved every two seconds."""
    until_s = time.monotonic() + 30
    while dispatcher.told[-1]["ready_pods"] != ready_pods:
        assert time.monotonic() < until_s, dispatcher.told
        time.sleep(0.1)
        dispatchers.signals()
        dispatchers.announce(AnnouncedCapacity(ready_pods, 1), 5)
