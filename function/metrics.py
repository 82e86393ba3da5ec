"""The metrics that a pod exports to Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from function.types import Classification, ModelInfo

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
BUCKETS_BYTES = tuple(4.0**power * 1024 for power in range(8))  # 1 KiB to 16 MiB
BUCKETS_PIXELS = tuple(4.0**power * 10_000 for power in range(8))  # 100 x 100 to 12,800 x 12,800


class PodMetrics:
    """The pod's metrics, registered in the caller's registry."""

    def __init__(self, registry: CollectorRegistry, model: ModelInfo) -> None:
        self.requests = Counter(
            "requests", "Responses by protocol and status", ["protocol", "status"], registry=registry
        )
        self.in_flight = Gauge("in_flight", "Requests in flight", registry=registry)
        self.stage = Histogram(
            "stage_seconds", "Time of one classification by stage", ["stage"], registry=registry, buckets=BUCKETS_S
        )
        self.image_bytes = Histogram(
            "image_bytes", "Encoded size of the classified images", registry=registry, buckets=BUCKETS_BYTES
        )
        self.image_pixels = Histogram(
            "image_pixels", "Width times height of the classified images", registry=registry, buckets=BUCKETS_PIXELS
        )
        self.cold_start = Gauge("cold_start_seconds", "Time of the cold start by phase", ["phase"], registry=registry)
        labels = ["name", "version", "weights", "engine", "precision"]
        info = Gauge("model_info", "The served model and its engine", labels, registry=registry)
        info.labels(model.name, model.version, model.weights, model.engine, model.precision).set(1)

    def observe(self, result: Classification, image_bytes: int) -> None:
        """Record one classification."""
        timing = result.timing
        self.stage.labels("pre").observe(timing.pre_s)
        self.stage.labels("infer").observe(timing.infer_s)
        self.stage.labels("post").observe(timing.post_s)
        self.image_bytes.observe(image_bytes)
        self.image_pixels.observe(result.pixels)
