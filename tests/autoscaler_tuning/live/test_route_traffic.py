"""Demand that goes around the dispatchers: what the pods count beyond what was sent on to them."""

import math
import random
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prometheus_client import CollectorRegistry

from autoscaler_tuning.live.queue_proxies import EVERY_S, PAUSE_S, QueueProxies, WithRouteTraffic, next_pause_s
from autoscaler_tuning.live.route_traffic import LONGEST_GAP_S, PodTraffic, RouteTraffic, parse_stat
from autoscaler_tuning.live.signals import Signals
from autoscaler_tuning.types import Second
from tests.ports import free_port


def stat(concurrency: float, rate_rps: float) -> bytes:
    """Return the report of a queue-proxy, with a pod name, a proxied share, its uptime and a time stamp, as Go has it."""
    name = b"resnet18-00001-deployment-5d8c"
    return b"".join(
        (
            *(bytes([0x0A, len(name)]), name),
            *(b"\x11", struct.pack("<d", concurrency), b"\x19", struct.pack("<d", 0.5)),
            *(b"\x21", struct.pack("<d", rate_rps), b"\x31", struct.pack("<d", 12.5)),
            b"\x38\xc5\xa8\x9a\xc9\x06",
        )
    )


def signals(now_s: float, released: int, rate: int = 0) -> Signals:
    seconds = tuple(Second(index, rate, rate * 0.1) for index in range(max(0, int(now_s) - 60), int(now_s)))
    return Signals(now_s, seconds, released, 0, round(rate * 0.1), 0.0, 0.0, 0.1, released)


def test_the_report_of_a_queue_proxy_is_read() -> None:
    assert parse_stat(stat(1.5, 20.0)) == PodTraffic(1.5, 20.0)
    assert parse_stat(b"") == PodTraffic(0.0, 0.0), "zeros are left out on the wire"


def test_the_report_that_a_queue_proxy_of_knative_1_23_sent_is_read() -> None:
    data = b"\n\x16a-00001-deployment-xyz\x11\x85\xedR!\x9ed\xfd?!\x00\x00\x00\x00\x00\x00\x1c@1m_\xcb!e\x01&@"
    found = parse_stat(data)
    assert found.rate_rps == 7.0
    assert found.concurrency == pytest.approx(1.837, abs=1e-3)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x11\x00", id="cut"),
        pytest.param(b"<html>", id="a page"),
        pytest.param(stat(math.nan, 1.0), id="nan"),
        pytest.param(stat(1.0, -1.0), id="negative"),
    ],
)
def test_what_is_no_report_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_stat(data)


def estimate(
    through_rps: Callable[[int], float], around_rps: Callable[[int], float], seconds: int, seed: int = 0
) -> list[float]:
    """Return the estimates of each second; pods report a second later than requests were sent on, and counts are random."""
    chance = random.Random(seed)
    traffic, released = RouteTraffic(), 0
    reports = deque([0, 0])
    found = []
    for second in range(seconds):
        traffic.observe(signals(second, released), PodTraffic(reports[0] * 0.1, reports.popleft()))
        sent = max(0, round(chance.gauss(through_rps(second), math.sqrt(through_rps(second)))))
        released += sent
        reports.append(sent + round(around_rps(second)))
        found.append(traffic.rate_rps)
    return found


def test_half_of_the_load_around_the_dispatcher_is_found_within_ten_seconds() -> None:
    found = estimate(lambda s: 20.0, lambda s: 20.0, 40)
    assert all(15 <= rate <= 25 for rate in found[12:])


def test_all_of_the_load_around_the_dispatcher_is_found() -> None:
    assert 25 <= estimate(lambda s: 0.0, lambda s: 30.0, 30)[-1] <= 35


@pytest.mark.parametrize("seed", range(5))
def test_traffic_through_the_dispatcher_alone_is_not_taken_for_more_whatever_its_course(seed: int) -> None:
    def course(second: int) -> float:
        return (5.0, 200.0, 0.0, 40.0, 1.0)[second // 15 % 5]

    assert estimate(course, lambda s: 0.0, 300, seed) == [0.0] * 300


def test_a_burst_that_leaves_the_window_is_not_taken_for_more() -> None:
    assert estimate(lambda s: 200.0 if s % 30 == 5 else 0.0, lambda s: 0.0, 120) == [0.0] * 120


def test_a_tenth_around_the_dispatcher_cannot_be_told_from_chance_and_counts_as_none() -> None:
    assert estimate(lambda s: 40.0, lambda s: 4.0, 60) == [0.0] * 60


def test_when_it_ends_it_is_gone_after_the_window() -> None:
    assert estimate(lambda s: 20.0, lambda s: 20.0 if s < 30 else 0.0, 60)[-1] == 0.0


def test_it_is_added_to_the_arrivals_and_to_the_seconds_and_the_count_never_falls() -> None:
    traffic, arrived = RouteTraffic(), []
    for second in range(40):
        present = signals(second, 20 * second, rate=20)
        traffic.observe(present, PodTraffic(4.0, 40.0))
        arrived.append(traffic.added_to(present).arrived)
    found = traffic.added_to(signals(40, 800, rate=20))
    assert arrived == sorted(arrived)
    assert 1200 <= found.arrived <= 1600
    assert 38 <= found.seconds[-1].arrivals <= 42
    assert found.seconds[-1].concurrency == pytest.approx(4.0, abs=0.2)
    assert found.in_flight == 4


def test_a_restart_of_the_dispatcher_is_no_demand() -> None:
    traffic = RouteTraffic()
    for second in range(30):
        traffic.observe(signals(second, 20 * second), PodTraffic(2.0, 20.0))
    for second in range(30):
        traffic.observe(signals(second, 20 * second), PodTraffic(2.0, 20.0))
        assert traffic.rate_rps == 0.0


class QueueProxy(BaseHTTPRequestHandler):
    """Reports one request in the pod and 10 a second."""

    def do_GET(self) -> None:
        data = stat(1.0, 10.0) if self.path == "/metrics" else b""
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def proxy() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), QueueProxy) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.integration
def test_a_pod_that_has_just_ended_is_replaced_by_the_mean_of_the_others(proxy: str) -> None:
    proxies = QueueProxies(lambda: [proxy, proxy, f"http://127.0.0.1:{free_port()}"])
    assert proxies.read()
    assert proxies.take() == PodTraffic(3.0, 30.0)
    assert proxies.take() is None


@pytest.mark.integration
def test_pods_that_cannot_be_reached_are_said_once_and_change_nothing(caplog: pytest.LogCaptureFixture) -> None:
    proxies = QueueProxies(lambda: [f"http://127.0.0.1:{free_port()}"])
    assert not proxies.read()
    assert not proxies.read()
    assert caplog.text.count("demand that goes around the dispatchers is not measured") == 1

    class Source:
        def signals(self) -> Signals:
            return signals(5.0, 7)

        def announce(self, *args: object, **known: object) -> None:
            raise AssertionError("nothing is announced here")

    assert WithRouteTraffic(Source(), proxies, CollectorRegistry()).signals() == signals(5.0, 7)


def test_a_pod_that_fails_once_is_soon_read_again_and_one_that_keeps_failing_seldom() -> None:
    pauses_s = [EVERY_S]
    for _ in range(10):
        pauses_s.append(next_pause_s(pauses_s[-1], answered=False))
    assert pauses_s == sorted(pauses_s)
    assert pauses_s[0] + pauses_s[1] < LONGEST_GAP_S, "the estimate survives one failure"
    assert pauses_s[-1] == PAUSE_S
    assert next_pause_s(PAUSE_S, answered=True) == EVERY_S


def test_the_estimate_is_exported_reaches_the_controller_and_ends_with_the_readings() -> None:
    class Proxies(QueueProxies):
        reads = True

        def take(self) -> PodTraffic | None:
            return PodTraffic(4.0, 40.0) if self.reads else None

    class Source:
        now_s = 0

        def signals(self) -> Signals:
            self.now_s += 1
            return signals(self.now_s, 20 * self.now_s, rate=20)

        def announce(self, *args: object, **known: object) -> None:
            """Announce nothing."""

    registry, proxies = CollectorRegistry(), Proxies(list)
    source = WithRouteTraffic(Source(), proxies, registry)
    for _ in range(30):
        found = source.signals()
    assert registry.get_sample_value("autoscaler_route_requests_per_second") == pytest.approx(20.0, abs=2)
    assert found.seconds[-2].arrivals == pytest.approx(40, abs=2)
    assert found.in_flight == 4
    proxies.reads = False
    for _ in range(4):
        later = source.signals()
    assert later.in_flight == 4
    later = source.signals()
    assert later.in_flight == signals(35, 700, rate=20).in_flight
    assert later.seconds[-1].arrivals == 20
    assert later.arrived - later.released == found.arrived - found.released, "the count of arrivals stays"
    assert registry.get_sample_value("autoscaler_route_requests_per_second") == 0
