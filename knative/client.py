"""The few calls to a cluster, over the kubernetes client; the only file that imports it, and only when it connects."""

import json
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from knative.errors import ClusterError, ConflictError, ForbiddenError, NotFoundError, UnreachableError
from knative.objects import (
    AUTOSCALING_GROUP,
    REVISION_LABEL,
    REVISIONS,
    SERVICES,
    SERVING_GROUP,
    SERVING_VERSION,
    Json,
    Pod,
    PodCounts,
    Revision,
    ScaleBounds,
    Service,
    living_pods,
    revision_patch,
)

CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 10.0
FIELD_MANAGER = "elastic-ml-inference"
ERRORS_BY_STATUS = {401: ForbiddenError, 403: ForbiddenError, 404: NotFoundError, 409: ConflictError}

log = logging.getLogger(__name__)


class Api(Protocol):
    """Objects of serving.knative.dev and pods, of one namespace, as parsed JSON. Every call raises ClusterError."""

    def get(self, plural: str, name: str) -> Json: ...

    def apply(self, plural: str, name: str, body: Json) -> None: ...

    def merge_patch(self, plural: str, name: str, patch: Json) -> Json: ...

    def pods(self, label_selector: str) -> list[Json]: ...


class KnativeClient:
    """Knative Services of one namespace: what runs, and how far it may scale."""

    def __init__(self, namespace: str, api: Api | None = None) -> None:
        """Without an api, connects as kubectl or a pod would. Raises UnreachableError if nothing says where."""
        self.api = api or connect(namespace)

    def service(self, name: str) -> Service:
        """The Service, with its URL and traffic."""
        return Service.from_json(self.api.get(SERVICES, name))

    def revision(self, name: str) -> Revision:
        """The Revision, with its bounds."""
        return Revision.from_json(self.api.get(REVISIONS, name))

    def live_revision(self, service: str) -> Revision:
        """The Revision that gets the Service's traffic: the one to scale. Raises NoTrafficError if none does yet."""
        return self.revision(self.service(service).live_revision())

    def set_bounds(self, revision: str, bounds: ScaleBounds) -> Revision:
        """Write both bounds in one patch; returns the Revision as it is then."""
        changed = Revision.from_json(self.api.merge_patch(REVISIONS, revision, revision_patch(bounds)))
        log.info("%s: min-scale %d, max-scale %d", revision, bounds.min_pods, bounds.max_pods)
        return changed

    def annotate(self, revision: str, annotations: Mapping[str, str | None]) -> None:
        """Write autoscaling annotations, by the name after the group; None takes one away."""
        named = {f"{AUTOSCALING_GROUP}/{name}": value for name, value in annotations.items()}
        self.api.merge_patch(REVISIONS, revision, {"metadata": {"annotations": named}})

    def annotations(self, revision: str) -> dict[str, str]:
        """Its autoscaling annotations, by the name after the group."""
        found = self.api.get(REVISIONS, revision)["metadata"].get("annotations") or {}
        group = f"{AUTOSCALING_GROUP}/"
        return {name.removeprefix(group): value for name, value in found.items() if name.startswith(group)}

    def pods(self, revision: str) -> tuple[Pod, ...]:
        """Pods of a Revision, oldest first, terminating ones too."""
        return living_pods(self.api.pods(f"{REVISION_LABEL}={revision}"))

    def pod_counts(self, revision: str) -> PodCounts:
        """How many of them are ready, starting and terminating."""
        return PodCounts.of(self.pods(revision))

    def deploy(self, service: Json) -> Service:
        """Make the Service, or change what this manifest says of it; the same manifest again changes nothing.

        By server-side apply: replacing the whole object would leave out what Knative sets only when a Service is made
        (enableServiceLinks), and so make a new Revision each time.
        """
        name = service["metadata"]["name"]
        self.api.apply(SERVICES, name, service)
        return self.service(name)


def connect(namespace: str, kubeconfig: Path | None = None) -> Api:
    """An Api for the cluster of this kubeconfig file, else the usual one ($KUBECONFIG), else the one it runs in."""
    from kubernetes import client, config  # noqa: PLC0415  # half a second that pods on this machine do not need
    from kubernetes.config.config_exception import ConfigException  # noqa: PLC0415
    from yaml import YAMLError  # noqa: PLC0415

    try:
        try:
            config.load_kube_config(kubeconfig and str(kubeconfig))  # type: ignore[no-untyped-call]  # it has no types
        except ConfigException:
            if kubeconfig is not None:
                raise
            config.load_incluster_config()  # type: ignore[no-untyped-call]  # as above
    except (ConfigException, YAMLError, OSError) as error:
        raise UnreachableError(f"no cluster is configured: {error}") from error
    settings = client.Configuration.get_default_copy()
    settings.retries = False  # the caller asks again soon enough; ten hidden retries would hold up a control loop
    return KubernetesApi(client.ApiClient(settings), namespace)


class KubernetesApi:
    """Api over the kubernetes client; translates its errors."""

    def __init__(self, api_client: Any, namespace: str) -> None:
        from kubernetes import client  # noqa: PLC0415

        self._objects = client.CustomObjectsApi(api_client)
        self._core = client.CoreV1Api(api_client)
        self._where = {"group": SERVING_GROUP, "version": SERVING_VERSION, "namespace": namespace}
        self._namespace = namespace

    def get(self, plural: str, name: str) -> Json:
        """Read one object."""
        return self._object(f"get {plural}/{name}", self._objects.get_namespaced_custom_object, plural, name=name)

    def apply(self, plural: str, name: str, body: Json) -> None:
        """Make an object or change it, also where another program's fields are in the way."""
        # JSON is YAML, and the API server takes an apply only under that name
        patch = partial(self._objects.patch_namespaced_custom_object, _content_type="application/apply-patch+yaml")
        call = partial(patch, field_manager=FIELD_MANAGER, force=True)
        self._object(f"apply {plural}/{name}", call, plural, name=name, body=body)

    def merge_patch(self, plural: str, name: str, patch: Json) -> Json:
        """Change only what the patch names (RFC 7386)."""
        call = partial(self._objects.patch_namespaced_custom_object, _content_type="application/merge-patch+json")
        return self._object(f"patch {plural}/{name}", call, plural, name=name, body=patch)

    def pods(self, label_selector: str) -> list[Json]:
        """List pods."""
        # not parsed into the client's models: that takes longer than the call
        answer = translated(
            f"list pods with {label_selector}",
            self._core.list_namespaced_pod,
            namespace=self._namespace,
            label_selector=label_selector,
            _preload_content=False,
        )
        items: list[Json] = json.loads(answer.data)["items"]
        return items

    def _object(self, what: str, call: Callable[..., Any], plural: str, **arguments: Any) -> Json:
        answer: Json = translated(what, call, **self._where, plural=plural, **arguments)
        return answer


def translated(what: str, call: Callable[..., Any], **arguments: Any) -> Any:
    """Make the call, with a deadline, and translate what it raises."""
    from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    try:
        return call(**arguments, _request_timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S))
    except ApiException as error:
        raise error_for(error.status, f"cannot {what}: {reason(error.body) or error.reason}") from error
    except (HTTPError, OSError) as error:
        raise UnreachableError(f"cannot {what}: {error}") from error


def error_for(status: int | None, text: str) -> ClusterError:
    """The error of an HTTP status; the client's 0 is a connection that failed."""
    if not status:
        return UnreachableError(text)
    return ERRORS_BY_STATUS.get(status, ClusterError)(f"{text} (HTTP {status})")


def reason(body: str | bytes | None) -> str:
    """The API server's own words, out of the Status that it answers with."""
    try:
        return str(json.loads(body or "{}").get("message", ""))
    except (ValueError, AttributeError):
        return ""
