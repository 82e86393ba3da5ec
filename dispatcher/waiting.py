"""The waiting requests, by class and deadline: which goes next, which may be displaced, which ran out of time."""

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass
from math import inf

from dispatcher.terms import Priority, Terms

# One of this many released requests is the oldest expired one, even while others can still meet their deadlines.
EXPIRED_SHARE = 40

# A time in seconds and a request's id, so that equal times keep the order of arrival.
Entry = tuple[float, int]


@dataclass(slots=True)
class HeldRequest:
    """An accepted request.

    due_s: when it should be answered. promised: it came back at the time that a Retry-After had named.
    attempts: those that reached a backend. failures: failed attempts of any kind. avoid: the backend that failed last.
    backend: where it is in flight, None while it waits. expired: it waits and can no longer be answered by due_s.
    """

    arrival_s: float
    due_s: float
    terms: Terms
    promised: bool = False
    attempts: int = 0
    failures: int = 0
    avoid: str | None = None
    backend: str | None = None
    probe: bool = False
    sent_s: float = 0.0
    covered: bool = False
    abandoned: bool = False
    expired: bool = False

    @property
    def displaceable(self) -> bool:
        """Whether a newer request may take its place once it has expired."""
        return not (self.terms.kept or self.promised)

    @property
    def firm_deadline_s(self) -> float | None:
        """Time after which it is rejected: the client's own deadline, unless it was accepted for good."""
        return None if self.terms.kept else self.terms.deadline_s


@dataclass(frozen=True, slots=True)
class QueueRow:
    """What waits in one class. next_deadline_in_s: until the next feasible request is due, None without one."""

    priority: Priority
    waiting: int
    feasible: int
    expired: int
    kept: int
    oldest_wait_s: float
    next_deadline_in_s: float | None


class WaitingLine:
    """Holds the waiting requests in sorted lists.

    A list of 10,000 moves in microseconds, less than a heap with removed entries costs; a sorted one also tells how
    many requests go before another.
    """

    def __init__(self, fifo: bool = False) -> None:
        self._fifo = fifo
        self._requests: dict[int, HeldRequest] = {}
        self._feasible: dict[Priority, list[Entry]] = {priority: [] for priority in Priority}
        # by class, then by whether the request may be displaced
        self._expired: dict[Priority, dict[bool, list[Entry]]] = {p: {True: [], False: []} for p in Priority}
        self._arrivals: dict[bool, list[Entry]] = {True: [], False: []}  # by whether the request is kept
        self._deadlines: list[Entry] = []
        self._since_expired = 0

    def __len__(self) -> int:
        return len(self._requests)

    def __contains__(self, request_id: int) -> bool:
        return request_id in self._requests

    def add(self, request_id: int, request: HeldRequest) -> None:
        """Let the request wait; demote() decides whether it has expired."""
        request.expired = False
        self._requests[request_id] = request
        for entries, entry in self._places(request_id, request):
            insort(entries, entry)

    def remove(self, request_id: int) -> HeldRequest:
        """Take the request out of the line."""
        request = self._requests.pop(request_id)
        for entries, entry in self._places(request_id, request):
            del entries[bisect_left(entries, entry)]
        return request

    def demote(self, now_s: float, service_s: float) -> list[int]:
        """Mark the requests expired that would be answered after due_s if they were sent now; return their ids."""
        latest_s = now_s + service_s
        demoted: list[int] = []
        for priority, feasible in self._feasible.items():
            if not feasible or feasible[0][0] >= latest_s:
                continue
            late = bisect_left(feasible, (latest_s, -1))
            for _, request_id in feasible[:late]:
                request = self._requests[request_id]
                request.expired = True
                insort(self._expired[priority][request.displaceable], (request.arrival_s, request_id))
                demoted.append(request_id)
            del feasible[:late]
        return demoted

    def best(self) -> int:
        """Return the request to release next: by class the first due of the feasible ones.

        If there is none, it is the oldest expired one of the highest class; in every EXPIRED_SHARE-th release it is
        the oldest expired one of all classes. So a request of the lowest class that never gets a turn while it is
        feasible expires, and then waits for at most EXPIRED_SHARE releases for each older expired request.
        """
        if self._fifo:
            return min(entries[0] for entries in self._arrivals.values() if entries)[1]
        if self._since_expired + 1 >= EXPIRED_SHARE and (oldest := self._oldest_expired(tuple(Priority))) is not None:
            return oldest
        for feasible in self._feasible.values():
            if feasible:
                return feasible[0][1]
        for priority in Priority:
            if (oldest := self._oldest_expired((priority,))) is not None:
                return oldest
        raise LookupError("no request waits")

    def release(self, request_id: int) -> HeldRequest:
        """Take the request out of the line to be sent."""
        request = self.remove(request_id)
        self._since_expired = 0 if request.expired else self._since_expired + 1
        return request

    def ahead_of(self, priority: Priority, due_s: float) -> int:
        """Return how many waiting requests go before a feasible one of this class that is due then."""
        if self._fifo:
            return len(self)
        higher = sum(len(self._feasible[other]) for other in Priority if other < priority)
        return higher + bisect_right(self._feasible[priority], (due_s, inf))

    def victims(self, priority: Priority, most: int) -> list[int]:
        """Return requests that one of this class may displace: expired, of the lowest class first, oldest first."""
        found: list[int] = []
        for other in reversed(Priority):
            if other >= priority:
                found += [request_id for _, request_id in self._expired[other][True][: most - len(found)]]
        return found

    def size_bytes(self, request_id: int) -> int:
        """Return the size of a waiting request's body."""
        return self._requests[request_id].terms.size_bytes

    def feasible(self, latest_s: float) -> int:
        """Return how many waiting requests are due at latest_s or later."""
        return sum(_due_from(entries, latest_s) for entries in self._feasible.values())

    def oldest_arrival_s(self) -> float | None:
        """Return when the oldest waiting request arrived; None if no request waits."""
        return min((entries[0][0] for entries in self._arrivals.values() if entries), default=None)

    def oldest_synchronous(self) -> Entry | None:
        """Return arrival and id of the oldest waiting request that is not kept."""
        entries = self._arrivals[False]
        return entries[0] if entries else None

    def next_deadline(self) -> Entry | None:
        """Return the earliest client deadline that still rejects its request, and the request's id."""
        return self._deadlines[0] if self._deadlines else None

    def next_due_s(self) -> float | None:
        """Return when the first feasible request is due."""
        return min((entries[0][0] for entries in self._feasible.values() if entries), default=None)

    def rows(self, now_s: float, latest_s: float) -> list[QueueRow]:
        """Return what waits, by class; feasible is what is due at latest_s or later."""
        return [self._row(priority, now_s, latest_s) for priority in Priority]

    def _row(self, priority: Priority, now_s: float, latest_s: float) -> QueueRow:
        waiting = [request for request in self._requests.values() if request.terms.priority is priority]
        entries = self._feasible[priority]
        feasible = _due_from(entries, latest_s)
        return QueueRow(
            priority,
            waiting=len(waiting),
            feasible=feasible,
            expired=len(waiting) - feasible,
            kept=sum(request.terms.kept for request in waiting),
            oldest_wait_s=now_s - min((request.arrival_s for request in waiting), default=now_s),
            next_deadline_in_s=entries[-feasible][0] - now_s if feasible else None,
        )

    def _oldest_expired(self, priorities: tuple[Priority, ...]) -> int | None:
        heads = [entries[0] for p in priorities for entries in self._expired[p].values() if entries]
        return min(heads)[1] if heads else None

    def _places(self, request_id: int, request: HeldRequest) -> list[tuple[list[Entry], Entry]]:
        """Return the lists in which the request stands, and its entry in each."""
        terms, arrival = request.terms, (request.arrival_s, request_id)
        places = [(self._arrivals[terms.kept], arrival)]
        if request.expired:
            places.append((self._expired[terms.priority][request.displaceable], arrival))
        else:
            places.append((self._feasible[terms.priority], (request.due_s, request_id)))
        if request.firm_deadline_s is not None:
            places.append((self._deadlines, (request.firm_deadline_s, request_id)))
        return places


def _due_from(entries: list[Entry], latest_s: float) -> int:
    return len(entries) - bisect_left(entries, (latest_s, -1))
