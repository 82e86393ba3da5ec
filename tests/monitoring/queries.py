"""The queries of the dashboards and the rules, as Prometheus gets them."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.paths import ROOT

MONITORING = ROOT / "knative/monitoring"
RULES = MONITORING / "rules.yaml"
BOARDS = sorted((MONITORING / "dashboards").glob("*.json"))
RUNBOOK = ROOT / "docs/runbook.md"
# metrics of Knative itself, which only a cluster has
KNATIVE = re.compile(r"\b(kn|http_server)_")


@dataclass(frozen=True, slots=True)
class Query:
    """An expression, and where it stands."""

    name: str
    expr: str

    @property
    def needs_knative(self) -> bool:
        """Return whether it is about Knative's own metrics."""
        return KNATIVE.search(self.expr) is not None


def board(path: Path) -> dict[str, Any]:
    """Return a dashboard."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def panels(path: Path) -> list[dict[str, Any]]:
    """Return the panels of a dashboard without its rows."""
    return [panel for panel in board(path)["panels"] if panel["type"] != "row"]


def rules(kind: str) -> list[dict[str, Any]]:
    """Return the rules of a kind, `record` or `alert`."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def filled(expr: str, rate_interval: str = "30s") -> str:
    """Return a panel's expression with all namespaces and Services, as Grafana fills in the choice All."""
    for variable, value in (("$namespace", ".*"), ("$service", ".*"), ("$__rate_interval", rate_interval)):
        expr = expr.replace(variable, value)
    return expr


def uncompared(expr: str) -> str:
    """Return an alert's expression so that it has a series when the alert does not fire: comparisons give 0 or 1."""
    return re.sub(r" (==|<|>) ", r" \1 bool ", expr)


def board_queries() -> Iterator[Query]:
    """Yield the query of each line of each panel."""
    for path in BOARDS:
        for panel in panels(path):
            for target in panel["targets"]:
                name = f"{path.stem}: {panel['title']} {target['refId']}"
                yield Query(name, filled(target["expr"]))


def rule_queries() -> Iterator[Query]:
    """Yield the query of each rule."""
    for rule in rules("record"):
        yield Query(rule["record"], rule["expr"])
    for rule in rules("alert"):
        yield Query(rule["alert"], uncompared(rule["expr"]))
