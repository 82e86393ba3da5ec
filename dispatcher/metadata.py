"""Answers requests for metadata while no pod is ready, so that a probe or a browser wakes none."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from dispatcher.headers import RawHeaders, first

MOST_ANSWERS = 64
LARGEST_BYTES = 1 << 16

# A request is accepted at any time and starts a pod, so the service is alive and ready.
_READY: tuple[tuple[re.Pattern[str], dict[str, object]], ...] = (
    (re.compile(r"/health/liveness"), {"status": "alive"}),
    (re.compile(r"/v2/health/live"), {"live": True}),
    (re.compile(r"/v2/health/ready"), {"ready": True}),
    (re.compile(r"/v1/models/(?P<name>[^/:]+)"), {"ready": True}),
    (re.compile(r"/v2/models/(?P<name>[^/]+)(/versions/[^/]+)?/ready"), {"ready": True}),
)


def ready_body(path: str) -> dict[str, object] | None:
    """Return the body that says ready, for a health path of KServe's protocols; None for another path."""
    for pattern, body in _READY:
        if match := pattern.fullmatch(path):
            return {**match.groupdict(), **body}
    return None


def may_be_kept(method: str, asked: Mapping[str, str], status: int, answer: RawHeaders, size_bytes: int) -> bool:
    """Return whether the answer to one client may be given to others later."""
    control = (first(answer, b"cache-control") or b"").lower()
    personal = "Authorization" in asked or "Cookie" in asked or first(answer, b"set-cookie") is not None
    forbidden = b"no-store" in control or b"private" in control or first(answer, b"vary") is not None
    return method != "OPTIONS" and status == 200 and size_bytes <= LARGEST_BYTES and not personal and not forbidden


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """A pod's earlier answer."""

    headers: RawHeaders
    body: bytes


class KeptAnswers:
    """The last good answer to each method and target, for the MOST_ANSWERS used last."""

    def __init__(self) -> None:
        self._answers: OrderedDict[tuple[str, str], KeptAnswer] = OrderedDict()

    def keep(self, method: str, target: str, answer: KeptAnswer) -> None:
        """Keep an answer, and forget the one that was used least recently if there are too many."""
        self._answers[method, target] = answer
        self._answers.move_to_end((method, target))
        if len(self._answers) > MOST_ANSWERS:
            self._answers.popitem(last=False)

    def get(self, method: str, target: str) -> KeptAnswer | None:
        """Return the kept answer."""
        answer = self._answers.get((method, target))
        if answer is not None:
            self._answers.move_to_end((method, target))
        return answer
