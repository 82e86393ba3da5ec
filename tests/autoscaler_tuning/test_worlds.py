"""The flags of the simulated world: start times with their parts, and the pods at the start."""

from pathlib import Path

import pytest

from autoscaler_tuning.cli import build_parser, main
from autoscaler_tuning.commands.world_flags import start_text, world_of
from autoscaler_tuning.experiments.compare import Comparison
from autoscaler_tuning.experiments.tune import folds
from autoscaler_tuning.simulator.world import SimConfig

SERVICE_S = (0.1, 0.1)


@pytest.mark.parametrize(
    ("text", "range_s"), [("product", (0.6, 1.2)), ("heavy", (2.0, 6.0)), ("4", (4.0, 4.0)), ("1-3", (1.0, 3.0))]
)
def test_start_times_are_a_range_or_the_name_of_a_standard_one(text: str, range_s: tuple[float, float]) -> None:
    args = build_parser({}).parse_args(["compare", "--cold-start-s", text])
    assert world_of(args, SERVICE_S).cold_start_s == range_s


def test_an_unknown_start_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        build_parser({}).parse_args(["compare", "--cold-start-s", "slow"])
    assert "must be a number or a range such as 2-6, got 'slow'" in capsys.readouterr().err


def test_a_start_has_parts_and_the_report_names_those_that_are_not_0() -> None:
    flags = ["--actuation-s", "0.1", "--start-serial-s", "0.2", "--readiness-delay-s", "0.3"]
    world = world_of(build_parser({}).parse_args(["compare", *flags]), SERVICE_S)
    assert (world.actuation_s, world.start_serial_s, world.readiness_delay_s) == (0.1, 0.2, 0.3)
    assert start_text(world) == (
        "pod starts of 2 to 6 s plus 0.1 s after a decision plus 0.2 s serial on each node plus 0.3 s until requests "
        "arrive"
    )
    assert start_text(SimConfig()) == "pod starts of 2 to 6 s"


@pytest.mark.parametrize("command", [["compare"], ["goals", "--trace", "a.txt"], ["tune", "--trace", "a.txt"]], ids=str)
def test_a_simulation_starts_with_zero_pods_unless_a_flag_or_variable_says_otherwise(command: list[str]) -> None:
    def initial_pods(env: dict[str, str], *flags: str) -> int:
        return world_of(build_parser(env).parse_args([*command, *flags]), SERVICE_S).initial_pods

    assert initial_pods({}) == 0
    assert initial_pods({"INITIAL_PODS": "3"}) == 3
    assert initial_pods({"INITIAL_PODS": "3"}, "--initial-pods", "2") == 2


@pytest.mark.parametrize("initial_pods", [0, 5])
def test_tune_starts_each_part_of_the_traffic_with_these_pods(initial_pods: int) -> None:
    found = folds([Comparison((20,) * 120, SimConfig(initial_pods=initial_pods), bounds=())], 2)
    assert [part.sim.initial_pods for _, before, after in found for part in (*before, *after)] == [initial_pods] * 2


def test_a_comparison_from_zero_pods_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace.txt"
    trace.write_text("5 " * 20)
    argv = ["compare", "--workload", str(trace), "--policies", "elastic", "--seeds", "1", "--bounds", "none"]
    argv += ["--frontier-seeds", "0", "--cold-start-s", "product", "--readiness-delay-s", "0.1"]
    assert main(argv) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "pod starts of 0.6 to 1.2 s plus 0.1 s until requests arrive" in printed
    assert "initial pods: 0" in printed
