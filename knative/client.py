"""Calls to a cluster's API server. Only this file imports the kubernetes package, and only once it connects."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from knative.errors import (
    ClusterError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    UnauthorizedError,
    UnreachableError,
)
from knative.leases import LEASE_GROUP, LEASE_VERSION, LEASES, Lease
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
    Service,
    living_pods,
)
from knative.workloads import (
    APPS_GROUP,
    APPS_VERSION,
    DEPLOYMENTS,
    HPA_GROUP,
    HPA_VERSION,
    HPAS,
    PODAUTOSCALER_GROUP,
    PODAUTOSCALER_VERSION,
    PODAUTOSCALERS,
    Deployment,
    ScaledObject,
    hpa_of,
    settings_patch,
)

CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 10.0
FIELD_MANAGER = "elastic-ml-inference"
# of the patches that the controller writes; `kubectl get --show-managed-fields` tells them from those of other clients
CONTROLLER_MANAGER = "elastic-controller"
ERRORS_BY_STATUS = {401: UnauthorizedError, 403: ForbiddenError, 404: NotFoundError, 409: ConflictError}

GROUPS = {
    LEASES: (LEASE_GROUP, LEASE_VERSION),
    PODAUTOSCALERS: (PODAUTOSCALER_GROUP, PODAUTOSCALER_VERSION),
    DEPLOYMENTS: (APPS_GROUP, APPS_VERSION),
    HPAS: (HPA_GROUP, HPA_VERSION),
}
PATCH = "patch_namespaced_custom_object"


class Api(Protocol):
    """Objects of the kinds in GROUPS or of serving.knative.dev, and pods, in one namespace, as parsed JSON.

    A failed call raises ClusterError.
    """

    def get(self, plural: str, name: str) -> Json: ...

    def apply(self, plural: str, name: str, body: Json) -> None: ...

    def create(self, plural: str, body: Json) -> Json: ...

    def merge_patch(self, plural: str, name: str, patch: Json) -> Json: ...

    def delete(self, plural: str, name: str) -> None: ...

    def pod_get(self, pod: str, port: int, path: str) -> bytes: ...

    def patch_scale(self, plural: str, name: str, patch: Json) -> Json: ...

    def all_of(self, plural: str) -> list[Json]: ...

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

    def scaled(self, plural: str, name: str) -> ScaledObject:
        """Return an object with the settings that limit its pods."""
        return ScaledObject.from_json(plural, self.api.get(plural, name))

    def patch_settings(self, plural: str, name: str, settings: Mapping[str, str | None]) -> ScaledObject:
        """Write settings by their full names in one patch, and return the patched object; None removes one."""
        return ScaledObject.from_json(plural, self.api.merge_patch(plural, name, settings_patch(plural, settings)))

    def deployment(self, name: str) -> Deployment:
        """Return the Deployment."""
        return Deployment.from_json(self.api.get(DEPLOYMENTS, name))

    def set_replicas(self, deployment: Deployment, replicas: int) -> None:
        """Change the Deployment's replicas; raise ConflictError if another client wrote since it was read."""
        self.api.patch_scale(DEPLOYMENTS, deployment.name, deployment.replicas_patch(replicas))

    def hpa_of(self, deployment: str) -> str:
        """Return the name of the HorizontalPodAutoscaler that scales the Deployment, as workloads.hpa_of."""
        return hpa_of(deployment, self.api.all_of(HPAS))

    def lease(self, name: str) -> Lease | None:
        """Return the Lease; None if it does not exist."""
        try:
            return Lease.from_json(self.api.get(LEASES, name))
        except NotFoundError:
            return None

    def create_lease(self, lease: Json) -> Lease:
        """Create the Lease; raise ConflictError if it exists."""
        return Lease.from_json(self.api.create(LEASES, lease))

    def patch_lease(self, name: str, patch: Json) -> Lease:
        """Change the Lease; raise ConflictError if it is not the version that the patch contains."""
        return Lease.from_json(self.api.merge_patch(LEASES, name, patch))

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
        return self.pods_with(f"{REVISION_LABEL}={revision}")

    def pods_with(self, label_selector: str) -> tuple[Pod, ...]:
        """Return the pods with these labels, oldest first, including terminating ones."""
        return living_pods(self.api.pods(label_selector))

    def pod_counts(self, revision: str) -> PodCounts:
        """Return how many pods of a Revision are ready, starting and terminating."""
        return PodCounts.of(self.pods(revision))

    def pod_get(self, pod: str, port: int, path: str) -> bytes:
        """Return the body of a GET request to a pod, which the API server passes on."""
        return self.api.pod_get(pod, port, path)

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
    return KubernetesApi(lambda: api_client(kubeconfig), namespace)


def api_client(kubeconfig: Path | None = None) -> Any:
    """Return a client with the credentials of the kubeconfig file, or of the pod, as they are now.

    Raises UnreachableError if no cluster is configured.
    """
    from kubernetes import client, config  # noqa: PLC0415  # takes half a second, which local pods do not need
    from kubernetes.config.config_exception import ConfigException  # noqa: PLC0415
    from yaml import YAMLError  # noqa: PLC0415

    settings = client.Configuration()
    try:
        try:
            config.load_kube_config(kubeconfig and str(kubeconfig), client_configuration=settings)  # type: ignore[no-untyped-call]  # it has no types
        except ConfigException:
            if kubeconfig is not None:
                raise
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]  # as above
    except (ConfigException, YAMLError, OSError) as error:
        raise UnreachableError(f"no cluster is configured: {error}") from error
    strip_tokens(settings)
    settings.retries = False  # the caller retries soon enough; ten hidden retries would delay a control loop
    return client.ApiClient(settings)


def strip_tokens(settings: Any) -> None:
    """Remove the line break at the end of a token, as kubectl does; a header with it cannot be sent.

    The client library reads tokens again before each call through a hook, which it sets anew each time.
    """
    settings.api_key = {name: token.strip() for name, token in settings.api_key.items()}
    read_again = settings.refresh_api_key_hook
    if read_again is not None:

        def hook(current: Any) -> None:
            read_again(current)
            strip_tokens(current)

        settings.refresh_api_key_hook = hook


class KubernetesApi:
    """Implements Api with the kubernetes package, and translates its errors.

    After a 401 the credentials are read again and the call is repeated once: a token file that was replaced (tokenFile
    of a kubeconfig, or a pod's ServiceAccount) takes effect without a restart.
    """

    def __init__(self, make_client: Callable[[], Any], namespace: str) -> None:
        self._make_client, self._namespace = make_client, namespace
        self._connect()

    def get(self, plural: str, name: str) -> Json:
        """Read one object."""
        return self._object(f"get {plural}/{name}", "get_namespaced_custom_object", plural, name=name)

    def create(self, plural: str, body: Json) -> Json:
        """Create an object; one that exists raises ConflictError."""
        what = f"create {plural}/{body['metadata']['name']}"
        return self._object(
            what, "create_namespaced_custom_object", plural, body=body, field_manager=CONTROLLER_MANAGER
        )

    def apply(self, plural: str, name: str, body: Json) -> None:
        """Create or update an object, overriding fields that another program manages."""
        # the API server accepts a server-side apply only as YAML, of which JSON is a subset
        how = {"_content_type": "application/apply-patch+yaml", "field_manager": FIELD_MANAGER, "force": True}
        # it answers in YAML too, which nothing here needs
        where = self._where(plural)
        self._call(
            f"apply {plural}/{name}",
            lambda: getattr(self._objects, PATCH),
            {**where, "name": name, "body": body, **how},
        )

    def merge_patch(self, plural: str, name: str, patch: Json) -> Json:
        """Change only the fields that the patch contains (RFC 7386), and return the patched object."""
        how = {"_content_type": "application/merge-patch+json", "field_manager": CONTROLLER_MANAGER}
        return self._object(f"patch {plural}/{name}", PATCH, plural, name=name, body=patch, **how)

    def delete(self, plural: str, name: str) -> None:
        """Delete an object; what belongs to it follows in the background."""
        what = f"delete {plural}/{name}"
        where = {**self._where(plural), "name": name}
        self._call(what, lambda: self._objects.delete_namespaced_custom_object, where)

    def pod_get(self, pod: str, port: int, path: str) -> bytes:
        """Send a GET request to a port of a pod through the API server, and return the body."""
        where = f"/api/v1/namespaces/{self._namespace}/pods/{pod}:{port}/proxy/{path}"
        response = self._call(f"get {path} of pod {pod}", lambda: self._read, {"path": where, "query": []})
        return bytes(response.data)

    def patch_scale(self, plural: str, name: str, patch: Json) -> Json:
        """Change the scale of an object, as merge_patch."""
        how = {"_content_type": "application/merge-patch+json", "field_manager": CONTROLLER_MANAGER}
        return self._object(f"patch {plural}/{name}/scale", f"{PATCH}_scale", plural, name=name, body=patch, **how)

    def all_of(self, plural: str) -> list[Json]:
        """List the objects of one kind."""
        found = self._object(f"list {plural}", "list_namespaced_custom_object", plural)
        items: list[Json] = found["items"]
        return items

    def pods(self, label_selector: str) -> list[Json]:
        """List the pods that match the label selector."""
        what = f"list pods with {label_selector}"
        arguments = {"path": f"/api/v1/namespaces/{self._namespace}/pods", "query": [("labelSelector", label_selector)]}
        response = self._call(what, lambda: self._read, arguments)
        try:
            items: list[Json] = json.loads(response.data)["items"]
        except (ValueError, KeyError, TypeError) as error:
            raise malformed(what) from error
        return items

    def _connect(self) -> None:
        from kubernetes import client  # noqa: PLC0415

        self._connection = self._make_client()
        self._objects = client.CustomObjectsApi(self._connection)

    def _read(self, path: str, query: list[tuple[str, str]], _request_timeout: tuple[float, float]) -> Any:
        """Read a path as CoreV1Api does, without its models, which take 20 MB and would parse the response slowly."""
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415

        request = self._connection.param_serialize("GET", path, query_params=query, auth_settings=["BearerToken"])
        response = self._connection.call_api(*request, _request_timeout=_request_timeout)
        response.read()
        if response.status != 200:
            raise ApiException.from_response(http_resp=response, body=None, data=None)
        return response

    def _object(self, what: str, method: str, plural: str, **arguments: Any) -> Json:
        found = self._call(what, lambda: getattr(self._objects, method), {**self._where(plural), **arguments})
        if not isinstance(found, dict) or not isinstance(found.get("metadata"), dict):
            raise malformed(what)
        return found

    def _where(self, plural: str) -> dict[str, str]:
        group, version = GROUPS.get(plural, (SERVING_GROUP, SERVING_VERSION))
        return {"group": group, "version": version, "namespace": self._namespace, "plural": plural}

    def _call(self, what: str, method: Callable[[], Callable[..., Any]], arguments: Mapping[str, Any]) -> Any:
        try:
            return translated(what, method(), **arguments)
        except UnauthorizedError:
            self._connect()
            return translated(what, method(), **arguments)


def malformed(what: str) -> ClusterError:
    """Return the error for a response that is not the object that was asked for, such as a proxy's HTML page."""
    return ClusterError(f"cannot {what}: the response is not the JSON of an API server; is a proxy in front of it?")


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
