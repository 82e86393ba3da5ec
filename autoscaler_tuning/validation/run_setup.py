"""The set-up of a recorded run, as data: everything that is needed to run it again or to simulate it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import inf
from typing import Any, Self

from autoscaler_tuning.policies.registry import ORDERS, PolicySpec
from autoscaler_tuning.types import Order

# What a request passes on its way to the model, in this order.
HOPS = ("dispatcher", "ingress", "activator", "queue-proxy")
TARGETS = ("simulated", "local", "knative", "other")


class RecordedError(ValueError):
    """The file contains no usable run; the message states the rule and the value."""


@dataclass(frozen=True, slots=True)
class RunSetup:
    """The set-up of a run; None means that a value is unknown.

    policy, knobs: name of the policy as `compare` accepts it, and all its settings; other names are allowed for
        autoscalers that are not part of this project.
    target: where the pods ran. path: the hops that requests passed, of HOPS.
    order: order of the queue in front of the pods.
    pod_start_s, service_time_s, cpu_per_request_s: what is known of the pod, in seconds.
    cpu_request_cores, cpu_limit_cores: of all containers of a pod.
    trace, from_s, seconds, scale, seed: the workload, as the load generator takes it.
    versions, machine, about: by name or topic, for readers; nothing is derived from them.
    """

    policy: str
    target: str
    path: tuple[str, ...]
    knobs: Mapping[str, Any] = field(default_factory=dict)
    order: Order = "fifo"
    slo_s: float = 0.5
    min_pods: int = 0
    max_pods: int = 40
    concurrency: int = 1
    pod_start_s: float | None = None
    service_time_s: float | None = None
    cpu_per_request_s: float | None = None
    cpu_request_cores: float | None = None
    cpu_limit_cores: float | None = None
    trace: str = ""
    from_s: int = 0
    seconds: int = 0
    scale: float = 1.0
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_words()
        self._check_numbers()
        if self.max_pods < self.min_pods:
            raise RecordedError(f"max_pods must be at least min_pods, {self.min_pods}, got {self.max_pods}")

    @property
    def is_direct(self) -> bool:
        """Whether requests went to the pods without a shared queue in front of them."""
        return not {"dispatcher", "activator"} & set(self.path)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Return the set-up in a file. Raises RecordedError, which names the field."""
        if not isinstance(value, dict):
            raise RecordedError(f"setup must be an object, got {value!r:.60}")
        known = {one.name for one in fields(cls)}
        if unknown := sorted(value.keys() - known):
            raise RecordedError(f"setup has an unknown field {unknown[0]!r}; known: {', '.join(sorted(known))}")
        if missing := sorted(known - value.keys()):
            raise RecordedError(f"setup must have the field {missing[0]!r}")
        if not isinstance(value["path"], list):
            raise RecordedError(f"path must be a list of hops, got {value['path']!r:.60}")
        return cls(**{**value, "path": tuple(value["path"])})

    def to_json(self) -> dict[str, Any]:
        """Return the set-up as it is written to a file."""
        return asdict(self)

    def _check_words(self) -> None:
        for name in ("policy", "trace"):
            if not isinstance(getattr(self, name), str):
                raise RecordedError(f"{name} must be a text, got {getattr(self, name)!r:.60}")
        for name in ("knobs", "versions", "machine", "about"):
            if not isinstance(getattr(self, name), Mapping):
                raise RecordedError(f"{name} must be an object, got {getattr(self, name)!r:.60}")
        if self.target not in TARGETS:
            raise RecordedError(f"target must be one of {', '.join(TARGETS)}, got {self.target!r:.60}")
        if self.order not in ORDERS:
            raise RecordedError(f"order must be fifo or deadline, got {self.order!r:.60}")
        if unknown := [hop for hop in self.path if hop not in HOPS]:
            raise RecordedError(f"path must consist of {', '.join(HOPS)}, got {unknown[0]!r:.60}")

    def _check_numbers(self) -> None:
        for name in ("min_pods", "max_pods", "concurrency", "from_s", "seconds", "seed"):
            value, least = getattr(self, name), int(name in ("max_pods", "concurrency"))
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise RecordedError(f"{name} must be an integer of at least {least}, got {value!r:.60}")
        for name in ("slo_s", "scale"):
            if not _is_above_0(getattr(self, name)):
                raise RecordedError(f"{name} must be above 0 and finite, got {getattr(self, name)!r:.60}")
        for name in ("pod_start_s", "service_time_s", "cpu_per_request_s", "cpu_request_cores", "cpu_limit_cores"):
            value = getattr(self, name)
            if value is not None and not _is_above_0(value):
                raise RecordedError(f"{name} must be above 0 and finite, or null, got {value!r:.60}")


def knobs_of(spec: PolicySpec) -> dict[str, Any]:
    """Return all settings of a policy by name; those of its parts have dotted names."""
    return _flat(asdict(spec.config))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def _is_above_0(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < inf
