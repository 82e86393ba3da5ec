"""The history keeps the last hour, and gives each second to all who wait for it."""

import json
import threading

from autoscaler_tuning.live.operator import Operator
from autoscaler_tuning.live.page.history import COLUMNS, DecisionMark, PageHistory, PodStart
from tests.autoscaler_tuning.live.page.made import full_history, row


def test_a_row_has_a_value_for_each_column() -> None:
    assert len(row(1, 0.0)) == len(COLUMNS)


def test_an_hour_of_seconds_is_kept_and_no_more() -> None:
    history = full_history(3700)
    document = history.document()
    assert len(document["rows"]) == 3600
    assert (len(document["starts"]), len(document["decisions"])) == (10, 123)
    assert document["rows"][-1][0] - document["rows"][0][0] == 3599


def test_each_second_is_an_event_with_the_row_and_what_happened() -> None:
    history = PageHistory("a", "elastic", 0.25, Operator(8))
    history.add(row(1, 5.0), [DecisionMark(5.0, 2, "rate: 2 pods")], [PodStart(5.0, "pod-1", {"start": 2.5})])
    count, message = history.after(0, 1)
    assert message.startswith(b"data: ")
    assert message.endswith(b"\n\n")
    news = json.loads(message.removeprefix(b"data: "))
    assert news["row"] == json.loads(json.dumps(row(1, 5.0)))
    assert news["decisions"] == [{"t_s": 5.0, "pods": 2, "reason": "rate: 2 pods"}]
    assert news["starts"] == [{"t_s": 5.0, "pod": "pod-1", "phases": {"start": 2.5}}]
    assert (news["bounds"], news["paused"]) == ([0, 8], False)
    assert history.after(count, 0.01) == (count, b"")
    assert history.document()["slo_s"] == 0.25


def test_what_the_operator_set_is_told_with_the_next_second() -> None:
    history = PageHistory("a", "elastic", 0.5, Operator(8, paused=True, bounds=(1, 3)))
    history.add(row(1, 5.0), [], [])
    news = json.loads(history.after(0, 1)[1].removeprefix(b"data: "))
    assert (news["bounds"], news["paused"]) == ([1, 3], True)


def test_a_viewer_that_was_slow_gets_every_second_since() -> None:
    history = full_history(5)
    count = history.count
    for second in range(count + 1, count + 71):
        history.add(row(second, float(second)), [DecisionMark(float(second), second, "rate")], [])
        if second == count + 3:
            assert seconds_of(history.after(count, 1)[1]) == [second - 2.0, second - 1.0, second]
    newest, events = history.after(count, 1)
    assert newest == count + 70
    assert seconds_of(events) == [float(second) for second in range(newest - 59, newest + 1)]
    assert history.after(newest, 0.01) == (newest, b"")


def seconds_of(events: bytes) -> list[float]:
    return [json.loads(one.removeprefix(b"data: "))["decisions"][0]["t_s"] for one in events.split(b"\n\n")[:-1]]


def test_all_who_wait_get_the_same_bytes() -> None:
    history = PageHistory("a", "elastic", 0.5, Operator(8))
    got: list[bytes] = []
    threads = [threading.Thread(target=lambda: got.append(history.after(0, 600)[1]), daemon=True) for _ in range(20)]
    for thread in threads:
        thread.start()
    history.add(row(1, 5.0), [], [])
    for thread in threads:
        thread.join(60)
    assert len(got) == 20
    assert len({id(message) for message in got}) == 1
