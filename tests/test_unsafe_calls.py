"""The packages read no pickle and no YAML that can build objects, and hand no text to a shell or to eval."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT

PACKAGES = ("function", "dispatcher", "knative", "autoscaler_tuning", "loadgen", "scripts")
UNSAFE_MODULES = frozenset({"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"})
UNSAFE_CALLS = frozenset(
    {"eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"}
    | {"torch.hub.load", "torch.jit.load", "torch.package.PackageImporter", "pandas.read_pickle", "pd.read_pickle"}
)
# They unpickle what they load, unless weights_only is given; by the ends of their names, as they are called on many objects.
TORCH_LOADERS = ("torch.load", "load_state_dict_from_url", "get_state_dict")
UNSAFE_KEYWORDS = (("shell", "True"), ("allow_pickle", "True"), ("weights_only", "False"), ("pretrained", "True"))
# Each with the reason why it is no danger.
ALLOWED = {
    "loadgen/sending/sender_processes.py: imports pickle": "only between the load generator and its own child processes",
    "knative/kubectl.py: calls yaml.load_all": "with CSafeLoader or SafeLoader; their names show no Safe at the call",
}


def unsafe(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"imports {name.name}" for name in node.names if name.name.partition(".")[0] in UNSAFE_MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in UNSAFE_MODULES:
            yield f"imports {node.module}"
        elif isinstance(node, ast.Call):
            yield from unsafe_call(node)


def unsafe_call(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    if name in UNSAFE_CALLS:
        yield f"calls {name}"
    for keyword in node.keywords:
        value = ast.unparse(keyword.value)
        if (keyword.arg, value) in UNSAFE_KEYWORDS:
            yield f"calls {name} with {keyword.arg}={value}"
    if name.endswith(TORCH_LOADERS) and "weights_only" not in [keyword.arg for keyword in node.keywords]:
        yield f"calls {name} without weights_only"
    # torchvision's constructors of networks load the weights that they are given
    if any(keyword.arg == "weights" and "_Weights" in ast.unparse(keyword.value) for keyword in node.keywords):
        yield f"calls {name} with weights"


def found(path: Path) -> list[str]:
    return [f"{path.relative_to(ROOT)}: {what}" for what in unsafe(ast.parse(path.read_text()))]


def test_the_packages_use_nothing_unsafe_but_what_is_listed() -> None:
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    assert len(files) > 150
    assert sorted(what for path in files for what in found(path)) == sorted(ALLOWED)


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("import pickle", "imports pickle"),
        ("from marshal import loads", "imports marshal"),
        ("yaml.load(text)", "calls yaml.load"),
        ("eval(text)", "calls eval"),
        ("subprocess.run(text, shell=True)", "calls subprocess.run with shell=True"),
        ("numpy.load(path, allow_pickle=True)", "calls numpy.load with allow_pickle=True"),
        ("torch.load(path)", "calls torch.load without weights_only"),
        ("torch.hub.load_state_dict_from_url(url)", "calls torch.hub.load_state_dict_from_url without weights_only"),
        ("W.V1.get_state_dict(check_hash=True)", "calls W.V1.get_state_dict without weights_only"),
        ("load_state_dict_from_url(u, weights_only=False)", "calls load_state_dict_from_url with weights_only=False"),
        ("resnet18(weights=ResNet18_Weights.DEFAULT)", "calls resnet18 with weights"),
        ("resnet18(pretrained=True)", "calls resnet18 with pretrained=True"),
        ("torch.hub.load('pytorch/vision', 'resnet18')", "calls torch.hub.load"),
    ],
)
def test_an_unsafe_line_is_found(code: str, what: str) -> None:
    assert list(unsafe(ast.parse(code))) == [what]


@pytest.mark.parametrize(
    "code", ["yaml.safe_load(text)", "network.eval()", "torch.load(p, weights_only=True)", "resnet18(weights=None)"]
)
def test_a_safe_line_is_not(code: str) -> None:
    assert list(unsafe(ast.parse(code))) == []
