"""The README's picture: its table, and the simulator's present answers."""

import json
import re
from html import unescape

import pytest

from autoscaler_tuning.experiments.compare import Comparison, compare
from autoscaler_tuning.simulator.world import SimConfig
from loadgen.workload.workload import read_workload
from tests.paths import ROOT

IMAGES = ROOT / "docs/images"
WORLD = SimConfig(service_time_s=0.1, cold_start_s=(2.0, 6.0), slo_s=0.5, initial_pods=0, max_pods=40)


@pytest.fixture(scope="module")
def shown() -> dict[str, object]:
    """What scripts/picture wrote into the description of the picture."""
    text = (IMAGES / "result-light.svg").read_text()
    match = re.search(r"<dc:description>(.*?)</dc:description>", text, re.DOTALL)
    assert match
    found: dict[str, object] = json.loads(unescape(match[1]))
    return found


def test_the_readme_has_the_table_of_its_picture(shown: dict[str, list[str]]) -> None:
    assert "\n".join(shown["table"]) in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", ["result", "timeline", "jump", "price"])
def test_every_figure_exists_light_and_dark(name: str) -> None:
    light, dark = ((IMAGES / f"{name}-{theme}.svg").read_text() for theme in ("light", "dark"))
    assert light != dark


def test_the_simulator_still_gives_what_the_picture_shows(shown: dict[str, dict[str, list[float]]]) -> None:
    pictured = shown["seed 0, late and pod-seconds"]
    comparison = Comparison(read_workload(ROOT / "workload.txt").counts, WORLD, bounds=())
    rows = [run.row for run in compare(comparison, list(pictured), 1, lambda text: None)]
    now = {row.policy: [row.late, round(row.pod_seconds, 3)] for row in rows}
    assert now == pictured, "the simulator's results changed: run make picture, and copy its table into the README"
