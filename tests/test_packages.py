"""Each component's requirements pin all that it imports; func.yaml deploys the same as the Knative Service."""

import ast
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

from knative.objects import MAX_SCALE, METRIC, MIN_SCALE, TARGET
from knative.rendering import service_manifest
from tests.component_env import pinned
from tests.paths import ROOT

REQUIREMENTS = sorted(path.relative_to(ROOT) for path in ROOT.glob("*/requirements*.txt"))
COMPONENTS = {"function", "dispatcher", "knative", "autoscaler_tuning", "loadgen"}
FUNC = ROOT / "function/func.yaml"
INSTALLED = packages_distributions()


def third_party(file: Path) -> set[str]:
    """Return the distributions that a module imports, at any level."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module or "")
    tops = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - COMPONENTS
    # python-multipart, which FastAPI requires, provides a module named multipart as well, which delegates to it
    found = {top if top in INSTALLED[top] else INSTALLED[top][0] for top in tops}
    return {name.lower().replace("_", "-") for name in found}


@pytest.mark.parametrize(
    ("components", "requirements"),
    [
        (["function"], ["function/requirements-export.txt", "function/requirements-otel.txt"]),
        (["dispatcher"], ["dispatcher/requirements.txt", "dispatcher/requirements-otel.txt"]),
        (["autoscaler_tuning", "knative"], ["autoscaler_tuning/requirements.txt"]),
    ],
    ids=["pod and export", "dispatcher", "controller"],
)
def test_every_import_is_pinned(components: list[str], requirements: list[str]) -> None:
    imported = set().union(
        *(third_party(file) for component in components for file in (ROOT / component).rglob("*.py"))
    )
    assert len(imported) > 2
    assert imported - {name for path in requirements for name in pinned(ROOT / path)} == set()


@pytest.mark.parametrize("requirements", REQUIREMENTS, ids=str)
def test_each_requirements_file_pins_the_versions_of_the_root(requirements: Path) -> None:
    def versions(path: Path) -> set[str]:
        return {line.split(" ")[0] for line in path.read_text().splitlines() if "==" in line}

    own = versions(ROOT / requirements)
    assert own
    assert "build" in requirements.name or own <= versions(ROOT / "requirements.txt")


@pytest.mark.parametrize(
    "path", ["Makefile", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("*/Dockerfile"))]
)
def test_the_installer_is_installed_by_its_hash(path: str) -> None:
    installs = [line for line in (ROOT / path).read_text().splitlines() if "pip install" in line]
    assert installs
    for line in installs:
        assert "--require-hashes" in line, line


@pytest.fixture
def func() -> dict[str, Any]:
    """Return func.yaml, checked to contain only keys of its schema (func_yaml-schema.json, 0.36.0)."""
    document: dict[str, Any] = yaml.safe_load(FUNC.read_text())
    assert document["specVersion"] == "0.36.0"
    assert document.keys() <= {"specVersion", "name", "runtime", "invoke", "created", "build", "run", "deploy"}
    assert document["build"].keys() <= {"builder", "builderImages", "buildpacks", "buildEnvs"}
    assert document["deploy"].keys() <= {"annotations", "healthEndpoints", "labels", "options"}
    assert isinstance(document["created"], str)
    return document


def test_func_runs_the_procfile_and_generates_no_server(func: dict[str, Any]) -> None:
    """It generates one for `python` and a few other runtimes; for a runtime without a builder, one must be named."""
    assert func["runtime"] == "wsgi"
    assert func["build"]["builder"] in func["build"]["builderImages"]
    assert (FUNC.parent / "Procfile").is_file()
    python = {env["name"]: env["value"] for env in func["build"]["buildEnvs"]}["BP_CPYTHON_VERSION"]
    assert python == f"{sys.version_info.major}.{sys.version_info.minor}.*"


def test_func_deploys_the_same_as_the_knative_service(func: dict[str, Any]) -> None:
    service = service_manifest("default", func["name"], "i")["spec"]["template"]
    (container,) = service["spec"]["containers"]
    options, health = func["deploy"]["options"], func["deploy"]["healthEndpoints"]
    scale = service["metadata"]["annotations"]
    assert {key: str(value) for key, value in options["scale"].items()} == {
        "min": scale[MIN_SCALE],
        "max": scale[MAX_SCALE],
        "metric": scale[METRIC],
        "target": scale[TARGET],
    }
    assert options["resources"]["limits"].pop("concurrency") == service["spec"]["containerConcurrency"]
    assert options["resources"] == container["resources"]
    assert health["liveness"] == container["livenessProbe"]["httpGet"]["path"]
    assert health["readiness"] == container["readinessProbe"]["httpGet"]["path"]
