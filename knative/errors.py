"""Errors of this package, one type per kind of failure."""


class KnativeError(Exception):
    """Base of this package's errors."""


class LocalPodsError(KnativeError):
    """The requested pods cannot be run on this machine."""


class ManifestError(KnativeError):
    """A value that is not valid in a manifest, such as a name or an image."""


class ClusterError(KnativeError):
    """The cluster refused a call, or gave an unexpected response."""


class NotFoundError(ClusterError):
    """404: the object does not exist, or Knative is not installed."""


class ConflictError(ClusterError):
    """409: another client changed or created the object first."""


class ForbiddenError(ClusterError):
    """403: the account lacks a permission; manifests/controller/rbac.yaml grants those that are needed."""


class UnauthorizedError(ForbiddenError):
    """401: the credentials are missing, wrong or expired."""


class NoTrafficError(ClusterError):
    """No Revision of the Service receives traffic yet."""


class OwnedError(ClusterError):
    """Another program keeps the object as it is, and would undo changes."""


class UnreachableError(ClusterError):
    """The API server does not respond, or no cluster is configured."""
