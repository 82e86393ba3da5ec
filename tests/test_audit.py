"""`make audit` fails if a package is vulnerable, and also if it could not check one."""

import runpy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from tests.paths import ROOT

Report = Callable[[str, Sequence[Mapping[str, Any]]], int]
SAFE = {"name": "a", "version": "1", "vulns": []}
VULNERABLE = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "skip_reason": "not found on PyPI: c"}


@pytest.fixture(scope="module")
def report() -> Report:
    function: Report = runpy.run_path(str(ROOT / "scripts/audit.py"))["report"]
    return function


@pytest.mark.parametrize(
    ("findings", "status", "text"),
    [
        pytest.param([SAFE], 0, "1 of 1 packages checked, 0 with", id="all safe"),
        pytest.param([SAFE, VULNERABLE], 1, "b 2: CVE-1 (fixed in 3)", id="one vulnerable"),
        pytest.param([SAFE, SKIPPED], 2, "not checked: c", id="one not checked"),
        pytest.param([VULNERABLE, SKIPPED], 1, "not checked: c", id="vulnerable and not checked"),
        pytest.param([SKIPPED], 2, "nothing checked: not found on PyPI: c", id="none checked"),
        pytest.param([], 2, "nothing checked: no answer", id="no answer"),
    ],
)
def test_the_status_is_0_only_if_every_package_was_checked_and_is_safe(
    findings: list[Mapping[str, Any]], status: int, text: str, report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report("requirements.txt", findings) == status
    assert text in capsys.readouterr().out
