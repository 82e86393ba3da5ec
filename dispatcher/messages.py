"""A request on its way to a pod, and what comes back."""

from dataclasses import dataclass

from dispatcher.actions import Reason
from dispatcher.exchange import BodyRest
from dispatcher.headers import RawHeaders


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """A request as it goes to a pod, and as a journal keeps it.

    target: path and query exactly as they came.
    headers: end-to-end fields only, with those of the dispatcher added; see headers.to_pod(). Host may be empty: then
        it is the backend's.
    """

    method: str
    target: str
    headers: RawHeaders
    body: bytes


@dataclass(frozen=True, slots=True)
class BackendAnswer:
    """A backend's response, or the reason why there is none.

    With a reason, status is 0, except if the attempts are exhausted and the backend itself sent the last failure.
    retry_after_s: what a refused client is promised.
    rest: streams what is left of a body that was not read whole, otherwise None; its reader must close() it.
    """

    status: int
    headers: RawHeaders = ()
    body: bytes = b""
    reason: Reason | None = None
    cause: str = ""
    attempts: int = 0
    queue_s: float = 0.0
    retry_after_s: float | None = None
    phrase: str = ""
    rest: BodyRest | None = None
