"""The images that the Dockerfiles build: what they contain and what they must not contain."""

import re
import stat
import subprocess

import pytest
import requests

from tests.cluster.oci import Builder, Image
from tests.component_env import pinned
from tests.paths import ROOT
from tests.ports import free_port, wait_for
from tests.stubs.collector import collector, only
from tests.stubs.processes import stub_pods

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2400)]

LARGEST_BYTES = {"function": 450e6, "dispatcher": 200e6, "autoscaler_tuning": 620e6}
PORTS = {"function": 8000, "dispatcher": 8001, "autoscaler_tuning": 8002}
# A module of each component, whose byte code is looked at
MODULES = {"function": "app", "dispatcher": "server", "autoscaler_tuning": "cli"}
ENGINE_FILES = {"onnxruntime": (".onnx", ".data"), "openvino": (".xml", ".bin"), "torch": (".pth",)}
COMPILERS = re.compile(r"gcc|cc|g\+\+|c\+\+|cc1|clang|ld|as|make|rustc|go|nvcc")


@pytest.fixture(params=list(PORTS))
def component(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def installed(image: Image) -> set[str]:
    """Return the packages in an image."""
    return {folder.name.split("-")[0].lower() for folder in (image.root / "app/packages").glob("*.dist-info")}


def named(component: str, file: str) -> set[str]:
    """Return the packages that a component's requirements pin."""
    return {name.replace("-", "_").lower() for name in pinned(ROOT / component / file)}


def test_it_runs_as_an_unprivileged_user(images: dict[str, Image], component: str) -> None:
    config = images[component].config
    assert config["User"] == "65532:65532"
    assert config["WorkingDir"] == "/app"
    assert {"PYTHONUNBUFFERED=1", f"PORT={PORTS[component]}"} <= set(config["Env"])


def test_it_has_the_pinned_packages_and_no_build_tools(images: dict[str, Image], component: str) -> None:
    root = images[component].root
    assert installed(images[component]) == named(component, "requirements.txt")
    commands = [file.name for folder in root.glob("usr/**/bin") for file in folder.iterdir()]
    assert [name for name in commands if COMPILERS.fullmatch(name)] == []
    assert not (root / "tools").exists()
    assert not list(root.rglob("libtorch*"))


def test_its_size_is_below_the_documented_limit(images: dict[str, Image], component: str) -> None:
    assert images[component].size_bytes < LARGEST_BYTES[component]


def test_every_module_has_byte_code(images: dict[str, Image], component: str) -> None:
    """A read-only root cannot store byte code, so each start would compile the modules again."""
    app = images[component].root / "app"
    sources = [file for file in app.rglob("*.py") if file.parent.name != "bin" and "test" not in file.parts]
    bare = [file for file in sources if not list(file.parent.glob(f"__pycache__/{file.stem}.*.pyc"))]
    assert len(sources) > 100
    assert [str(file.relative_to(app)) for file in bare] == []
    code = (app / component / "__pycache__" / f"{MODULES[component]}.cpython-311.pyc").read_bytes()
    assert int.from_bytes(code[4:8], "little") == 1  # PEP 552: hash-based and unchecked


def test_every_user_can_read_its_files_and_no_other_user_can_write_them(
    images: dict[str, Image], component: str
) -> None:
    modes = {file: stat.S_IMODE(file.stat().st_mode) for file in (images[component].root / "app").rglob("*")}
    assert [str(file) for file, mode in modes.items() if not mode & stat.S_IROTH or mode & stat.S_IWOTH] == []


def test_its_model_is_complete_and_has_no_files_for_absent_engines(images: dict[str, Image]) -> None:
    model, packages = images["function"].root / "app/model", images["function"].root / "app/packages"
    found = {file.name for file in model.iterdir()}
    assert {"labels.json", "manifest.json", "resnet18.onnx"} <= found
    absent = [engine for engine in ENGINE_FILES if not (packages / engine).is_dir()]
    assert "torch" in absent
    assert [name for name in found if any(name.endswith(ENGINE_FILES[engine]) for engine in absent)] == []


def test_the_dispatchers_image_with_otel_1_has_the_packages_for_traces_and_sends_spans(builder: Builder) -> None:
    image = builder.build("dispatcher", "--build-arg", "OTEL=1", tag="dispatcher-otel")
    extra = named("dispatcher", "requirements-otel.txt")
    assert "opentelemetry_sdk" in extra
    assert installed(image) == named("dispatcher", "requirements.txt") | extra
    assert image.size_bytes < LARGEST_BYTES["dispatcher"]

    port = free_port()
    with collector() as found, stub_pods(1, 0.01) as (pod,):
        own = dict(variable.split("=", 1) for variable in image.config["Env"])
        own |= {"PORT": str(port), "CONTROL_PORT": str(free_port()), "ML_SERVICE_URL": f"http://127.0.0.1:{pod}"}
        command = f"cd {image.config['WorkingDir']} && exec {' '.join(image.config['Cmd'])} --host 127.0.0.1"
        argv = ["/usr/sbin/chroot", f"--userspec={image.config['User']}", str(image.root), "sh", "-c", command]
        process = subprocess.Popen(argv, env={**own, **found.environment})
        try:
            wait_for(f"http://127.0.0.1:{port}/readyz")
            assert requests.post(f"http://127.0.0.1:{port}/predict", data=b"x", timeout=30).status_code == 200
            spans = found.wait_for(lambda spans: any(span.name == "POST /predict" for span in spans))
        finally:
            process.terminate()
            process.wait(90)
    assert only(spans, "attempt").parent_id == only(spans, "POST /predict").span_id
