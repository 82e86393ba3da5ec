"""The cold start: its phases, and a limit on the imported modules."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from function.startup import PHASES, Background, ColdStart, cold_start, process_age_s
from tests.paths import ROOT

# Modules of a gunicorn worker that is ready. Each further module lengthens every cold start.
MAX_MODULES = 560
PACKAGES = {
    "PIL", "blinker", "click", "flask", "function", "gunicorn", "itsdangerous", "jinja2", "markupsafe", "numpy",
    "onnxruntime", "packaging", "prometheus_client", "werkzeug",
}  # fmt: skip
NEVER = {"asyncio", "multiprocessing", "unittest", "xml", "sqlite3", "pdb", "doctest", "pydoc", "psutil", "ctypes.util"}


def test_a_phase_sums_its_parts() -> None:
    start = ColdStart()
    with start.phase("weights"):
        pass
    first_s = start.phases_s["weights"]
    with start.phase("weights"):
        pass
    assert start.phases_s["weights"] > first_s > 0


def test_ready_counts_from_the_start_of_the_process() -> None:
    start = ColdStart()
    start.ready()
    assert start.phases_s["ready"] >= start.phases_s["interpreter"] > 0
    assert start.line().startswith(f"ready {start.phases_s['ready']:.3f} s after process start: interpreter ")


def test_a_worker_counts_from_its_masters_start() -> None:
    assert cold_start() is cold_start()


def test_the_age_of_a_process_is_in_seconds() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert 0 <= process_age_s(child.pid) < process_age_s(os.getpid())
        child.kill()


def test_background_steps_run_in_order_and_leave_no_thread() -> None:
    background, done = Background(), list[int]()
    first, second = background.start(lambda: done.append(1)), background.start(lambda: done.append(2))
    slow = background.start(lambda: sum(range(10**6)))
    background.close()
    assert slow.done()
    assert (first.result(), second.result(), done) == (None, None, [1, 2])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("cold-start")]


def test_a_background_error_is_raised_by_its_result() -> None:
    background = Background()
    failed = background.start(lambda: 1 // 0)
    background.close()
    with pytest.raises(ZeroDivisionError):
        failed.result()


SERVE = """
import sys
before = set(sys.modules)
import gunicorn.app.wsgiapp, gunicorn.arbiter, gunicorn.workers.gthread
import runpy; runpy.run_path("function/gunicorn.conf.py")
import function.wsgi
client = function.wsgi.app.wsgi_app
print(*sorted(set(sys.modules) - before))
"""


@pytest.fixture(scope="module")
def imported(model_dir: Path) -> set[str]:
    """Return the names of the modules that a new process has imported once the pod is ready."""
    env = {**os.environ, "MODEL_DIR": str(model_dir), "PORT": "18777", "HOST": "127.0.0.1"}
    done = subprocess.run([sys.executable, "-c", SERVE], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.integration
def test_a_pod_stays_within_its_budget_of_modules(imported: set[str]) -> None:
    assert len(imported) <= MAX_MODULES


@pytest.mark.integration
def test_a_pod_imports_only_packages_of_its_requirements(imported: set[str]) -> None:
    own = {name.partition(".")[0] for name in imported} - set(sys.stdlib_module_names)
    assert {name for name in own if not name.startswith("_")} <= PACKAGES


@pytest.mark.integration
def test_a_pod_imports_no_module_that_it_never_needs(imported: set[str]) -> None:
    assert not imported & NEVER
    assert not imported & {
        "function.tools.export",
        "function.tools.quantise",
        "function.tools.prepare",
        "function.tools.matrix",
    }


@pytest.mark.integration
def test_every_phase_is_measured(model_dir: Path) -> None:
    code = "import function.wsgi, function.startup as s; print(*s.cold_start().phases_s)"
    env = {**os.environ, "MODEL_DIR": str(model_dir)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == set(PHASES)


@pytest.mark.integration
def test_a_pod_leaves_no_file_and_no_identifier_behind(model_dir: Path, tmp_path: Path) -> None:
    """ONNX Runtime's telemetry would leave a file even before its first upload."""
    env = {name: text for name, text in os.environ.items() if not name.startswith(("XDG_", "ORT_", "CI"))}
    env |= {"MODEL_DIR": str(model_dir), "HOME": str(tmp_path), "ENGINE": "onnxruntime"}
    subprocess.run([sys.executable, "-c", "import function.wsgi"], cwd=ROOT, env=env, capture_output=True, check=True)
    assert not list(tmp_path.rglob("*"))
