"""Comparison of the ported KPA and HPA with recorded decisions of the real ones."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from math import isclose
from pathlib import Path
from typing import Any

from autoscaler_tuning.policies.hpa.rules import HpaConfig, HpaPod, NoMetricsError, recommend
from autoscaler_tuning.policies.hpa.stabiliser import Behavior, ScalingPolicy, ScalingRules, Stabiliser
from autoscaler_tuning.policies.kpa.kpa import KpaConfig, KpaScaler
from autoscaler_tuning.policies.kpa.windows import TimedBuckets

Case = Mapping[str, Any]
SHOWN = 3


class VectorsError(ValueError):
    """The file contains no valid test vectors."""


def lines(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield a line `N of M agree` for each kind of vector, and whether all agree, then the first that do not.

    Raises VectorsError if the file cannot be read, contains no vector, or contains a malformed one.
    """
    for kind, cases in _read(path).items():
        faults = [(index, fault) for index, case in enumerate(cases) if (fault := _fault(path, kind, index, case))]
        yield f"{kind}: {len(cases) - len(faults)} of {len(cases)} agree", not faults
        for index, fault in faults[:SHOWN]:
            yield f"  case {index}: {fault}", False


def check_window(case: Case) -> str | None:
    """Return None if every average agrees within 1e-9, else a description of the first that does not."""
    buckets = TimedBuckets(case["window_s"], case["granularity_s"])
    average = buckets.average if case["algorithm"] == "linear" else buckets.weighted_average
    for operation in case["operations"]:
        if "record" in operation:
            buckets.record(operation["t_s"], operation["record"])
        elif not isclose(found := average(operation["t_s"]), operation["average"], rel_tol=1e-9):
            return f"at {operation['t_s']} s expected an average of {operation['average']} as from Knative, got {found}"
    return None


def check_decisions(case: Case) -> str | None:
    """Return None if all pods and excess burst capacities agree, else a description of the first difference."""
    scaler = KpaScaler(KpaConfig(**case["spec"]), case["steps"][0]["t_s"], 0)
    for step in case["steps"]:
        scaled = scaler.scale(step["t_s"], step["ready_pods"], step["stable_value"], step["panic_value"])
        found = (scaled.pods, scaled.excess_burst_capacity)
        expected = (step["desired_pods"], step["excess_burst_capacity"])
        if found != expected:
            return f"at {step['t_s']} s expected (pods, excess burst capacity) {expected} as from Knative, got {found}"
    return None


def check_recommendation(case: Case) -> str | None:
    """Return None if the recommended pods or the error agree, else a description of the difference."""
    config = HpaConfig(
        target_utilization_percent=case["target_utilization_percent"],
        cpu_request_milli=case["cpu_request_milli"],
        sidecar_request_milli=0,
        tolerance=case["tolerance"],
        cpu_initialization_period_s=case["cpu_initialization_period_s"],
        initial_readiness_delay_s=case["initial_readiness_delay_s"],
    )
    pods = [HpaPod(**{"ready": None, "started_ago_s": None, **pod}) for pod in case["pods"]]
    try:
        found: int | str = recommend(pods, case["current_replicas"], config)
    except NoMetricsError as error:
        found = str(error)
    expected = case.get("recommended_replicas", case.get("error"))
    return None if found == expected else f"expected {expected} as from Kubernetes, got {found}"


def check_sequence(case: Case) -> str | None:
    """Return None if the pods of every step agree, else a description of the first difference."""
    config = HpaConfig(
        min_pods=case["min_replicas"],
        max_pods=case["max_replicas"],
        downscale_stabilization_s=case["downscale_stabilization_s"],
    )
    behavior = Behavior(_rules(case["scale_up"]), _rules(case["scale_down"])) if "scale_up" in case else None
    stabiliser = Stabiliser(config, behavior)
    for step in case["steps"]:
        found = stabiliser.desired(step["t_s"], step["current_replicas"], step["recommended_replicas"])
        if found != step["desired_replicas"]:
            return f"at {step['t_s']} s expected {step['desired_replicas']} pods as from Kubernetes, got {found}"
    return None


CHECKS: dict[str, Callable[[Case], str | None]] = {
    "decisions": check_decisions,
    "windows": check_window,
    "recommendations": check_recommendation,
    "sequences": check_sequence,
}


def _fault(path: Path, kind: str, index: int, case: Case) -> str | None:
    try:
        return CHECKS[kind](case)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise VectorsError(f"{path}: case {index} of {kind} is malformed: {error!r}") from error


def _rules(rules: Case) -> ScalingRules:
    policies = tuple(ScalingPolicy(p["type"], p["value"], p["period_s"]) for p in rules["policies"])
    return ScalingRules(rules["stabilization_window_s"], rules["select_policy"], policies)


def _read(path: Path) -> dict[str, list[Case]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            vectors = json.load(file)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise VectorsError(f"{path} must be gzipped JSON with test vectors: {error}") from error
    if not isinstance(vectors, dict) or not vectors or not vectors.keys() <= CHECKS.keys():
        found = ", ".join(vectors) or "none" if isinstance(vectors, dict) else f"a {type(vectors).__name__}"
        raise VectorsError(f"{path}: kinds of vectors must be among {', '.join(CHECKS)}, got {found}")
    for kind, cases in vectors.items():
        if not isinstance(cases, list) or not cases:
            raise VectorsError(f"{path}: {kind} must be a list of at least one case, got {cases!r:.60}")
    return vectors
