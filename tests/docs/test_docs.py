"""README and docs: links lead somewhere, and command lines run, or name what exists."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.commands import Command, collected, listing, pages, problems, run_as
from tests.docs.links import broken_links, missing_paths
from tests.function.test_server import Pod
from tests.paths import ROOT
from tests.ports import free_port, wait_for

COMMANDS = collected()
RUN = [command for command in COMMANDS if run_as(command)]
# A run of one second may miss its SLO or be invalid on a busy machine; it has run, and its flags were accepted.
FINE = {"loadgen": (0, 1, 3)}
README_LINES = 150
# One worker runs all tests that share the pod and the dispatcher; the first of them may wait for the model's export.
STARTED_MARKS = (pytest.mark.integration, pytest.mark.xdist_group("docs"), pytest.mark.timeout(600))


def with_servers(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that uses the started pod and dispatcher."""
    for mark in STARTED_MARKS:
        test = mark(test)
    return test


@dataclass(frozen=True, slots=True)
class Started:
    """A pod, a dispatcher in front of it, and a folder like a clone in which commands may write."""

    pod_port: int
    dispatcher_port: int
    control_port: int
    folder: Path

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line as a user would, with the ports of this pod and dispatcher."""
        for documented, port in (("8000", self.pod_port), ("8001", self.dispatcher_port), ("8011", self.control_port)):
            line = line.replace(f"localhost:{documented}", f"127.0.0.1:{port}")
            line = line.replace(f"127.0.0.1:{documented}", f"127.0.0.1:{port}")
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            ["bash", "-c", line], cwd=self.folder, env=env, capture_output=True, text=True, timeout=120, check=False
        )


@pytest.fixture(scope="module")
def started(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    folder = tmp_path_factory.mktemp("clone")
    for entry in ROOT.iterdir():
        if entry.name not in (".venv", "model", ".run"):
            (folder / entry.name).symlink_to(entry)
    (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
    pod = Pod(model_dir).ready()
    port, control_port = free_port(), free_port()
    dispatcher = subprocess.Popen(
        [
            *(sys.executable, "-m", "dispatcher", "--host", "127.0.0.1", "--port", str(port)),
            *("--control-port", str(control_port), "--ml-service-url", pod.url),
            *("--journal", str(tmp_path_factory.mktemp("journal") / "journal.sqlite3")),
        ],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/")
        found = Started(pod.port, port, control_port, folder)
        kept = "python -m loadgen http://127.0.0.1:8001/predict --seconds 7 --json run.json --quiet"
        assert found.run(kept).returncode in FINE["loadgen"]
        for copy in ("before.json", "after.json"):
            shutil.copy(folder / "run.json", folder / copy)
        yield found
    finally:
        for process in (dispatcher, pod.process):
            process.terminate()
            process.communicate(timeout=60)


def test_the_readme_has_at_most_150_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_relative_link_and_anchor_exists(page: Path) -> None:
    assert not broken_links(page, page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_path_in_inline_code_exists(page: Path) -> None:
    assert not missing_paths(page.read_text(encoding="utf-8"))


def test_every_page_of_docs_is_in_its_index() -> None:
    index = (ROOT / "docs/README.md").read_text()
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"({page.name})" not in index] == ["README.md"]


@pytest.mark.integration  # the parser of function.tools.export imports torch, which takes seconds
@pytest.mark.xdist_group("torch")
def test_every_command_names_what_exists() -> None:
    print(listing(COMMANDS))
    assert not [problem for command in COMMANDS for problem in problems(command)]


def test_the_curl_lines_have_one_for_every_protocol() -> None:
    lines = " ".join(command.line for command in RUN if "localhost:8000" in command.line)
    for path in ("/predict", "/v1/", "/v2/", "localhost:8000/"):
        assert path in lines


@with_servers
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl")
@pytest.mark.parametrize("command", RUN, ids=lambda command: f"{command.page}: {command.line[:60]}")
def test_the_line_runs(started: Started, command: Command) -> None:
    line = run_as(command)
    assert line
    done = started.run(line)
    fine = FINE["loadgen"] if "-m loadgen" in line else (0,)
    assert done.returncode in fine, done.stdout + done.stderr
    if "curl" in line and "@samples" in line:
        assert "label" in done.stdout or "X-Job-State: " in done.stdout


@with_servers
def test_the_documented_response_has_the_fields_of_a_real_one(started: Started) -> None:
    shown = (ROOT / "README.md").read_text().partition("```json\n")[2].partition("```")[0]
    line = "curl -sSf -F file=@samples/cat.jpg localhost:8001/add_to_queue"
    real = json.loads(started.run(line).stdout)
    documented = json.loads(shown)
    assert set(documented) == set(real)
    assert set(documented["model"]) <= set(real["model"])
