"""The README's curl commands for one pod, run unchanged."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.function.test_server import Pod
from tests.paths import ROOT

SECTION = (ROOT / "README.md").read_text().partition("## Protocols\n")[2].partition("\n## ")[0]
LINES = re.findall(r"^    (.*curl .*localhost:8000\S*)$", SECTION, re.MULTILINE)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("readme"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl"),
]


@pytest.fixture(scope="module")
def pod(model_dir: Path) -> Iterator[Pod]:
    started = Pod(model_dir).ready()
    yield started
    started.process.terminate()
    started.process.communicate(timeout=60)


def test_there_is_a_line_for_every_protocol() -> None:
    assert {path for line in LINES for path in re.findall(r"localhost:8000(/[a-z0-9]*)", line)} == {
        "/predict",
        "/v1",
        "/v2",
        "/",
    }


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[-50:])
def test_the_command_returns_a_label(pod: Pod, line: str) -> None:
    command = line.replace("curl ", "curl -sSf ").replace("localhost:8000", f"127.0.0.1:{pod.port}")
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "label" in done.stdout
