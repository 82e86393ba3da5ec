"""The command line: its output and its failures."""

import pytest
import yaml

from knative.cli import main
from knative.errors import UnreachableError
from knative.kubectl import Kubectl
from tests.knative.fake_cluster import FakeCluster, deployment, knative_service


def run(cluster: FakeCluster, *argv: str, **env: str) -> int:
    return main(argv, env, connect=lambda namespace: cluster)


def test_render_prints_yaml_with_values_from_flags_and_environment(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FakeCluster(), "render", "--name", "cats", NAMESPACE="team-a", NAME="dogs") == 0
    service = yaml.safe_load(capsys.readouterr().out)
    assert service["metadata"]["name"] == "cats"
    assert service["metadata"]["namespace"] == "team-a"


def test_render_prints_what_kustomize_builds_of_an_overlay(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = FakeCluster()
    cluster.built = [deployment("dispatcher"), knative_service("resnet18")]
    assert run(cluster, "render", "tuned", "--with", "redis", "--dispatcher-image", "d:2") == 0
    assert list(yaml.safe_load_all(capsys.readouterr().out)) == cluster.built
    assert {"name": "dev.local/dispatcher", "newName": "d", "newTag": "2"} in cluster.kustomization["images"]


def test_deploy_prints_each_object_and_ends_when_all_is_ready(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FakeCluster(), "deploy", "--image", "example.com/resnet18:1") == 0
    assert capsys.readouterr().out.splitlines() == [
        "services.serving.knative.dev/resnet18 serverside-applied",
        "all is ready",
    ]


def test_deploy_that_is_not_ready_in_time_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = FakeCluster(slow_looks=9)
    cluster.built = [deployment("dispatcher")]
    assert run(cluster, "deploy", "existing", "--timeout-s", "0") == 1
    out, err = capsys.readouterr()
    assert "waiting: " in out
    assert err == "knative: not ready after 0 s; `status` shows what is missing\n"


def test_status_exits_with_0_only_if_all_is_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = FakeCluster()
    assert run(cluster, "status") == 1
    run(cluster, "deploy")
    assert run(cluster, "status") == 0
    assert "service     resnet18, ready" in capsys.readouterr().out


def test_delete_removes_what_deploy_made(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = FakeCluster()
    run(cluster, "deploy")
    assert run(cluster, "delete") == 0
    assert cluster.things == {}
    assert "services.serving.knative.dev/resnet18 deleted" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["render", "deploy", "status", "delete"])
def test_an_invalid_name_prints_one_line_and_exits_with_2(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FakeCluster(), command, "--name", "No Such") == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "'No Such'" in err


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf"])
def test_an_invalid_timeout_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    cluster = FakeCluster()
    assert run(cluster, "deploy", f"--timeout-s={seconds}") == 2
    assert cluster.done == []
    assert f"got {seconds}" in capsys.readouterr().err


def test_a_missing_cluster_prints_one_line_and_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    def connect(namespace: str) -> FakeCluster:
        raise UnreachableError(f"no cluster for {namespace}")

    assert main(["status"], {}, connect) == 1
    assert capsys.readouterr().err == "knative: no cluster for default\n"


def test_a_missing_kubectl_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "tuned"], {}, lambda namespace: Kubectl(namespace, {"PATH": "/nowhere"})) == 1
    assert capsys.readouterr().err.startswith("knative: kubectl is needed in the PATH")
