"""Adding a policy takes one file and one row: a policy planted in a copy runs in compare and in the controller."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

POLICY = '''
"""A planted policy that always wants the same number of pods."""

from dataclasses import dataclass

from autoscaler_tuning.types import Decision, Observation


@dataclass(frozen=True, slots=True)
class SteadyConfig:
    pods: int = 2


@dataclass(frozen=True, slots=True)
class Steady:
    config: SteadyConfig
    interval_s: float = 0.5

    def decide(self, obs: Observation) -> Decision:
        return Decision(self.config.pods, "steady")
'''
IMPORT = "from autoscaler_tuning.policies.steady import Steady, SteadyConfig\n"
ROW = """
    PolicyEntry(
        name="steady",
        about="always the same number of pods",
        config=lambda _: SteadyConfig(),
        make=Steady,
        main_knob=MainKnob("pods", (1, 3)),
    ),
"""
OPENING = "POLICIES: tuple[PolicyEntry[Any, Any], ...] = ("
CONTROLLER = """
from prometheus_client import CollectorRegistry
from autoscaler_tuning.live.controller import Controller, ControllerConfig, ControllerMetrics, NamedPolicy, Recorder
from autoscaler_tuning.live.signals import Signals
from autoscaler_tuning.live.targets import TargetState
from autoscaler_tuning.policies.registry import policy_named

class Dispatcher:
    def signals(self): return Signals(1.0, (), 0, 0, 0, 0.0, 0.0, None)
    def announce(self, *_): pass

class Pods:
    wanted = []
    def poll(self): return TargetState((), None, 0)
    def scale_to(self, pods): self.wanted.append(pods)
    def close(self): pass

spec = policy_named("steady[pods=3]")
metrics = ControllerMetrics(CollectorRegistry())
policy = NamedPolicy(spec.name, spec.make)
Controller(policy, Dispatcher(), Pods(), ControllerConfig(), metrics, Recorder(None)).step(1.0, 1.0)
print(spec.name, Pods.wanted)
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project with the policy planted."""
    folder = tmp_path_factory.mktemp("planted")
    for package in ("autoscaler_tuning", "loadgen", "knative"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "autoscaler_tuning/policies/steady.py").write_text(POLICY)
    registry = folder / "autoscaler_tuning/policies/registry.py"
    text = registry.read_text()
    assert text.count(OPENING) == 1
    text = text.replace(OPENING, OPENING + ROW)
    registry.write_text(text.replace("from autoscaler_tuning.types", IMPORT + "from autoscaler_tuning.types", 1))
    return folder


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.integration
def test_compare_simulates_a_planted_policy_and_sweeps_its_main_knob(copy: Path) -> None:
    flags = ("--workload", "step:seconds=40,low=1,high=5", "--seeds", "1", "--bounds", "none", "--frontier-seeds", "1")
    names = ("--policies", "peak,steady,steady[pods=4]@deadline")
    printed = run(copy, "-m", "autoscaler_tuning", "compare", *flags, *names)
    rows = [line.split() for line in printed.splitlines()]
    assert any(row[:1] == ["steady"] for row in rows)
    assert any(row[:1] == ["steady[pods=4]@deadline"] for row in rows)
    assert [row[:3] for row in rows if row[:2] == ["steady", "pods"]] == [
        ["steady", "pods", "1"],
        ["steady", "pods", "3"],
    ]


@pytest.mark.integration
def test_the_controller_scales_with_a_planted_policy(copy: Path) -> None:
    assert run(copy, "-c", CONTROLLER).strip() == "steady[pods=3] [3]"


@pytest.mark.integration
def test_the_message_about_an_unknown_policy_lists_a_planted_one(copy: Path) -> None:
    code = "from autoscaler_tuning.policies.registry import policy_named\ntry: policy_named('vpa')\n"
    assert "steady" in run(copy, "-c", f"{code}except ValueError as error: print(error)")


@pytest.mark.integration
def test_the_help_describes_it(copy: Path) -> None:
    assert "  steady      always the same number of pods\n" in run(copy, "-m", "autoscaler_tuning", "control", "--help")
