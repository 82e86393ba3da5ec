"""The file with a policy's state: it outlives the controller, and a bad one is reported and replaced."""

import json
import logging
from pathlib import Path

import pytest

from autoscaler_tuning.live.slots import Slots
from autoscaler_tuning.live.state_file import SAVE_EVERY_S, with_state_file
from autoscaler_tuning.policies.base import Bounded, Policy, remembering
from autoscaler_tuning.policies.peak import Peak
from autoscaler_tuning.policies.registry import policy_named
from autoscaler_tuning.types import Observation


def run(path: Path, from_s: int = 0, until_s: int = 60, unix_s: float = 1000.0) -> Policy:
    """Run elastic with its state in the file, at 20 requests a second."""
    policy = with_state_file(policy_named("elastic").make(), path, lambda: unix_s)
    for tick in range(2 * from_s, 2 * until_s):
        policy.decide(Observation(tick / 2, 3, 0, arrived=10 * tick, service_time_s=0.1))
    return policy


def test_the_next_process_knows_the_rate(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    run(path)
    policy = with_state_file(policy_named("elastic").make(), path, lambda: 1003.0)
    decision = policy.decide(Observation(5.0, 3, 0, arrived=0))
    assert decision.record["level_rps"] == pytest.approx(20, rel=0.2)


def test_the_policy_inside_its_bounds_and_slots_is_found_as_the_controller_wraps_it(tmp_path: Path) -> None:
    path, elastic = tmp_path / "state.json", policy_named("elastic").make()
    wrapped = Bounded(Slots(elastic), 0, 8)
    assert remembering(wrapped) is remembering(elastic) is not None
    assert remembering(Bounded(Slots(Peak()), 0, 8)) is None
    with_state_file(wrapped, path, lambda: 1000.0).decide(Observation(0.0, 1, 0, arrived=0))
    assert json.loads(path.read_text())["unix_s"] == 1000.0


def test_it_is_written_every_ten_seconds(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    run(path, until_s=1)
    first = path.read_text()
    policy = run(path, until_s=1)
    path.write_text(first)
    policy.decide(Observation(SAVE_EVERY_S - 1, 3, 0, arrived=20))
    assert path.read_text() == first
    policy.decide(Observation(SAVE_EVERY_S, 3, 0, arrived=40))
    assert path.read_text() != first
    assert [one.name for one in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"unix_s": null, "state": {}}', '{"unix_s": 1, "state": {"version": 99}}', "\xff\xfe", "1"],
)
def test_a_file_that_cannot_be_used_is_reported_in_one_line_and_replaced(
    content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.json"
    path.write_text(content, encoding="latin-1")
    with caplog.at_level(logging.WARNING):
        run(path, until_s=1)
    (record,) = caplog.records
    assert f"the state in {path} cannot be used, starting without it" in record.getMessage()
    assert "\n" not in record.getMessage()
    assert json.loads(path.read_text())["state"]["version"] == 1


def test_a_folder_that_is_gone_is_reported_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        policy = run(tmp_path / "gone" / "state.json")
    assert len(caplog.records) == 1
    assert policy.decide(Observation(61.0, 3, 0, arrived=1220)).pods >= 2


def test_a_policy_that_remembers_nothing_writes_nothing(tmp_path: Path) -> None:
    peak = Peak()
    assert with_state_file(peak, tmp_path / "state.json", lambda: 0.0) is peak
    assert with_state_file(peak, None, lambda: 0.0) is peak
