"""What can go wrong in this package, each kind a type of its own."""


class KnativeError(Exception):
    """Base of this package's errors."""


class BoundsError(KnativeError):
    """Bounds that Knative would refuse, or read as something else."""


class LocalPodsError(KnativeError):
    """Pods cannot be run on this machine as asked."""


class ManifestError(KnativeError):
    """A name or image that does not belong in a manifest."""


class ClusterError(KnativeError):
    """The cluster refused a call, or answered in a way that makes no sense here."""


class NotFoundError(ClusterError):
    """404: there is no such object, or Knative is not installed."""


class ConflictError(ClusterError):
    """409: somebody else changed or made the object first."""


class ForbiddenError(ClusterError):
    """401 or 403: this account may not do it; manifests/base/rbac.yaml grants what is needed."""


class NoTrafficError(ClusterError):
    """No Revision gets the Service's traffic yet."""


class UnreachableError(ClusterError):
    """No answer from the API server, or no cluster configured."""
