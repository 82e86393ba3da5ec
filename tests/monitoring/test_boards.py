"""The dashboards' JSON: what Grafana needs to load and lay out a dashboard.

Grafana itself is not in Debian's packages, and its schema is not published as a file, so this checks the fields that the
boards use, by the documented dashboard model. Source: https://grafana.com/docs/grafana/latest/dashboards/ (JSON model).
"""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.monitoring.queries import BOARDS, board, panels

WIDTH = 24
UNITS = {"bytes", "ops", "percentunit", "reqps", "s", "short"}
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

each_board = pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)


def test_there_are_boards_for_the_dispatcher_the_scaling_and_the_pods() -> None:
    assert [path.stem for path in BOARDS] == ["dispatcher", "pods", "scaling"]


def test_no_two_boards_share_a_uid_or_a_title() -> None:
    boards = [board(path) for path in BOARDS]
    for key in ("uid", "title"):
        assert len({one[key] for one in boards}) == len(boards)


@each_board
def test_the_board_has_the_fields_of_a_dashboard(path: Path) -> None:
    found = board(path)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,40}", found["uid"])
    assert found["title"]
    assert isinstance(found["schemaVersion"], int)
    assert set(found["time"]) == {"from", "to"}
    assert "id" not in found  # which belongs to one Grafana; with it an import overwrites another board


@each_board
def test_datasource_namespace_and_service_can_be_chosen(path: Path) -> None:
    variables = {one["name"]: one for one in board(path)["templating"]["list"]}
    assert list(variables) == ["datasource", "namespace", "service"]
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    for name in ("namespace", "service"):
        assert variables[name]["type"] == "query"
        assert variables[name]["datasource"] == DATASOURCE
        assert re.fullmatch(rf"label_values\(\w+({{[^}}]*}})?, {name}\)", variables[name]["query"]["query"])
        assert (variables[name]["includeAll"], variables[name]["allValue"]) == (True, ".*")


@each_board
def test_each_query_asks_the_chosen_datasource_and_uses_only_known_variables(path: Path) -> None:
    for panel in panels(path):
        assert panel["datasource"] == DATASOURCE, panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert references
        assert len(set(references)) == len(references), panel["title"]
        for target in panel["targets"]:
            assert target["datasource"] == DATASOURCE, panel["title"]
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= {"namespace", "service", "__rate_interval"}
            assert target["legendFormat"], panel["title"]


@each_board
def test_each_query_but_constants_selects_the_namespace(path: Path) -> None:
    for panel in panels(path):
        for target in panel["targets"]:
            selectors = re.findall(r"{([^}]*)}", target["expr"])
            alone = target["expr"].startswith("vector(") or "kn_activator_stats" in target["expr"]
            assert alone or (selectors and all('=~"$namespace"' in selector for selector in selectors)), target["expr"]


@each_board
def test_each_panel_has_a_title_a_description_a_unit_and_a_number(path: Path) -> None:
    found = board(path)["panels"]
    assert len({panel["id"] for panel in found}) == len(found)
    for panel in panels(path):
        assert panel["type"] == "timeseries"
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]


@each_board
def test_no_panel_overlaps_another_or_leaves_the_page(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board(path)["panels"]:
        cells = _cells(panel["gridPos"])
        assert all(0 <= x < WIDTH for x, _ in cells), panel["title"]
        assert not taken & cells, panel["title"]
        taken |= cells


def _cells(place: dict[str, Any]) -> set[tuple[int, int]]:
    rows, columns = range(place["y"], place["y"] + place["h"]), range(place["x"], place["x"] + place["w"])
    return {(x, y) for x in columns for y in rows}
