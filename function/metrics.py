"""What a pod exports to Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from function.classifier import Classification, ModelInfo

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
BUCKETS_BYTES = tuple(4.0**power * 1024 for power in range(8))  # 1 KiB to 16 MiB
BUCKETS_PIXELS = tuple(4.0**power * 10_000 for power in range(8))  # 100 x 100 to 12,800 x 12,800


class PodMetrics:
    """The registry is the caller's."""

    def __init__(self, registry: CollectorRegistry, model: ModelInfo) -> None:
        self.requests = Counter("requests", "Answers by protocol and status", ["protocol", "status"], registry=registry)
        self.in_flight = Gauge("in_flight", "Requests that are being answered", registry=registry)
        self.stage = Histogram(
            "stage_seconds", "Time of a classification by stage", ["stage"], registry=registry, buckets=BUCKETS_S
        )
        self.image_bytes = Histogram(
            "image_bytes", "Sizes of the images that were classified", registry=registry, buckets=BUCKETS_BYTES
        )
        self.image_pixels = Histogram(
            "image_pixels", "Width times height of the images", registry=registry, buckets=BUCKETS_PIXELS
        )
        self.cold_start = Gauge("cold_start_seconds", "Time to ready by phase", ["phase"], registry=registry)
        told = ["name", "version", "weights", "engine", "precision"]
        info = Gauge("model_info", "The model that is served, and the engine", told, registry=registry)
        info.labels(model.name, model.version, model.weights, model.engine, model.precision).set(1)

    def observe(self, result: Classification, image_bytes: int) -> None:
        """One classification."""
        timing = result.timing
        self.stage.labels("pre").observe(timing.pre_s)
        self.stage.labels("infer").observe(timing.infer_s)
        self.stage.labels("post").observe(timing.post_s)
        self.image_bytes.observe(image_bytes)
        self.image_pixels.observe(result.pixels)
