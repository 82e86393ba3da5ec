"""Metrics that the dispatcher exports to Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class DispatcherMetrics:
    """The dispatcher's metrics, registered with the caller's registry; each label has a bounded set of values."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.answers = Counter("dispatcher_answers", "Responses to clients by status", ["status"], registry=registry)
        self._answers_of: dict[int, Counter] = {}
        self.rejected = Counter("dispatcher_rejected", "Requests rejected", ["reason"], registry=registry)
        self.retried = Counter("dispatcher_retried", "Requests returned to the queue", registry=registry)
        self.queue_s = Histogram(
            "dispatcher_queue_seconds", "Time until forwarded", registry=registry, buckets=BUCKETS_S
        )
        self.latency_s = Histogram(
            "dispatcher_latency_seconds", "Time from arrival to response", registry=registry, buckets=BUCKETS_S
        )
        self.waiting = Gauge("dispatcher_waiting", "Requests waiting in the buffer", registry=registry)
        self.in_flight = Gauge("dispatcher_in_flight", "Requests in flight at backends", registry=registry)

    def answer(self, status: int) -> None:
        """Count a response to a request that is not only for metadata."""
        child = self._answers_of.get(status)
        if child is None:
            child = self._answers_of[status] = self.answers.labels(str(status))
        child.inc()
