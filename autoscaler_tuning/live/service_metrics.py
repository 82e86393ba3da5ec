"""The metrics of several Services on one page: those of each have its name as the label `service`."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector


class ServiceMetrics(Collector):
    """Registries of metrics, one for each Service.

    registry: all of them together, to be exported.
    """

    def __init__(self) -> None:
        self._by_service: dict[str, CollectorRegistry] = {}
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def of(self, service: str) -> CollectorRegistry:
        """Return the registry of a Service; an empty name adds no label."""
        return self._by_service.setdefault(service, CollectorRegistry())

    def collect(self) -> Iterator[Metric]:
        """Yield each metric once, with the samples of all Services."""
        merged: dict[str, Metric] = {}
        for service, registry in list(self._by_service.items()):
            label = {"service": service} if service else {}
            for metric in registry.collect():
                whole = merged.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                whole.samples += [sample._replace(labels={**label, **sample.labels}) for sample in metric.samples]
        yield from merged.values()
