"""Runs in the old format: one JSON document whose set-up is prose, as in ../shared/runs."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoscaler_tuning.policies.registry import UnknownPolicyError, policy_named
from autoscaler_tuning.validation.recorded_run import COLUMNS, COUNTS, read_document
from autoscaler_tuning.validation.run_file import DecisionLine, PodsLine, RequestLine, RunRecord
from autoscaler_tuning.validation.run_setup import RecordedError, RunSetup, knobs_of

KPA = "kpa"
RECORDED = "recorded"
# Words of a description of KPA that state no setting; with any other word its decisions are repeated as recorded.
PLAIN_WORDS = {KPA, "knative", "knatives", "default", "defaults", "stock", "with", "its", "max", "scale"} | {
    "containerconcurrency"
}


def setup_of(about: Mapping[str, str]) -> RunSetup:
    """Return the set-up that the prose describes; its policy is `recorded` if it is not one with known settings."""
    policy = _policy(about.get("policy", "").lower())
    most = re.search(r"max(?:-?scale|imum|[ -]pods)?\D{0,12}(\d+)", about.get("policy", ""))
    concurrency = re.search(r"concurrency\D{0,5}(\d+)", " ".join(about.values()))
    seed, seconds = (re.search(pattern, about.get("trace", "")) for pattern in (r"seed (\d+)", r"(\d+) s\b"))
    pod_start = re.search(r"([\d.]+) s after its start", about.get("pod", ""))
    service = re.search(r"([\d.]+) s a request", about.get("pod", ""))
    return RunSetup(
        policy=policy,
        target="knative",
        path=_path(about.get("path", ""), policy),
        knobs={} if policy == RECORDED else knobs_of(policy_named(policy)),
        max_pods=int(most[1]) if most else 40,
        concurrency=int(concurrency[1]) if concurrency else 1,
        pod_start_s=float(pod_start[1]) if pod_start else None,
        service_time_s=float(service[1]) if service else None,
        trace=about.get("trace", "").partition(",")[0],
        seconds=int(seconds[1]) if seconds else 0,
        seed=int(seed[1]) if seed else 0,
        about=dict(about),
    )


def converted(path: Path, policy: str | None = None) -> RunRecord:
    """Return the run of an old file. Raises RecordedError if it is not usable.

    policy: its policy as `compare` accepts it, if the prose does not name one; None takes that of the prose.
    """
    document = read_document(path)
    try:
        return _record(document, policy)
    except UnknownPolicyError as error:
        raise RecordedError(str(error)) from error
    except RecordedError as error:
        raise RecordedError(f"{path}: {error}") from error
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise RecordedError(f"{path}: {error!r}") from error


def _record(document: Mapping[str, Any], policy: str | None) -> RunRecord:
    setup = setup_of({str(topic): str(text) for topic, text in dict(document.get("about", {})).items()})
    if policy is not None and policy != RECORDED:
        knobs = knobs_of(policy_named(policy, setup.slo_s))
        setup = replace(setup, policy=policy, knobs=knobs)
    if document.get("requests_columns", list(COLUMNS)) != list(COLUMNS):
        raise RecordedError(f"requests_columns must be {list(COLUMNS)}, got {document['requests_columns']}")
    requests = tuple(
        RequestLine(float(intended_s), float(sent_s), None if not done_s else float(done_s), int(status))
        for intended_s, sent_s, done_s, status in sorted(document["requests"])
    )
    pods = tuple(map(_pods, document["pods"]))
    return RunRecord(setup, requests, pods, _changes(pods))


def _pods(sample: Mapping[str, Any]) -> PodsLine:
    desired = (sample.get("desired_scale") or [-1])[-1]
    ready, starting, terminating = (int(sample[name]) for name in COUNTS)
    wanted = None if desired is None or desired < 0 else int(desired)
    return PodsLine(float(sample["t_s"]), ready, starting, terminating, wanted)


def _changes(pods: tuple[PodsLine, ...]) -> tuple[DecisionLine, ...]:
    found: list[DecisionLine] = []
    for one in pods:
        if one.desired_pods is not None and (not found or found[-1].pods != one.desired_pods):
            found.append(DecisionLine(one.t_s, one.desired_pods, ""))
    return tuple(found)


def _policy(description: str) -> str:
    words = re.findall(r"[a-z]+|\d+", description)
    if "hpa" in words or re.search(r"\bhpa\d*", description):
        percent = re.search(r"hpa\D{0,20}?(\d{1,3})|(\d{1,3}) ?%", description)
        return f"hpa{(percent[1] or percent[2]) if percent else 70}"
    return KPA if KPA in words and all(word in PLAIN_WORDS or word.isdecimal() for word in words) else RECORDED


def _path(description: str, policy: str) -> tuple[str, ...]:
    present = re.sub(r"(no|without)( an?)? \w+", "", description)
    has_activator = "activator" in present or (not description and not policy.startswith("hpa"))
    dispatcher = ("dispatcher",) if "dispatcher" in present else ()
    return (*dispatcher, "ingress", *(("activator",) if has_activator else ()), "queue-proxy")
