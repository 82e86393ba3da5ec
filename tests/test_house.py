"""Rules for the whole repository: pins, Procfile, and imports without side effects."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT


def pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", path.read_text(), re.MULTILINE))


@pytest.mark.parametrize("component", ["function", "dispatcher"])
def test_the_root_requirements_include_those_of_each_image(component: str) -> None:
    everything, own = pins(ROOT / "requirements.txt"), pins(ROOT / component / "requirements.txt")
    assert own
    assert own.items() <= everything.items()


def test_torch_is_pinned_but_not_required_by_a_pod() -> None:
    everything = pins(ROOT / "requirements.txt")
    assert (everything["torch"], everything["torchvision"]) == ("2.14.1", "0.29.1")
    assert "torch" not in pins(ROOT / "function/requirements.txt")


def test_every_pin_has_a_hash() -> None:
    for folder in (".", "function", "dispatcher", "tests/clients"):
        path = ROOT / folder / "requirements.txt"
        for entry in re.split(r"\n(?=\S)", path.read_text()):
            assert entry.startswith("#") or "--hash=sha256:" in entry, entry


def test_the_procfile_has_a_line_for_each_process() -> None:
    lines = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    assert set(lines) == {"web", "dispatcher", "controller"}
    assert shlex.split(lines["web"])[0] == "gunicorn"


@pytest.mark.integration
def test_importing_a_module_starts_no_process_thread_or_connection() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for component in ("function", "dispatcher", "knative", "autoscaler_tuning", "loadgen")
        for path in sorted((ROOT / component).rglob("*.py"))
        if path.parent.name != "engines"
        and path.name not in ("__main__.py", "wsgi.py", "gunicorn.conf.py", "export.py")
    ]
    code = (
        "import importlib, threading, subprocess, socket, sys\n"
        "def refuse(*a, **k): raise SystemExit(f'started something: {a}')\n"
        "subprocess.Popen.__init__ = refuse; threading.Thread.start = refuse; socket.socket.connect = refuse\n"
        f"[importlib.import_module(name) for name in {modules!r}]"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(modules) > 40
