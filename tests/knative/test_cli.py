"""The command line: its output and its failures."""

import pytest
import yaml

from knative.cli import main
from knative.client import KnativeClient
from knative.errors import UnreachableError
from tests.knative.fake_api import FakeApi, pod_json, ready, revision_json, service_json


def run(api: FakeApi, *argv: str, **env: str) -> int:
    return main(argv, env, connect=lambda namespace: KnativeClient(namespace, api))


def test_render_prints_yaml_with_values_from_flags_and_environment(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FakeApi(), "render", "--name", "cats", NAMESPACE="team-a", NAME="dogs") == 0
    service = yaml.safe_load(capsys.readouterr().out)
    assert service["metadata"]["name"] == "cats"
    assert service["metadata"]["namespace"] == "team-a"


def test_status_of_a_newly_deployed_service(capsys: pytest.CaptureFixture[str]) -> None:
    api = FakeApi()
    assert run(api, "deploy", "--image", "example.com/resnet18:1") == 0
    assert run(api, "status") == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "service   resnet18, not ready",
        "url       -",
        "revision  none receives traffic yet",
    ]


def test_status_of_a_running_service(capsys: pytest.CaptureFixture[str]) -> None:
    api = FakeApi(
        services=[service_json("resnet18", {"revisionName": "resnet18-00002", "percent": 100})],
        revisions=[revision_json("resnet18-00002", min_scale="2")],
        pods=[pod_json("a", "resnet18-00002", ready()), pod_json("b", "resnet18-00002", {})],
    )
    assert run(api, "status") == 0
    assert capsys.readouterr().out.splitlines() == [
        "service   resnet18, ready",
        "url       http://resnet18.default.example.com",
        "revision  resnet18-00002, ready",
        "bounds    min-scale 2, max-scale no limit",
        "pods      1 ready, 1 starting, 0 terminating",
    ]


@pytest.mark.parametrize("command", ["render", "deploy", "status"])
def test_an_invalid_name_prints_one_line_and_exits_with_2(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FakeApi(), command, "--name", "No Such") == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "'No Such'" in err


def test_a_missing_service_prints_one_line_and_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FakeApi(), "status") == 1
    assert capsys.readouterr().err == "knative: cannot get services/resnet18: not found (HTTP 404)\n"


def test_a_missing_cluster_prints_one_line_and_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    def connect(namespace: str) -> KnativeClient:
        raise UnreachableError(f"no cluster for {namespace}")

    assert main(["status"], {}, connect) == 1
    assert capsys.readouterr().err == "knative: no cluster for default\n"
