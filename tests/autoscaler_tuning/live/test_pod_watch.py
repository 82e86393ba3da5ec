"""The watch of pods that Knative's own autoscaler scales: its lines are those of the controller's record."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoscaler_tuning.live.pod_watch import PodWatch
from knative.client import KnativeClient
from knative.errors import ClusterError
from knative.objects import REVISIONS
from tests.knative.fake_api import FakeApi, pod_json, ready, revision_json

REVISION = "resnet18-00001"


def cluster() -> FakeApi:
    return FakeApi(revisions=[revision_json(REVISION)], pods=[pod_json("a", REVISION, ready())])


def lines(record: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in record.read_text().splitlines()]


def test_a_line_has_the_pods_and_what_knative_wants_and_no_waiting_requests(tmp_path: Path) -> None:
    api = cluster()
    api.objects[REVISIONS][REVISION]["status"]["desiredReplicas"] = 3
    watch = PodWatch(KnativeClient("default", api), REVISION, tmp_path / "r.jsonl")
    watch.poll(0.0, 1000.0)
    (line,) = lines(tmp_path / "r.jsonl")
    assert (line["unix_s"], line["ready"], line["starting"], line["terminating"]) == (1000.0, 1, 0, 0)
    assert (line["wanted_pods"], line["waiting"], line["cold_starts"]) == (3, None, 1)


def test_a_change_is_written_at_once_and_an_unchanged_state_once_a_second(tmp_path: Path) -> None:
    api = cluster()
    watch = PodWatch(KnativeClient("default", api), REVISION, tmp_path / "r.jsonl")
    for step in range(9):
        if step == 2:
            api.pod_list.append(pod_json("b", REVISION, ready("False")))
        watch.poll(step / 4, 1000 + step / 4)
    found = lines(tmp_path / "r.jsonl")
    assert [line["unix_s"] - 1000 for line in found] == [0.0, 0.5, 1.5]
    assert [(line["ready"], line["starting"]) for line in found] == [(1, 0), (1, 1), (1, 1)]
    assert found[-1]["pod_seconds"] == pytest.approx(0.25 + 2 * 1.25)
    assert [line["cold_starts"] for line in found] == [1, 2, 2]


def test_a_pod_that_is_replaced_counts_as_a_start(tmp_path: Path) -> None:
    api = cluster()
    watch = PodWatch(KnativeClient("default", api), REVISION, tmp_path / "r.jsonl")
    watch.poll(0.0, 1000.0)
    api.pod_list[:] = [pod_json("b", REVISION, ready())]
    watch.poll(1.0, 1001.0)
    assert lines(tmp_path / "r.jsonl")[-1]["cold_starts"] == 2


def test_a_cluster_that_cannot_be_read_stops_the_run_before_its_traffic(tmp_path: Path) -> None:
    api = cluster()
    api.away = True
    with (
        pytest.raises(ClusterError, match="cannot reach"),
        PodWatch(KnativeClient("default", api), REVISION, tmp_path / "r.jsonl"),
    ):
        pass


class Unsteady(FakeApi):
    """A cluster that counts the calls that it did not answer."""

    unanswered = 0

    def _answer(self) -> None:
        self.unanswered += self.away
        super()._answer()


@pytest.mark.integration
def test_it_watches_in_the_background_and_survives_an_outage(tmp_path: Path) -> None:
    record = tmp_path / "r.jsonl"
    api = Unsteady(revisions=[revision_json(REVISION)], pods=[pod_json("a", REVISION, ready())])
    with PodWatch(KnativeClient("default", api), REVISION, record):
        api.away = True
        wait_for_change(lambda: api.unanswered > 1)
        api.pod_list.append(pod_json("b", REVISION, ready()))
        api.away = False
        wait_for_change(lambda: lines(record)[-1]["ready"] == 2)


def wait_for_change(done: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
