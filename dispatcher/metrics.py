"""What the dispatcher exports to Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class DispatcherMetrics:
    """The registry is the caller's; labels are bounded."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.answers = Counter("dispatcher_answers", "Answers to clients by status", ["status"], registry=registry)
        self.rejected = Counter("dispatcher_rejected", "Requests turned away", ["reason"], registry=registry)
        self.retried = Counter("dispatcher_retried", "Requests that went back to the queue", registry=registry)
        self.queue_s = Histogram("dispatcher_queue_seconds", "Time until sent on", registry=registry, buckets=BUCKETS_S)
        self.latency_s = Histogram(
            "dispatcher_latency_seconds", "Time from arrival to answer", registry=registry, buckets=BUCKETS_S
        )
        self.waiting = Gauge("dispatcher_waiting", "Requests in the buffer", registry=registry)
        self.in_flight = Gauge("dispatcher_in_flight", "Requests sent on", registry=registry)
