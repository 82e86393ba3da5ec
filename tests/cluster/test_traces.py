"""One trace through a real Knative: ingress, activator and queue-proxy lead it from the dispatcher to the pod."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path

import pytest
import requests

from knative.objects import AUTOSCALING_GROUP, WINDOW
from knative.rendering import service_manifest
from tests.cluster.cluster import IMAGE, NAMESPACE, NUMBER, Cluster, wait_until
from tests.cluster.conftest import Start, starting
from tests.cluster.live_parts import observed, start_controller, start_dispatcher, wait_for_no_pods
from tests.paths import ROOT
from tests.stubs.collector import Collector, SpanRow, collector, only, trees

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

# one for each test, so that each begins without pods
ACTIVATED, HELD, SHOWN = SERVICES = ("activated", "held", "shown")
GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0"
# this machine's end of its link to the cluster
ADDRESS = f"10.{NUMBER}.255.1"


@pytest.fixture(scope="module")
def collecting(cluster: Cluster) -> Iterator[Collector]:
    """Run a collector that pods reach, and deploy Services that send spans to it and have no pods."""
    zero = {"allow-zero-initial-scale": "true"}
    with collector(host=ADDRESS) as found:
        set_autoscaler(cluster, zero)
        items = [manifest(name, found.environment) for name in SERVICES]
        cluster.apply({"apiVersion": "v1", "kind": "List", "items": items})
        names = [f"ksvc/{name}" for name in SERVICES]
        cluster.run("kubectl", "wait", "-n", NAMESPACE, "--for=condition=Ready", *names, "--timeout=150s")
        wait_for_no_pods(cluster, *SERVICES)
        yield found
        cluster.run("kubectl", "delete", "-n", NAMESPACE, "--wait=false", *names)
        set_autoscaler(cluster, dict.fromkeys(zero))


def set_autoscaler(cluster: Cluster, settings: Mapping[str, str | None]) -> None:
    patch = json.dumps({"data": settings})
    cluster.run(
        *("kubectl", "patch", "configmap", "config-autoscaler", "-n", "knative-serving", "--type=merge", "-p", patch)
    )


def manifest(name: str, variables: Mapping[str, str]) -> Mapping[str, object]:
    """Return our Service with these variables, without pods until the first request."""
    service = service_manifest(NAMESPACE, name, IMAGE)
    template = service["spec"]["template"]
    template["metadata"]["annotations"] |= {WINDOW: "6s", f"{AUTOSCALING_GROUP}/initial-scale": "0"}
    env = {**variables, "LOG_REQUESTS": "1"}
    template["spec"]["containers"][0]["env"] = [{"name": key, "value": value} for key, value in env.items()]
    return service


@pytest.fixture
def traced(collecting: Collector) -> Collector:
    """Return the collector, empty."""
    collecting.spans.clear()
    return collecting


@pytest.fixture
def start(cluster: Cluster, traced: Collector) -> Iterator[Start]:
    """Return a function that starts our own programs, which send their spans to the collector."""
    with starting({**cluster.env, **traced.environment}) as run:
        yield run


def send_one(start: Start, url: str, image: Path, folder: Path) -> None:
    """Send one request with loadgen, which asks to be traced."""
    (folder / "workload.txt").write_text("1\n")
    argv = ("--workload", str(folder / "workload.txt"), "--images", str(image), "--timeout-s", "60", "--trace", "1")
    log = folder / "loadgen.log"
    start("loadgen", f"{url}/predict", *argv, "--quiet", log=log).wait(120)
    assert "1 spans sent to the collector" in log.read_text(), log.read_text()


def one_trace(traced: Collector, *services: str) -> list[SpanRow]:
    """Return the spans of one trace, once there are some of all services and each but the first has its parent."""
    wanted = {"loadgen", "dispatcher", "function", *services}

    def complete(spans: Sequence[SpanRow]) -> bool:
        roots = [span for span in spans if len(path_to(span, spans)) == 1]
        return len(roots) == 1 and {span.service for span in spans} == wanted

    spans = traced.wait_for(complete)
    assert len({span.trace_id for span in spans}) == 1, trees(spans)
    print(trees(spans))
    return spans


def path_to(span: SpanRow, spans: Sequence[SpanRow]) -> list[SpanRow]:
    """Return the span's ancestors, the root first, and the span."""
    parents = [other for other in spans if other.span_id == span.parent_id]
    return [*(path_to(parents[0], spans) if parents else ()), span]


def pod_log(cluster: Cluster, pod: str, container: str) -> str:
    return cluster.run("kubectl", "logs", pod, "-c", container, "-n", NAMESPACE)


def test_knative_leaves_the_trace_of_a_cold_request_as_it_is(
    cluster: Cluster, traced: Collector, start: Start, tmp_path: Path, samples_dir: Path
) -> None:
    """Without a controller the request waits in the activator, so the cold start is a part of the attempt."""
    send_one(start, start_dispatcher(start, cluster, ACTIVATED).url, samples_dir / "cat.jpg", tmp_path)
    spans = one_trace(traced)
    request, served = only(spans, "request", "loadgen"), only(spans, "POST /predict")
    queue, attempt, pod = only(spans, "queue"), only(spans, "attempt"), only(spans, "POST /predict", "function")
    infer = only(spans, "infer", "function")
    assert path_to(infer, spans) == [request, served, attempt, pod, infer], trees(spans)
    assert "cold start" not in {span.name for span in spans}
    assert pod.start_ns - attempt.start_ns > queue.end_ns - queue.start_ns

    log = pod_log(cluster, served.attributes["dispatcher.pod"], "user-container")
    rows = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert [(row["id"], row["trace_id"]) for row in rows] == [(request.attributes["request.id"], request.trace_id)]


def test_with_a_controller_the_cold_start_is_a_span_within_the_dispatchers_queue(
    cluster: Cluster, traced: Collector, start: Start, tmp_path: Path, samples_dir: Path
) -> None:
    dispatcher = start_dispatcher(start, cluster, HELD)
    start_controller(start, tmp_path, HELD, [dispatcher.control_url])

    def holds() -> bool:
        capacity = requests.get(f"{dispatcher.control_url}/queue", timeout=30).json()["capacity"]
        return capacity is not None and capacity["valid"] and capacity["requests"] == 0

    wait_until(holds, "the controller has announced that there are no pods")
    send_one(start, dispatcher.url, samples_dir / "cat.jpg", tmp_path)
    spans = one_trace(traced)
    queue, cold, attempt = only(spans, "queue"), only(spans, "cold start"), only(spans, "attempt")
    assert path_to(cold, spans)[-2:] == [queue, cold], trees(spans)
    assert path_to(only(spans, "infer", "function"), spans)[2] == attempt
    assert queue.duration_s / 2 < cold.duration_s <= queue.duration_s
    assert queue.end_ns <= attempt.start_ns


def test_knatives_own_spans_stand_between_attempt_and_pod_and_obey_the_client(
    cluster: Cluster, traced: Collector, start: Start, tmp_path: Path, samples_dir: Path
) -> None:
    endpoint = f"{traced.url}/v1/traces"
    tracing = {"tracing-protocol": "http/protobuf", "tracing-endpoint": endpoint, "tracing-sampling-rate": "0.01"}
    log = {"logging.enable-request-log": "true"}

    def pods_will_trace() -> bool:
        argv = ("kubectl", "get", "deployments", "-n", NAMESPACE, "-l", f"serving.knative.dev/service={SHOWN}")
        return endpoint in cluster.run(*argv, "-o", "yaml")

    with observed(cluster, tracing | log, "activator"):
        wait_until(pods_will_trace, "Knative has told the Revision's queue-proxies")
        send_one(start, start_dispatcher(start, cluster, SHOWN).url, samples_dir / "cat.jpg", tmp_path)
        spans = one_trace(traced, "activator", SHOWN)
        path = path_to(only(spans, "infer", "function"), spans)
        services = [service for service, _ in groupby(span.service for span in path)]
        assert services == ["loadgen", "dispatcher", "activator", SHOWN, "function"], trees(spans)
        assert all(inner.start_ns >= outer.start_ns for outer, inner in pairwise(path[1:])), trees(spans)
        wait = only(spans, "throttler_try", "activator")
        assert wait.duration_s > only(spans, "POST /predict", "function").duration_s

        pod = only(spans, "POST /predict").attributes["dispatcher.pod"]
        assert f'"traceId": "{spans[0].trace_id}"' in pod_log(cluster, pod, "queue-proxy")

        traced.spans.clear()
        url, body = f"http://{cluster.gateway}/predict", (ROOT / "samples/cat.jpg").read_bytes()
        for flag in ("0", "1"):
            headers = {"Host": cluster.host(SHOWN), "traceparent": GIVEN + flag}
            assert requests.post(url, data=body, headers=headers, timeout=120).status_code == 200
        found = traced.wait_for(lambda spans: {SHOWN, "function"} <= {span.service for span in spans})
        assert {span.trace_id for span in found} == {GIVEN[3:35]}
        for name in ("kn.queueproxy.proxy", "infer"):
            assert len([span for span in found if span.name == name]) == 1, trees(found)
