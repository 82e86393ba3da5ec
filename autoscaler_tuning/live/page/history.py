"""What the page shows of one Service: a row for each second of the last hour, decisions and pod starts."""

import json
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from autoscaler_tuning.live.operator import Operator

ROWS_KEPT, DECISIONS_KEPT, STARTS_KEPT = 3600, 600, 10
EVENTS_KEPT = 60  # a viewer that is further behind is disconnected already: no write may block for more than 30 s

# The columns of a row. t_s is Unix time; arrivals is their rate between the last two counts; answers, in_time, lost and
# pod_seconds are those since the row before, the percentiles those of the last ten rows; None where nothing is known.
COLUMNS = (
    "t_s",
    "arrivals",
    "level_rps",
    "wanted",
    "ready",
    "starting",
    "terminating",
    "stock",
    "waiting_high",
    "waiting_normal",
    "waiting_low",
    "oldest_s",
    "expired",
    "retry_after_s",
    "p50_s",
    "p95_s",
    "p99_s",
    "answers",
    "in_time",
    "lost",
    "pod_seconds",
    "age_s",
)
Row = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Ruler:
    """Who decides on the pods at the moment, why, and since when as Unix time."""

    name: str
    why: str
    since_s: float


@dataclass(frozen=True, slots=True)
class DecisionMark:
    """A decision that changed the wanted pods, at a Unix time."""

    t_s: float
    pods: int
    reason: str


@dataclass(frozen=True, slots=True)
class PodStart:
    """A pod's start: the Unix time at which it was ready, and its phases in order, in seconds."""

    t_s: float
    pod: str
    phases: Mapping[str, float]


@dataclass(slots=True)
class PageHistory:
    """The history of one Service; one thread writes, others read.

    An hour takes about 1 MB: 3,600 rows of 22 numbers, most of which are shared small ones.
    """

    service: str
    policy: str
    slo_s: float
    operator: Operator
    rows: deque[Row] = field(default_factory=lambda: deque(maxlen=ROWS_KEPT))
    decisions: deque[DecisionMark] = field(default_factory=lambda: deque(maxlen=DECISIONS_KEPT))
    starts: deque[PodStart] = field(default_factory=lambda: deque(maxlen=STARTS_KEPT))
    ruler: Ruler = field(default_factory=lambda: Ruler("nobody yet", "no decision was carried out", 0.0))
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _events: deque[bytes] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    _count: int = 0

    def add(self, row: Row, decisions: Sequence[DecisionMark], starts: Sequence[PodStart]) -> None:
        """Add a second, and what happened in it; wake those who wait."""
        with self._changed:
            self.rows.append(row)
            self.decisions.extend(decisions)
            self.starts.extend(starts)
            news = {
                "row": row,
                "decisions": [asdict(one) for one in decisions],
                "starts": [asdict(one) for one in starts],
                **self._state(),
            }
            self._events.append(b"data: " + json.dumps(news, separators=(",", ":")).encode() + b"\n\n")
            self._count += 1
            self._changed.notify_all()

    def after(self, count: int, timeout_s: float) -> tuple[int, bytes]:
        """Return the number of the newest second, and the server-sent events of those above count once there are any.

        Without any within timeout_s the events are empty. Each is rendered once for all who wait.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._count > count, timeout_s)
            first = max(0, len(self._events) - (self._count - count))
            return self._count, b"".join(islice(self._events, first, None))

    @property
    def count(self) -> int:
        """Return the number of the newest second."""
        return self._count

    def document(self) -> dict[str, Any]:
        """Return everything that is kept, as values for JSON."""
        with self._changed:
            return {
                "service": self.service,
                "policy": self.policy,
                "slo_s": self.slo_s,
                "columns": COLUMNS,
                "rows": list(self.rows),
                "decisions": [asdict(one) for one in self.decisions],
                "starts": [asdict(one) for one in self.starts],
                "count": self._count,
                **self._state(),
            }

    def _state(self) -> dict[str, Any]:
        return {
            "ruler": asdict(self.ruler),
            "paused": self.operator.paused,
            "bounds": self.operator.bounds or (0, self.operator.most),
        }
