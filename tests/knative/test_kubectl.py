"""kubectl's answers: parsed, and its failures as one line of the right type. A script stands for kubectl."""

from collections.abc import Callable
from pathlib import Path

import pytest

from knative.errors import ClusterError, NotFoundError
from knative.kubectl import Kubectl

pytestmark = pytest.mark.integration

Script = Callable[[str], Kubectl]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Return a function that makes a kubectl of shell commands."""

    def kubectl(commands: str) -> Kubectl:
        program = tmp_path / "kubectl"
        program.write_text(f"#!/bin/sh\n{commands}\n")
        program.chmod(0o755)
        return Kubectl("team-a", {"PATH": f"{tmp_path}:/usr/bin:/bin"})

    return kubectl


def test_an_object_that_does_not_exist_is_none(script: Script) -> None:
    kubectl = script('echo "Error from server (NotFound): deployments.apps \\"d\\" not found" >&2; exit 1')
    assert kubectl.get("deployment", "d") is None


def test_a_kind_that_the_cluster_lacks_has_no_objects(script: Script) -> None:
    kubectl = script("""echo "error: the server doesn't have a resource type \\"services\\"" >&2; exit 1""")
    assert kubectl.get("services.serving.knative.dev", "d") is None
    with pytest.raises(NotFoundError):
        kubectl.select("services.serving.knative.dev", "a=b")


def test_a_refusal_is_one_line_without_log_and_warnings(script: Script) -> None:
    lines = ('E1127 06:37:25.173491 7370 memcache.go:265] \\"Unhandled\\"', "Warning: old", "error: no", "and why")
    kubectl = script("".join(f'echo "{line}" >&2\n' for line in lines) + "exit 1")
    with pytest.raises(ClusterError, match=r"^kubectl get: no; and why$"):
        kubectl.get("deployment", "d")


def test_each_call_names_the_namespace_and_the_field_manager(script: Script, tmp_path: Path) -> None:
    kubectl = script(f'echo "$@" >>{tmp_path}/calls; cat >>{tmp_path}/given; echo applied')
    assert kubectl.apply([{"kind": "A"}]) == ["applied"]
    kubectl.create({"kind": "B"})
    kubectl.delete("secrets", "c")
    calls = (tmp_path / "calls").read_text().splitlines()
    assert all(call.endswith("--namespace team-a") for call in calls)
    assert "--server-side --force-conflicts --field-manager=elastic-ml-inference" in calls[0]
    assert "--ignore-not-found --cascade=foreground" in calls[2]
    assert '"items": [{"kind": "A"}]' in (tmp_path / "given").read_text()


def test_a_list_and_a_build_are_parsed(script: Script, tmp_path: Path) -> None:
    assert script("""echo '{"items": [{"kind": "Pod"}]}'""").select("pods", "a=b") == [{"kind": "Pod"}]
    assert script("printf 'kind: A\\n---\\nkind: B\\n---\\n'").kustomize(tmp_path) == [{"kind": "A"}, {"kind": "B"}]
