"""A row for each second, from the control loop and the dispatchers' pages."""

import json
import time
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, generate_latest

from autoscaler_tuning.live.controller import Moment
from autoscaler_tuning.live.operator import Operator
from autoscaler_tuning.live.page.collector import Collector, start_phases
from autoscaler_tuning.live.page.history import COLUMNS, PageHistory
from autoscaler_tuning.live.signals import ScrapeError
from autoscaler_tuning.live.targets import TargetState
from autoscaler_tuning.types import Decision, PodPhase, PodSample
from dispatcher.metrics import DispatcherMetrics

QUEUE = {
    "classes": [
        {"priority": "high", "waiting": 2, "expired": 1, "oldest_wait_s": 0.7},
        {"priority": "low", "waiting": 1, "expired": 0, "oldest_wait_s": 1.5},
    ],
    "retry_after_s": 0.8,
}


class Pages:
    """Pages of one dispatcher, which can be away."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = DispatcherMetrics(self.registry, slo_s=0.5)
        self.away = False

    def read(self, path: str) -> dict[str, bytes]:
        if self.away:
            raise ScrapeError(f"cannot read {path}: away")
        return {"a": generate_latest(self.registry) if path == "/metrics" else json.dumps(QUEUE).encode()}


def moment(arrived: int, *pods: PodSample, wanted: int = 1, spent: float = 0.0, ruler: str = "elastic") -> Moment:
    decision = Decision(wanted, f"rate: {wanted} pods", {"level_rps": 4.25, "stock_pods": 3.0})
    return Moment(1000.0, TargetState(pods, None, 0), decision, arrived, spent, 0.2, ruler, "why")


def collector(pages: Pages, phases: Mapping[str, float] | None = None) -> tuple[Collector, PageHistory]:
    history = PageHistory("a", "elastic", 0.5, Operator(8))
    return Collector(history, pages, lambda _: phases or {}), history


def last(history: PageHistory) -> dict[str, float | None]:
    return dict(zip(COLUMNS, history.rows[-1], strict=True))


def test_a_row_has_the_pods_the_queue_and_the_answers_of_its_second() -> None:
    pages = Pages()
    made, history = collector(pages)
    made.observe(moment(10, spent=5.0))
    made.collect(time.monotonic(), 1000.0)
    pages.metrics.answer(200, 0.2)
    ready, starting = PodSample("b", PodPhase.READY, 1.0, 2.0), PodSample("c", PodPhase.STARTING, 1.0)
    made.observe(moment(14, ready, starting, wanted=2, spent=7.5))
    made.collect(time.monotonic(), 1001.0)
    found = last(history)
    assert found["arrivals"] == 4
    assert found["pod_seconds"] == 2.5
    assert (found["ready"], found["starting"], found["wanted"], found["stock"]) == (1, 1, 2, 3)
    assert (found["waiting_high"], found["waiting_normal"], found["waiting_low"]) == (2, 0, 1)
    assert (found["oldest_s"], found["expired"], found["retry_after_s"]) == (1.5, 1, 0.8)
    assert (found["answers"], found["in_time"]) == (1, 1)
    assert [(one.pods, one.reason) for one in history.decisions] == [(1, "rate: 1 pods"), (2, "rate: 2 pods")]


def test_a_dispatcher_that_is_away_leaves_the_rest_of_the_row() -> None:
    pages = Pages()
    made, history = collector(pages)
    pages.away = True
    made.observe(moment(3, wanted=2))
    made.collect(time.monotonic(), 1000.0)
    assert last(history)["wanted"] == 2
    assert last(history)["p99_s"] is None


def test_a_dispatcher_that_counts_anew_leaves_a_gap_not_a_negative_number() -> None:
    made, history = collector(Pages())
    for arrived in (10, 2, 5):
        made.observe(moment(arrived))
        made.collect(time.monotonic(), 1000.0)
    assert [one[COLUMNS.index("arrivals")] for one in history.rows] == [None, None, 3]


def test_a_control_loop_that_stands_still_shows_as_age() -> None:
    made, history = collector(Pages())
    made.observe(moment(1))
    made.collect(time.monotonic() + 30, 1000.0)
    age_s = last(history)["age_s"]
    assert age_s is not None
    assert age_s >= 30


def test_before_the_first_decision_there_is_no_row() -> None:
    made, history = collector(Pages())
    made.collect(time.monotonic(), 1000.0)
    assert not history.rows


def test_who_decides_is_dated_from_the_change_and_not_from_a_new_reason() -> None:
    made, history = collector(Pages())
    for at_s, ruler in ((10.0, "elastic"), (11.0, "elastic"), (12.0, "lapsed")):
        made.observe(moment(1, ruler=ruler))
        made.collect(time.monotonic(), at_s)
    assert (history.ruler.name, history.ruler.since_s) == ("lapsed", 12.0)


def test_a_start_is_shown_once_by_its_phases_and_what_is_around_them() -> None:
    made, history = collector(Pages(), {"interpreter": 0.1, "imports": 0.3})
    now_s = time.monotonic()
    made.observe(moment(1, PodSample("b", PodPhase.STARTING, now_s)))
    ready = PodSample("b", PodPhase.READY, now_s, now_s + 0.9)
    for _ in range(2):
        made.observe(moment(1, ready))
        made.collect(now_s + 2, 1000.0)
    (start,) = history.starts
    assert start.phases == {"around the process": 0.5, "interpreter": 0.1, "imports": 0.3}


def test_a_pod_that_was_ready_before_the_page_has_no_bar() -> None:
    made, history = collector(Pages())
    now_s = time.monotonic()
    made.observe(moment(1, PodSample("b", PodPhase.READY, now_s - 9.0, now_s - 6.0)))
    made.collect(now_s, 1000.0)
    assert not history.starts


def test_a_pod_that_starts_between_two_looks_has_one_bar_if_it_tells_no_phases() -> None:
    made, history = collector(Pages())
    now_s = time.monotonic()
    made.observe(moment(1))
    made.observe(moment(1, PodSample("b", PodPhase.READY, now_s, now_s + 3.0)))
    made.collect(now_s + 4, 1000.0)
    assert history.starts[0].phases == {"start": 3.0}


def test_a_pod_that_cannot_be_asked_tells_no_phases() -> None:
    pod = PodSample("b", PodPhase.READY, 0.0, 1.0)
    assert start_phases(pod) == {}
    assert start_phases(PodSample("b", PodPhase.READY, 0.0, 1.0, url="http://127.0.0.1:1")) == {}
