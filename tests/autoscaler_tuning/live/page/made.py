"""A made history, and a server of it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import sin

from prometheus_client import CollectorRegistry

from autoscaler_tuning.live.operator import Operator
from autoscaler_tuning.live.page.history import DecisionMark, PageHistory, PodStart, Row, Ruler
from autoscaler_tuning.live.page.serving import Page
from autoscaler_tuning.live.status_server import StatusServer
from tests.ports import free_port


def row(second: int, t_s: float, most_pods: int = 4, age_s: float = 0.1) -> Row:
    """Return a plausible second; the load rises and falls once in two minutes."""
    load = 0.5 + 0.5 * sin(second / 19)
    arrivals, pods = round(3 * most_pods * load), max(1, round(most_pods * load))
    late = second % 40 == 7
    latency_s = (1.2, 1.9, 2.2) if late else (0.11, 0.21, 0.34)
    queue = (0, 6 if late else 0, 0, 1.1 if late else 0.0, 2 if late else 0, 0.4)
    in_time = max(0, arrivals - 5) if late else arrivals
    return (t_s, arrivals, arrivals * 0.95, pods, pods, second % 7 == 0, 0, pods + 2, *queue, *latency_s, arrivals, in_time, 0, pods, age_s)  # fmt: skip


def full_history(seconds: int, service: str = "resnet18", most_pods: int = 4, age_s: float = 0.1) -> PageHistory:
    """Return a history whose last second is now."""
    history = PageHistory(service, "elastic", 0.5, Operator(40))
    began_s = time.time() - seconds
    history.ruler = Ruler("elastic", "its decisions are carried out", began_s)
    for second in range(seconds):
        decisions, starts = [], []
        t_s = round(began_s + second, 1)
        if second % 30 == 10:
            reason = "rate: 3 pods cost least at 9.7 req/s of 0.1 s each; the last pod is for noise"
            decisions.append(DecisionMark(t_s, 3, reason))
        if second % 60 == 12:
            phases = {"around the process": 0.1, "interpreter": 0.11, "imports": 0.22, "engine and warm-up": 0.05}
            starts.append(PodStart(t_s, f"pod-{second}", phases))
        history.add(row(second, t_s, most_pods, age_s), decisions, starts)
    return history


@contextmanager
def served(*histories: PageHistory, key: str | None = None) -> Iterator[tuple[str, StatusServer]]:
    """Serve the page of these histories inside a with block; yield its address and the server."""
    server, port = StatusServer(CollectorRegistry()), free_port()
    server.page = Page({history.service: history for history in histories}, key).respond
    server.start("127.0.0.1", port)
    yield f"http://127.0.0.1:{port}", server


@contextmanager
def growing(history: PageHistory, every_s: float = 0.2) -> Iterator[threading.Event]:
    """Add a row again and again; setting the event stops it."""
    stopped = threading.Event()

    def run() -> None:
        second = 0
        while not stopped.wait(every_s):
            second += 1
            history.add(row(second, round(time.time(), 1)), [], [])

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield stopped
    finally:
        stopped.set()
        thread.join()
