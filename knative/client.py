"""Calls to a cluster's API server. Only this file imports the kubernetes package, and only once it connects."""

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
    """Objects of serving.knative.dev and pods in one namespace, as parsed JSON; a failed call raises ClusterError."""

    def get(self, plural: str, name: str) -> Json: ...

    def apply(self, plural: str, name: str, body: Json) -> None: ...

    def merge_patch(self, plural: str, name: str, patch: Json) -> Json: ...

    def pods(self, label_selector: str) -> list[Json]: ...


class KnativeClient:
    """Reads and deploys the Knative Services of one namespace, and sets the scale bounds of their Revisions."""

    def __init__(self, namespace: str, api: Api | None = None) -> None:
        """Use api, or else connect as kubectl or a pod would; raise UnreachableError if no cluster is configured."""
        self.api = api or connect(namespace)

    def service(self, name: str) -> Service:
        """Return the Service, with its URL and traffic."""
        return Service.from_json(self.api.get(SERVICES, name))

    def revision(self, name: str) -> Revision:
        """Return the Revision, with its bounds."""
        return Revision.from_json(self.api.get(REVISIONS, name))

    def live_revision(self, service: str) -> Revision:
        """Return the Revision to scale, which receives the traffic; raise NoTrafficError if none does yet."""
        return self.revision(self.service(service).live_revision())

    def set_bounds(self, revision: str, bounds: ScaleBounds) -> Revision:
        """Write both bounds in one patch, and return the patched Revision."""
        changed = Revision.from_json(self.api.merge_patch(REVISIONS, revision, revision_patch(bounds)))
        log.info("%s: min-scale %d, max-scale %d", revision, bounds.min_pods, bounds.max_pods)
        return changed

    def annotate(self, revision: str, annotations: Mapping[str, str | None]) -> None:
        """Write autoscaling annotations, named without their group; None removes an annotation."""
        named = {f"{AUTOSCALING_GROUP}/{name}": value for name, value in annotations.items()}
        self.api.merge_patch(REVISIONS, revision, {"metadata": {"annotations": named}})

    def annotations(self, revision: str) -> dict[str, str]:
        """Return the Revision's autoscaling annotations, named without their group."""
        found = self.api.get(REVISIONS, revision)["metadata"].get("annotations") or {}
        group = f"{AUTOSCALING_GROUP}/"
        return {name.removeprefix(group): value for name, value in found.items() if name.startswith(group)}

    def pods(self, revision: str) -> tuple[Pod, ...]:
        """Return the pods of a Revision, oldest first, including terminating ones."""
        return living_pods(self.api.pods(f"{REVISION_LABEL}={revision}"))

    def pod_counts(self, revision: str) -> PodCounts:
        """Return how many pods of a Revision are ready, starting and terminating."""
        return PodCounts.of(self.pods(revision))

    def deploy(self, service: Json) -> Service:
        """Create the Service, or update the fields that this manifest contains.

        Server-side apply makes this idempotent. Replacing the whole object would drop what Knative sets only when a
        Service is created (enableServiceLinks), and so would create a new Revision each time.
        """
        name = service["metadata"]["name"]
        self.api.apply(SERVICES, name, service)
        return self.service(name)


def connect(namespace: str, kubeconfig: Path | None = None) -> Api:
    """Connect to the cluster of this kubeconfig file, else of the default one, else to the one this process runs in."""
    from kubernetes import client, config  # noqa: PLC0415  # takes half a second, which local pods do not need
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
    settings.retries = False  # the caller retries soon enough; ten hidden retries would delay a control loop
    return KubernetesApi(client.ApiClient(settings), namespace)


class KubernetesApi:
    """Implements Api with the kubernetes package, and translates its errors."""

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
        """Create or update an object, overriding fields that another program manages."""
        # the API server accepts a server-side apply only as YAML, of which JSON is a subset
        patch = partial(self._objects.patch_namespaced_custom_object, _content_type="application/apply-patch+yaml")
        call = partial(patch, field_manager=FIELD_MANAGER, force=True)
        self._object(f"apply {plural}/{name}", call, plural, name=name, body=body)

    def merge_patch(self, plural: str, name: str, patch: Json) -> Json:
        """Change only the fields that the patch contains (RFC 7386), and return the patched object."""
        call = partial(self._objects.patch_namespaced_custom_object, _content_type="application/merge-patch+json")
        return self._object(f"patch {plural}/{name}", call, plural, name=name, body=patch)

    def pods(self, label_selector: str) -> list[Json]:
        """List the pods that match the label selector."""
        # parsing the response into the client's models would take longer than the call itself
        response = translated(
            f"list pods with {label_selector}",
            self._core.list_namespaced_pod,
            namespace=self._namespace,
            label_selector=label_selector,
            _preload_content=False,
        )
        items: list[Json] = json.loads(response.data)["items"]
        return items

    def _object(self, what: str, call: Callable[..., Any], plural: str, **arguments: Any) -> Json:
        found: Json = translated(what, call, **self._where, plural=plural, **arguments)
        return found


def translated(what: str, call: Callable[..., Any], **arguments: Any) -> Any:
    """Make the call with timeouts, and raise its errors as ClusterError."""
    from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    try:
        return call(**arguments, _request_timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S))
    except ApiException as error:
        raise error_for(error.status, f"cannot {what}: {reason(error.body) or error.reason}") from error
    except (HTTPError, OSError) as error:
        raise UnreachableError(f"cannot {what}: {error}") from error


def error_for(status: int | None, text: str) -> ClusterError:
    """Return the error for an HTTP status; no status, or the client's 0, is a failed connection."""
    if not status:
        return UnreachableError(text)
    return ERRORS_BY_STATUS.get(status, ClusterError)(f"{text} (HTTP {status})")


def reason(body: str | bytes | None) -> str:
    """Return the message in the API server's Status response; empty if there is none."""
    try:
        return str(json.loads(body or "{}").get("message", ""))
    except (ValueError, AttributeError):
        return ""
