"""Half of the load straight to the route under `elastic`: the controller sees it in what Knative's queue-proxies report."""

import threading
import time
from collections.abc import Callable

import pytest
import requests

from tests.cluster.cluster import Cluster, wait_until
from tests.cluster.conftest import Start
from tests.cluster.live_parts import start_dispatcher, stub_services
from tests.ports import free_port, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.proof, pytest.mark.timeout(600)]

RATE_RPS, SECONDS = 10, 45


def send(ask: Callable[[], int], statuses: list[int]) -> None:
    """Send RATE_RPS requests a second for SECONDS, each in a thread of its own, and collect their statuses."""
    threads = []
    began_s = time.monotonic()
    for number in range(RATE_RPS * SECONDS):
        time.sleep(max(0.0, began_s + number / RATE_RPS - time.monotonic()))
        threads.append(threading.Thread(target=lambda: statuses.append(ask())))
        threads[-1].start()
    for thread in threads:
        thread.join()


def test_demand_that_goes_around_the_dispatcher_is_seen_and_scaled_for(cluster: Cluster, start: Start) -> None:
    service = "both-ways"
    with stub_services(cluster, {service: {}}):
        dispatcher = start_dispatcher(start, cluster, service)
        port = free_port()
        start(
            *("autoscaler_tuning", "control", "--target", "knative", "--service", service, "--max-pods", "20"),
            *("--dispatcher", dispatcher.control_url, "--host", "127.0.0.1", "--port", str(port)),
        )
        wait_for(f"http://127.0.0.1:{port}/readyz")
        headers = {"Host": cluster.host(service)}
        through: list[int] = []
        around: list[int] = []
        senders = [
            threading.Thread(target=send, args=(lambda: ask(dispatcher.url, {}), through)),
            threading.Thread(target=send, args=(lambda: ask(f"http://{cluster.gateway}", headers), around)),
        ]

        def ask(url: str, headers: dict[str, str]) -> int:
            return requests.post(f"{url}/predict", data=b"image", headers=headers, timeout=60).status_code

        def metric(name: str) -> float:
            lines = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text.splitlines()
            return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), 0.0)

        for sender in senders:
            sender.start()
        route_rps, level = "autoscaler_route_requests_per_second{", 'autoscaler_figure{name="level_rps"'
        took_s = wait_until(lambda: metric(route_rps) > RATE_RPS / 2, "the other half is seen", SECONDS)
        wait_until(lambda: metric(level) > 1.5 * RATE_RPS, "elastic expects both halves", SECONDS)
        print(
            f"seen after {took_s:.0f} s: {metric(route_rps):.1f} requests/s beside {RATE_RPS}; in all {metric(level):.1f}"
        )
        for sender in senders:
            sender.join()
        assert through == around == [200] * (RATE_RPS * SECONDS)
