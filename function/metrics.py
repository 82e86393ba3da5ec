"""The metrics that a pod exports to Prometheus."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

from function.types import Classification, ModelInfo

PREFIX = "function_"
OLD_VALUES = {"native": "seed"}
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
BUCKETS_BYTES = tuple(4.0**power * 1024 for power in range(8))  # 1 KiB to 16 MiB
BUCKETS_PIXELS = tuple(4.0**power * 10_000 for power in range(8))  # 100 x 100 to 12,800 x 12,800


class PodMetrics:
    """The pod's metrics, registered in the caller's registry."""

    def __init__(self, registry: CollectorRegistry, model: ModelInfo) -> None:
        self.requests = Counter(
            "function_requests", "Responses by protocol and status", ["protocol", "status"], registry=registry
        )
        self.in_flight = Gauge("function_in_flight", "Requests in flight", registry=registry)
        self.stage = Histogram(
            "function_stage_seconds",
            "Time of one classification by stage",
            ["stage"],
            registry=registry,
            buckets=BUCKETS_S,
        )
        self.image_bytes = Histogram(
            "function_image_bytes", "Encoded size of the classified images", registry=registry, buckets=BUCKETS_BYTES
        )
        self.image_pixels = Histogram(
            "function_image_pixels",
            "Width times height of the classified images",
            registry=registry,
            buckets=BUCKETS_PIXELS,
        )
        self.cold_start = Gauge(
            "function_cold_start_seconds", "Time of the cold start by phase", ["phase"], registry=registry
        )
        labels = ["name", "version", "weights", "engine", "precision"]
        info = Gauge("function_model_info", "The served model and its engine", labels, registry=registry)
        info.labels(model.name, model.version, model.weights, model.engine, model.precision).set(1)
        own = (self.requests, self.in_flight, self.stage, self.image_bytes, self.image_pixels, self.cold_start, info)
        registry.register(DeprecatedNames(own))

    def observe(self, result: Classification, image_bytes: int) -> None:
        """Record one classification."""
        timing = result.timing
        self.stage.labels("pre").observe(timing.pre_s)
        self.stage.labels("infer").observe(timing.infer_s)
        self.stage.labels("post").observe(timing.post_s)
        self.image_bytes.observe(image_bytes)
        self.image_pixels.observe(result.pixels)


class DeprecatedNames:
    """Exports the metrics also under their names of earlier releases, without the prefix; the next release drops it."""

    def __init__(self, metrics: Iterable[MetricWrapperBase]) -> None:
        self._metrics = tuple(metrics)

    def describe(self) -> Iterable[Metric]:
        """Return no names: the registry would otherwise collect all metrics to learn them."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield each metric under its old name; `protocol` has its old value `seed` for the native protocol there."""
        for metric in self._metrics:
            for family in metric.collect():
                old = Metric(family.name.removeprefix(PREFIX), f"Deprecated: use {family.name}", family.type)
                for sample in family.samples:
                    labels = {name: OLD_VALUES.get(value, value) for name, value in sample.labels.items()}
                    old.add_sample(sample.name.removeprefix(PREFIX), labels, sample.value)
                yield old
