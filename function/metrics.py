"""What a pod exports to Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from function.classifier import ModelInfo, Timing

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class Metrics:
    """The registry is the caller's."""

    def __init__(self, registry: CollectorRegistry, model: ModelInfo) -> None:
        self.requests = Counter("requests", "Answers by status", ["status"], registry=registry)
        self.stage = Histogram(
            "stage_seconds", "Time of a classification by stage", ["stage"], registry=registry, buckets=BUCKETS_S
        )
        self.cold_start = Gauge("cold_start_seconds", "Time to ready by phase", ["phase"], registry=registry)
        info = Gauge("model_info", "The model that is served", ["name", "version", "engine"], registry=registry)
        info.labels(model.name, model.version, model.engine).set(1)

    def observe(self, timing: Timing) -> None:
        """One classification."""
        self.stage.labels("pre").observe(timing.pre_s)
        self.stage.labels("infer").observe(timing.infer_s)
        self.stage.labels("post").observe(timing.post_s)
