"""A row for each second, from the control loop and the dispatchers' pages."""

import json
import time
from collections.abc import Mapping
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from autoscaler_tuning.live.controller import Moment
from autoscaler_tuning.live.operator import Operator
from autoscaler_tuning.live.page.collector import Collector, start_phases
from autoscaler_tuning.live.page.history import COLUMNS, PageHistory, Ruler
from autoscaler_tuning.live.signals import ScrapeError
from autoscaler_tuning.live.targets import TargetState
from autoscaler_tuning.types import Decision, PodPhase, PodSample
from dispatcher.metrics import DispatcherMetrics
from function.metrics import PodMetrics
from tests.function.fakes import Fake
from tests.loadgen.servers import Server, say

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
        self.queues: dict[str, object] = {"a": QUEUE}

    def read(self, path: str) -> dict[str, bytes]:
        if self.away:
            raise ScrapeError(f"cannot read {path}: away")
        if path == "/metrics":
            return {"a": generate_latest(self.registry)}
        return {name: json.dumps(queue).encode() for name, queue in self.queues.items()}


def moment(arrived: int, *pods: PodSample, at_s: float | None = 50.0, wanted: int = 1, spent: float = 0.0) -> Moment:
    decision = Decision(wanted, f"rate: {wanted} pods", {"level_rps": 4.25, "stock_pods": 3.0})
    return Moment(1000.0, TargetState(pods, None, 0), decision, arrived, at_s, spent, 0.2, "elastic", "why")


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
    pages.metrics.answer(503, 0.2)
    ready, starting = PodSample("b", PodPhase.READY, 1.0, 2.0), PodSample("c", PodPhase.STARTING, 1.0)
    ending = [PodSample(name, PodPhase.TERMINATING, 1.0, 2.0) for name in "def"]
    made.observe(moment(14, ready, starting, *ending, at_s=51.0, wanted=2, spent=7.525))
    made.collect(time.monotonic(), 1001.0)
    found = last(history)
    assert (found["t_s"], found["arrivals"], found["level_rps"]) == (1001.0, 4, 4.25)
    assert found["pod_seconds"] == 2.525
    assert (found["ready"], found["starting"], found["wanted"], found["stock"]) == (1, 1, 2, 3)
    assert found["terminating"] == 3
    assert (found["waiting_high"], found["waiting_normal"], found["waiting_low"]) == (2, 0, 1)
    assert (found["oldest_s"], found["expired"], found["retry_after_s"]) == (1.5, 1, 0.8)
    assert (found["answers"], found["in_time"], found["lost"]) == (2, 1, 1)
    assert [(one.pods, one.reason) for one in history.decisions] == [(1, "rate: 1 pods"), (2, "rate: 2 pods")]


def test_the_queues_of_all_dispatchers_count() -> None:
    pages = Pages()
    made, history = collector(pages)
    one = {"priority": "high", "waiting": 5, "expired": 2, "oldest_wait_s": 0.2}
    pages.queues = {"a": QUEUE, "b": {"classes": [one], "retry_after_s": 0.1}}
    made.observe(moment(1))
    made.collect(time.monotonic(), 1000.0)
    found = last(history)
    assert (found["waiting_high"], found["waiting_low"], found["expired"]) == (7, 1, 3)
    assert (found["oldest_s"], found["retry_after_s"]) == (1.5, 0.8)


@pytest.mark.parametrize("queue", [{}, {"classes": 1, "retry_after_s": 0}, {"classes": [{"priority": "x"}]}])
def test_a_malformed_page_leaves_the_rest_of_the_row(queue: object) -> None:
    pages = Pages()
    made, history = collector(pages)
    pages.queues = {"a": queue}
    made.observe(moment(3, wanted=2))
    made.collect(time.monotonic(), 1000.0)
    assert last(history)["wanted"] == 2


def test_a_row_that_cannot_be_made_is_not_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoscaler_tuning.live.page.collector.EVERY_S", 0.0)
    fails = iter([RuntimeError("a fault of ours")])

    class Faulty(Pages):
        def read(self, path: str) -> dict[str, bytes]:
            for error in fails:
                raise error
            return super().read(path)

    made, history = collector(Faulty())
    made.observe(moment(1))
    made.start()
    end_s = time.monotonic() + 60
    while not history.rows:
        assert time.monotonic() < end_s
        time.sleep(0.05)
    assert next(fails, None) is None


def test_only_a_changed_number_of_pods_is_marked_as_a_decision() -> None:
    made, history = collector(Pages())
    for wanted, reason in ((1, "rate"), (1, "another"), (2, "rate")):
        made.observe(replace(moment(1), decision=Decision(wanted, reason)))
    made.collect(time.monotonic(), 1000.0)
    assert [one.pods for one in history.decisions] == [1, 2]


def test_a_dispatcher_that_is_away_leaves_the_rest_of_the_row() -> None:
    pages = Pages()
    made, history = collector(pages)
    pages.away = True
    made.observe(moment(3, wanted=2))
    made.collect(time.monotonic(), 1000.0)
    assert last(history)["wanted"] == 2
    assert last(history)["p99_s"] is None


def shown_arrivals(*moments: Moment) -> list[float | None]:
    made, history = collector(Pages())
    for one in moments:
        made.observe(one)
        made.collect(time.monotonic(), 1000.0)
    return [one[COLUMNS.index("arrivals")] for one in history.rows]


def test_a_dispatcher_that_counts_anew_leaves_a_gap_not_a_negative_number() -> None:
    counts = [(10, 50.0), (2, 51.0), (5, 52.0), (5, 53.0), (6, 1.0), (8, 2.0)]
    moments = [moment(arrived, at_s=at_s) for arrived, at_s in counts]
    assert shown_arrivals(*moments) == [None, None, 3, 0, None, 2]


def test_steady_arrivals_are_a_steady_rate_whenever_they_are_counted() -> None:
    moments = [moment(round(40 * at_s), at_s=at_s) for at_s in (50.0, 51.0, 52.55, 53.075, 53.075, 55.0)]
    assert shown_arrivals(*moments) == [None, 40, 40, 40, 40, 40]


def test_what_arrived_before_the_first_signals_is_no_rate() -> None:
    assert shown_arrivals(moment(0, at_s=None), moment(9000), moment(9004, at_s=51.0)) == [None, None, 4]


def test_a_rate_of_old_signals_is_not_shown() -> None:
    old = replace(moment(44, at_s=51.0), signals_age_s=12.0)
    assert shown_arrivals(moment(40), moment(44, at_s=51.0), old) == [None, 4, None]


def test_a_control_loop_that_stands_still_shows_as_age() -> None:
    made, history = collector(Pages())
    made.observe(moment(1))
    made.collect(time.monotonic() + 30, 1000.0)
    age_s = last(history)["age_s"]
    assert age_s is not None
    assert age_s >= 30


@pytest.mark.parametrize(("signals_age_s", "shown"), [(12.0, 12.0), (float("inf"), 86_400.0)], ids=["old", "none yet"])
def test_signals_that_are_old_show_as_age(signals_age_s: float, shown: float) -> None:
    made, history = collector(Pages())
    made.observe(replace(moment(1), signals_age_s=signals_age_s))
    made.collect(time.monotonic(), 1000.0)
    assert last(history)["age_s"] == shown


def test_before_the_first_decision_there_is_no_row() -> None:
    made, history = collector(Pages())
    made.collect(time.monotonic(), 1000.0)
    assert not history.rows


def test_who_decides_is_dated_from_the_change_and_not_from_a_new_reason() -> None:
    made, history = collector(Pages())
    shown = []
    for at_s, ruler, why in ((10.0, "elastic", "a"), (11.0, "elastic", "b"), (12.0, "lapsed", "b")):
        made.observe(replace(moment(1), ruler=ruler, why=why))
        made.collect(time.monotonic(), at_s)
        shown.append(history.ruler)
    assert shown == [Ruler("elastic", "a", 10.0), Ruler("elastic", "b", 10.0), Ruler("lapsed", "b", 12.0)]


def test_a_start_is_shown_once_by_its_phases_and_what_is_around_them() -> None:
    made, history = collector(Pages(), {"interpreter": 0.1, "imports": 0.3})
    now_s = time.monotonic()
    made.observe(moment(1, PodSample("b", PodPhase.STARTING, now_s)))
    ready = PodSample("b", PodPhase.READY, now_s, now_s + 0.9)
    for _ in range(2):
        made.observe(moment(1, ready))
        made.collect(now_s + 2, 1000.0)
    (start,) = history.starts
    assert (start.t_s, start.pod) == (998.9, "b")
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


def test_the_phases_of_our_function_do_not_overlap() -> None:
    registry, fake = CollectorRegistry(), Fake()
    metrics = PodMetrics(registry, fake.model)
    for phase, took_s in (("interpreter", 0.125), ("imports", 0.25), ("engine", 0.2), ("ready", 0.5)):
        metrics.cold_start.labels(phase).set(took_s)
    server = Server(lambda handler: say(handler, 200, generate_latest(registry)))
    pod = PodSample("b", PodPhase.READY, 0.0, 1.0, url=server.url.rstrip("/"))
    assert start_phases(pod) == {"interpreter": 0.125, "imports": 0.25, "engine and warm-up": 0.125}
    server.shutdown()


def test_a_pod_that_cannot_be_asked_tells_no_phases() -> None:
    pod = PodSample("b", PodPhase.READY, 0.0, 1.0)
    assert start_phases(pod) == {}
    assert start_phases(PodSample("b", PodPhase.READY, 0.0, 1.0, url="http://127.0.0.1:1")) == {}
