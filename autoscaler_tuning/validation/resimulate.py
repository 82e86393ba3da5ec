"""The simulator on a recorded run's arrivals, in the world that was fitted to a part of it."""

import re
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from autoscaler_tuning.policies.base import Bounded, Policy
from autoscaler_tuning.policies.hpa.hpa import Hpa, HpaConfig
from autoscaler_tuning.policies.kpa.kpa import KpaConfig
from autoscaler_tuning.policies.registry import KnativeClass, policy_named
from autoscaler_tuning.policies.scale_to_zero import ScalesDeployment
from autoscaler_tuning.results import FloatArray
from autoscaler_tuning.simulator.cluster import Cluster
from autoscaler_tuning.simulator.simulate import ControlLoop
from autoscaler_tuning.simulator.world import SimConfig
from autoscaler_tuning.types import Decision, Observation
from autoscaler_tuning.validation.fit import Fit, tick_phase_s
from autoscaler_tuning.validation.recorded_run import RecordedRun

DRAIN_S = 60.0
KPA = "kpa"
RECORDED = "recorded"
# Of a pod that serves all the time, in whole per cent of its CPU request: where a run does not tell, the best is taken.
UTILIZATIONS = tuple(round(20 * 1.07**step) for step in range(50))
TRIES = 2
OFFSETS_S = tuple(np.arange(0, 1, 0.1).tolist())
OFFSET_BLUR_S = 0.1
AS_GOOD_RATIO = 1.3


@dataclass(frozen=True, slots=True)
class Choices:
    """How to replay.

    policy: kpa, hpaN, or recorded, which follows what the run's autoscaler decided when it did; None takes what `about`
        names. from_s, to_s: the part to fit, None is the first half. seeds: simulations, of which medians are shown.
    utilization_percent: see UTILIZATIONS; None is fitted. max_pods: None takes what `about` says, or 40.
    metrics_resolution_s: how often CPU is measured: 15 s by metrics-server's default, 5 s in the recording cluster.
    """

    policy: str | None = None
    from_s: float | None = None
    to_s: float | None = None
    seeds: int = 15
    utilization_percent: int | None = None
    metrics_resolution_s: float = 5.0
    max_pods: int | None = None


@dataclass(frozen=True, slots=True)
class Resimulated:
    """One simulation on the recorded clock: done_s like the run's, pods at the run's looks."""

    done_s: FloatArray
    ready_pods: FloatArray
    alive_pods: FloatArray


class AsRecorded:
    """Wants what the run's autoscaler wanted, when it did."""

    interval_s = 0.1

    def __init__(self, run: RecordedRun, offset_s: float, direct: bool) -> None:
        """offset_s: how much later the simulator's clock is than the run's."""
        middle_s = np.append(run.times_s[0], (run.times_s[1:] + run.times_s[:-1]) / 2)
        known = run.desired_pods >= 0
        self._times_s, self._pods = middle_s[known] + offset_s, run.desired_pods[known]
        self._direct = direct

    def decide(self, obs: Observation) -> Decision:
        latest = int(np.searchsorted(self._times_s, obs.now_s, side="right")) - 1
        if latest < 0:
            return Decision(obs.ready_pods + obs.starting_pods, "nothing was recorded yet", direct=self._direct)
        return Decision(int(self._pods[latest]), "as recorded", direct=self._direct)


def named_policy(run: RecordedRun) -> str:
    """kpa or hpaN where `about` says so of one with Knative's defaults, else recorded."""
    said = run.about.get("policy", "").lower()
    words = re.findall(r"[a-z]+|\d+", said)
    if "hpa" in words or re.search(r"\bhpa\d*", said):
        percent = re.search(r"hpa\D{0,20}?(\d{1,3})|(\d{1,3}) ?%", said)
        return f"hpa{(percent[1] or percent[2]) if percent else 70}"
    return (
        KPA
        if words[:1] == [KPA] or ("kpa" in words and not {"pin", "pins", "pinned", "min"} & set(words))
        else RECORDED
    )


def is_direct(run: RecordedRun) -> bool:
    """Whether requests went to the pods without an activator or dispatcher in between; HPA's do."""
    path = re.sub(r"(no|without)( an?)? \w+", "", run.about.get("path", ""))
    shared = re.search("activator|dispatcher", path) is not None
    return not shared and (bool(path) or is_hpa(named_policy(run)))


def is_hpa(policy: str) -> bool:
    """Return whether a policy scales through Kubernetes' HPA."""
    return policy != RECORDED and policy_named(policy).entry.knative_class is KnativeClass.HPA


def tick_s(policy: str) -> float | None:
    """Between two decisions of the autoscaler, where that is known."""
    if policy == RECORDED:
        return None
    return HpaConfig().sync_s if is_hpa(policy) else KpaConfig().tick_s


class Resimulation:
    """The run's arrivals in a fitted world."""

    def __init__(self, run: RecordedRun, world: Fit, choices: Choices) -> None:
        self._run, self._choices = run, choices
        said = run.about.get("policy", "")
        most = re.search(r"max(?:-?scale|imum|[ -]pods)?\D{0,12}(\d+)", said)
        self._max_pods = choices.max_pods or (int(most[1]) if most else 40)
        ready = int(run.ready_pods[max(0, int(np.searchsorted(run.times_s, 0.0)) - 1)])
        concurrency = re.search(r"concurrency\D{0,5}(\d+)", " ".join(run.about.values()))
        self._utilization = float(choices.utilization_percent or 100)
        self._config = SimConfig(
            **world.settings(),  # type: ignore[arg-type]  # names and types are SimConfig's, a test compares them
            initial_pods=ready,
            max_pods=max(self._max_pods, ready),
            concurrency=int(concurrency[1]) if concurrency else 1,
        )
        policy = str(choices.policy)
        part = (choices.from_s or 0.0, inf if choices.to_s is None else choices.to_s)
        self._interval_s = tick_s(policy) or AsRecorded.interval_s
        self._tick_s = tick_phase_s(run, self._interval_s, *part)
        self._offsets_s: tuple[float, ...] = (0.5,)

    def fit_utilization(self, from_s: float, to_s: float) -> str:
        """Choose what CPU a busy pod uses, if nobody said, so that the pods of the fitted part come out best."""
        if self._choices.utilization_percent is not None:
            return f"a busy pod uses {self._utilization:g} % of its CPU request, as given"
        errors = {}
        for percent in UTILIZATIONS:
            self._utilization = float(percent)
            errors[percent] = self._error(from_s, to_s)
        best = min(errors, key=errors.__getitem__)
        self._utilization = float(best)
        return f"a busy pod uses {best} % of its CPU request: fitted, for the run does not say"

    def fit_seconds(self, from_s: float, to_s: float) -> str:
        """Find where the whole seconds begin in which the autoscaler counts, so that its pods come out best, or nearly.

        In a burst it matters much how old the last count is at a tick: panic takes twice the pods or half of them.
        """
        errors = {}
        for offset_s in OFFSETS_S:
            self._offsets_s = (offset_s,)
            errors[offset_s] = self._error(from_s, to_s)
        best = min(errors.values())
        self._offsets_s = tuple(one for one in OFFSETS_S if errors[one] <= best * AS_GOOD_RATIO)
        ticks = "at an unknown phase" if self._tick_s is None else f"at {self._tick_s:.2f} s"
        begins = ", ".join(f"{(1 - one) % 1:.1f}" for one in self._offsets_s)
        return f"fitted: autoscaler ticks {ticks}, its seconds begin at one of {begins} s"

    def _error(self, from_s: float, to_s: float) -> float:
        """Of the ready pods over time in the fitted part."""
        tries = [self.once(seed) for seed in range(TRIES)]
        return float(np.mean([ready_off(self._run, one, from_s, to_s) for one in tries]))

    def once(self, seed: int) -> Resimulated:
        """One simulation. Seeds differ in service and start times, and a little in the autoscaler's seconds."""
        rng = np.random.default_rng(seed)
        offset_s = self._offsets_s[seed % len(self._offsets_s)] + rng.uniform(0, OFFSET_BLUR_S)
        run = self._run
        tick_s = rng.uniform(0, self._interval_s) if self._tick_s is None else self._tick_s
        policy = self._policy(offset_s)
        loop = ControlLoop(
            Cluster(self._config, run.sent_s + offset_s, rng),
            policy,
            self._config,
            (tick_s + offset_s) % self._interval_s if self._choices.policy != RECORDED else 0.0,
        )
        looks_s = run.times_s + offset_s
        end_s = max(run.end_s + DRAIN_S, float(run.times_s[-1])) + offset_s
        loop.run_until(end_s)
        done_s = loop.cluster.done_s
        done_s[done_s > end_s] = np.nan
        ready, starting, _ = loop.cluster.pods_at(looks_s)
        return Resimulated(done_s - offset_s, ready.astype(float), (ready + starting).astype(float))

    def _policy(self, offset_s: float) -> Policy:
        if self._choices.policy == RECORDED:
            return AsRecorded(self._run, offset_s, is_direct(self._run))
        spec = policy_named(str(self._choices.policy))
        if spec.entry.knative_class is not KnativeClass.HPA:
            return Bounded(spec.on_knative(), 0, self._max_pods)
        busy_cores = self._config.cpu_ratio * self._config.concurrency
        config = replace(
            spec.config,
            cpu_request_milli=max(1, round(1000 * busy_cores * 100 / self._utilization)),
            sidecar_request_milli=0,
            metrics_resolution_s=self._choices.metrics_resolution_s,
            max_pods=self._max_pods,
        )
        return ScalesDeployment(Hpa(config))


def ready_off(run: RecordedRun, one: Resimulated, from_s: float, to_s: float) -> float:
    """Mean absolute difference of the ready pods over time."""
    return integral(run.times_s, np.abs(run.ready_pods - one.ready_pods), from_s, to_s) / (to_s - from_s)


def integral(times_s: FloatArray, counts: FloatArray, from_s: float, to_s: float) -> float:
    """Of counts that hold from one look to the next, in count x seconds."""
    edges_s = np.clip(np.append(times_s, times_s[-1]), from_s, to_s)
    return float(np.sum(counts * np.diff(edges_s)))
