"""`advise` as a command: its sources, its words about a short record, and the kn lines."""

import json
from pathlib import Path

import pytest

from autoscaler_tuning.cli import main
from autoscaler_tuning.commands.cmd_advise import caveats, kn_line, present_knobs
from autoscaler_tuning.live.service_traffic import SeenTraffic
from knative.objects import Revision
from tests.knative.fake_api import revision_json


@pytest.fixture
def arrivals(tmp_path: Path) -> Path:
    path = tmp_path / "w.txt"
    path.write_text(("0 " * 50 + "20 " * 10) * 2)
    return path


def test_it_prints_each_setting_with_its_cost_and_its_kn_line(
    arrivals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["advise", "--arrivals", str(arrivals), "--seeds", "1", "--service", "mine", "--cold-start-s", "1"]
    assert main([*argv, "--json", str(tmp_path / "a.json")]) == 0
    printed = capsys.readouterr().out
    assert "w.txt: 2 minutes, 400 requests, at most 20 in one second" in printed
    assert "kn service update mine --annotation-revision autoscaling.knative.dev/min-scale=1" in printed
    assert "control --target knative --service mine" in printed
    assert "It is too short for an interval, which needs 8 minutes." in printed
    found = {one["policy"]: one for one in json.loads((tmp_path / "a.json").read_text())["advice"]}
    best = min(found.values(), key=lambda one: one["cost_per_hour"])["policy"]
    assert f"worth 250 pod-seconds (--late-price): {best}\n" in printed
    assert found["kpa"]["late_ratio"]["low"] is None


def test_flags_count_more_than_what_was_measured(arrivals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["advise", "--arrivals", str(arrivals), "--seeds", "1", "--bounds", "none"]
    assert main([*argv, "--service-time-s", "0.02", "--cold-start-s", "product"]) == 0
    assert "service time 0.02 s (not measured), pod starts of 0.6 to 1.2 s" in capsys.readouterr().out


def test_the_cheapest_setting_depends_on_the_price_of_a_late_request(
    arrivals: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["advise", "--arrivals", str(arrivals), "--seeds", "1", "--bounds", "none"]
    assert main([*argv, "--late-price", "0"]) == 0
    cheap = capsys.readouterr().out
    assert main([*argv, "--late-price", "100000"]) == 0
    strict = capsys.readouterr().out
    assert cheap.split("Cheapest")[1].split("\n")[0] != strict.split("Cheapest")[1].split("\n")[0]


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--arrivals", "w.txt", "--prometheus", "http://127.0.0.1:9"], "got --arrivals and --prometheus"),
        (["--arrivals", "none.txt"], "a workload must be a file"),
        (["--arrivals", "silent.txt"], "must have at least one request to advise on, got none in 3 s"),
        (["--prometheus", "http://127.0.0.1:9"], "cannot read a range from Prometheus at http://127.0.0.1:9"),
        (["--dispatcher", "http://127.0.0.1:9"], "cannot read the signals of http://127.0.0.1:9"),
    ],
)
def test_bad_sources_exit_2_with_one_line(
    monkeypatch: pytest.MonkeyPatch,
    arrivals: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    reason: str,
) -> None:
    monkeypatch.chdir(arrivals.parent)
    monkeypatch.setenv("KUBECONFIG", str(arrivals.parent / "none"))
    (arrivals.parent / "silent.txt").write_text("0 0 0")
    assert main(["advise", *flags]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


def test_without_a_cluster_the_default_source_fails_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert main(["advise"]) == 1
    assert "no cluster is configured" in capsys.readouterr().err


def test_a_kn_line_sets_the_knobs_and_removes_those_that_are_left_over() -> None:
    present = present_knobs(Revision.from_json(revision_json("r", window="6s", min_scale="3", max_scale="9")))
    group = "--annotation-revision autoscaling.knative.dev"
    assert kn_line("kpa[min-scale=1]", "mine", present) == f"kn service update mine {group}/min-scale=1 {group}/window-"
    assert f"{group}/window=8s" in kn_line("kpa-tuned", "mine", present)
    assert f"{group}/window-" not in kn_line("kpa-tuned", "mine", present)


def test_what_a_record_cannot_tell_is_said() -> None:
    day = SeenTraffic((1,) * 86_400, "x")
    assert not any("day" in line for line in caveats(day, ()))
    coarse = SeenTraffic((1,) * 600, "x", step_s=15.0)
    assert any("each 15 s, so shorter bursts are invisible" in line for line in caveats(coarse, ()))
    assert any("nothing about other hours, nights and weekends" in line for line in caveats(coarse, ()))
