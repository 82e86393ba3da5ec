"""The rules for Prometheus: valid, tested, described in the runbook, and the same for the Prometheus Operator."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from scripts.prometheus_rule import OBJECT, prometheus_rule
from tests.docs.links import anchors
from tests.monitoring.queries import RULES, RUNBOOK, rules
from tests.paths import ROOT

RULES_TESTS = [Path(__file__).parent / name for name in ("rules_short_test.yaml", "rules_test.yaml")]


def promtool(*argv: str) -> str:
    """Run promtool; return its output, and fail if it fails."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("needs the program promtool (Debian: apt-get install prometheus)")
    done = subprocess.run([program, *argv], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_accepts_the_rules() -> None:
    assert f"{len(rules('record')) + len(rules('alert'))} rules found" in promtool("check", "rules", str(RULES))


@pytest.mark.timeout(660)
@pytest.mark.parametrize("path", RULES_TESTS, ids=lambda path: path.stem)
def test_each_alert_fires_when_it_should_and_only_then(path: Path) -> None:
    promtool("test", "rules", str(path))


def test_no_alert_is_without_a_test_that_it_fires() -> None:
    files = [yaml.safe_load(path.read_text()) for path in RULES_TESTS]
    cases = [case for file in files for test in file["tests"] for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == {rule["alert"] for rule in rules("alert")}


def test_each_alert_links_to_its_paragraph_of_the_runbook() -> None:
    links = {rule["alert"]: rule["annotations"]["runbook_url"].partition("#") for rule in rules("alert")}
    headings = anchors(RUNBOOK.read_text())
    for alert, (page, _, heading) in links.items():
        assert ROOT / page == RUNBOOK, alert
        assert heading in headings, f"{alert} links to #{heading}, which docs/runbook.md has not"


def test_the_runbook_names_each_alert_below_the_heading_that_it_links_to() -> None:
    sections = re.split(r"^## ", RUNBOOK.read_text(), flags=re.MULTILINE)[1:]
    named = {
        alert: next(iter(anchors("## " + text))) for text in sections for alert in re.findall(r"`(\w+)` fires", text)
    }
    linked = {rule["alert"]: rule["annotations"]["runbook_url"].partition("#")[2] for rule in rules("alert")}
    assert named == linked


def test_the_runbook_says_how_long_the_condition_of_each_alert_must_hold() -> None:
    text = " ".join(RUNBOOK.read_text().split())
    words = {"1m": "a minute", "2m": "two minutes", "5m": "five minutes", "1h": "an hour"}
    for rule in rules("alert"):
        sentence = text.partition(f"`{rule['alert']}` fires ")[2].partition(". ")[0]
        assert "for" not in rule or f"for {words[rule['for']]}" in sentence, (rule["alert"], sentence)


def test_each_alert_has_a_severity_and_a_summary() -> None:
    for rule in rules("alert"):
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]


def test_the_object_of_the_operator_has_the_same_rules() -> None:
    assert OBJECT.read_text() == prometheus_rule(RULES.read_text()), "run scripts/prometheus_rule.py"
