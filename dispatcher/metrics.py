"""Metrics that the dispatcher exports to Prometheus; docs/metrics.md describes each."""

from collections.abc import Callable
from http import HTTPStatus

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from dispatcher.actions import Reason

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# The status under which a request counts whose client has disconnected; nginx uses the same number.
CLIENT_GONE = 499


class DispatcherMetrics:
    """The dispatcher's metrics, registered with the caller's registry; each label has a bounded set of values."""

    def __init__(self, registry: CollectorRegistry, slo_s: float) -> None:
        """slo_s: the target latency; a slower response counts as late."""
        self._slo_s = slo_s
        self.answers = Counter("dispatcher_answers", "Responses to clients by status", ["status"], registry=registry)
        self._answers_of: dict[int, Counter] = {}
        self.late = Counter(
            "dispatcher_late", "Responses later than the SLO, and those of status 429, 499 or 5xx", registry=registry
        )
        self.rejected = Counter("dispatcher_rejected", "Requests rejected", ["reason"], registry=registry)
        for reason in Reason:  # a counter that begins with its first event hides that event from rate()
            self.rejected.labels(reason.value)
        self.retried = Counter("dispatcher_retried", "Requests returned to the queue", registry=registry)
        self.queue_s = Histogram(
            "dispatcher_queue_seconds", "Time until forwarded", registry=registry, buckets=BUCKETS_S
        )
        self.latency_s = Histogram(
            "dispatcher_latency_seconds", "Time from arrival to response", registry=registry, buckets=BUCKETS_S
        )
        self.waiting = Gauge("dispatcher_waiting", "Requests waiting in the buffer", registry=registry)
        self.in_flight = Gauge("dispatcher_in_flight", "Requests in flight at backends", registry=registry)

    def answer(self, status: int, took_s: float) -> None:
        """Count a response to a request that is not only for metadata.

        took_s: from the arrival of the request's head.
        """
        child = self._answers_of.get(status)
        if child is None:
            child = self._answers_of[status] = self.answers.labels(str(status))
        child.inc()
        refused = status in (HTTPStatus.TOO_MANY_REQUESTS, CLIENT_GONE)
        slow = took_s > self._slo_s and status < HTTPStatus.BAD_REQUEST  # other errors are the client's own
        if refused or slow or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self.late.inc()


def export_values(registry: CollectorRegistry, values: dict[str, tuple[str, Callable[[], float]]]) -> None:
    """Export gauges by name; each has a description, and a function that is called when the metrics are read."""
    for name, (about, read) in values.items():
        Gauge(name, about, registry=registry).set_function(read)


class JobMetrics:
    """Counts what became of asynchronous jobs and of the pushes of their results."""

    def __init__(self, registry: CollectorRegistry) -> None:
        about = "Asynchronous jobs that ended at this dispatcher, by final state"
        self._ended = Counter("dispatcher_jobs_ended", about, ["state"], registry=registry)
        about = "Attempts to push a result to the sink, by outcome"
        self._pushes = Counter("dispatcher_pushes", about, ["outcome"], registry=registry)
        for state in ("done", "failed"):
            self._ended.labels(state)
        for outcome in ("delivered", "failed", "given up"):
            self._pushes.labels(outcome)

    def ended(self, state: str) -> None:
        """Count a job that is done or failed."""
        self._ended.labels(state).inc()

    def pushed(self, outcome: str) -> None:
        """Count a push that was delivered, failed or given up."""
        self._pushes.labels(outcome).inc()
