"""The picture of the packages in docs/architecture.md is what the script prints, and no import leads in a circle."""

import re
import subprocess
import sys

import pytest

from tests.paths import ROOT

BLOCK = re.compile(r"<!-- layout -->.*?```text\n(.*?)```\n<!-- /layout -->", re.DOTALL)


def layout(*packages: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts/layout.py"), *packages]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.integration
def test_the_documented_layout_is_the_layout_of_the_code() -> None:
    """Paste the output of `make layout` into docs/architecture.md if this fails."""
    match = BLOCK.search((ROOT / "docs/architecture.md").read_text())
    assert match is not None
    printed = layout()
    assert printed.returncode == 0, printed.stderr
    assert match[1] == printed.stdout


@pytest.mark.integration
def test_an_unknown_package_is_refused_with_the_known_ones() -> None:
    refused = layout("functions")
    assert refused.returncode == 2
    assert "function, dispatcher, knative, loadgen, autoscaler_tuning" in refused.stderr
    assert "functions" in refused.stderr
