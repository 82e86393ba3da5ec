"""A ledger of requests: what became of each, and which of the dispatcher's promises that breaks."""

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from tests.stubs.wire import Message, WireError

# Asynchronous work may be run twice for at most this share, besides what was in flight at a kill.
TWICE_RATIO = 0.001


class Fate(StrEnum):
    """How a request ended."""

    ANSWERED = "answered"  # 200, and the proof in it is of this request
    REFUSED = "refused"  # 408, 429, 503 or 507 that says why
    FAILED = "failed"  # 502 or 504 that says why
    HUNG_UP = "hung up"  # by the client, on purpose
    CANCELLED = "cancelled"  # asynchronous work, by its client
    WRONG = "wrong"  # another's answer, a damaged one, or a status that makes no sense
    SILENT = "silent"  # the connection ended without an answer, or none came while the client waited
    LOST = "lost"  # accepted asynchronous work that the dispatcher no longer knows, or never finished


BROKEN = (Fate.WRONG, Fate.SILENT, Fate.LOST)
REFUSALS, FAILURES = frozenset({408, 429, 503, 507}), frozenset({502, 504})


@dataclass(frozen=True, slots=True)
class End:
    """The end of a request, and what shows it."""

    fate: Fate
    detail: str = ""


class Ledger:
    """Every request id, from its start to its end."""

    def __init__(self) -> None:
        self._ends: dict[str, list[End]] = {}

    def start(self, request_id: str) -> None:
        """Enter a request. Raise ValueError if it is there already: then the test itself is wrong."""
        if request_id in self._ends:
            raise ValueError(f"request {request_id} was entered twice")
        self._ends[request_id] = []

    def end(self, request_id: str, end: End) -> None:
        """Enter an end, also a second one, of a request that was started."""
        self._ends[request_id].append(end)

    def counts(self) -> Mapping[str, int]:
        """Return how many requests there were, and how many ended in which way first."""
        fates = Counter(ends[0].fate if ends else Fate.SILENT for ends in self._ends.values())
        return {"requests": len(self._ends), **{fate.value: fates[fate] for fate in Fate}}

    def broken(self) -> list[str]:
        """Return a sentence for each request that has no end, two different ones, or one that breaks a promise."""
        found = []
        for request_id, ends in self._ends.items():
            fates = {end.fate for end in ends}
            if not ends:
                found.append(f"{request_id}: no end")
            elif len(fates) > 1:
                seen = "; ".join(f"{end.fate} {end.detail}".rstrip() for end in ends)
                found.append(f"{request_id}: several ends: {seen}")
            elif ends[0].fate in BROKEN:
                found.append(f"{request_id}: {ends[0].fate}: {ends[0].detail}")
        return found


def judge(message: Message, request_id: str, body: bytes) -> End:
    """Return how the answer of the stub pods, through the dispatcher, ends a request."""
    text = message.body[:200].decode("utf-8", "replace")
    seen = f"{message.start}: {text}"
    try:
        found = json.loads(message.body)
    except ValueError:
        return End(Fate.WRONG, f"no JSON: {seen}")
    if not isinstance(found, dict):
        return End(Fate.WRONG, f"no JSON object: {seen}")
    if message.status == 200:
        proof = (found.get("id"), found.get("bytes"), found.get("crc32"))
        wanted = (request_id, len(body), zlib.crc32(body))
        return End(Fate.ANSWERED) if proof == wanted else End(Fate.WRONG, f"proof {proof}, not {wanted}")
    if "error" not in found:
        return End(Fate.WRONG, f"no reason: {seen}")
    if message.status in REFUSALS:
        return End(Fate.REFUSED, seen)
    return End(Fate.FAILED if message.status in FAILURES else Fate.WRONG, seen)


def silence(error: WireError | OSError | TimeoutError) -> End:
    """Return the end of a request without an answer."""
    return End(Fate.SILENT, f"{type(error).__name__}: {error}")


def run_twice(served_ids: Iterable[str], lost_at_kills: int = 0) -> list[str]:
    """Return a sentence if the pods served more requests twice than is allowed; [] otherwise."""
    runs = Counter(served_ids)
    again = sum(count - 1 for count in runs.values())
    allowed = int(TWICE_RATIO * len(runs)) + lost_at_kills
    return [] if again <= allowed else [f"{again} of {len(runs)} were run again, allowed are {allowed}"]
