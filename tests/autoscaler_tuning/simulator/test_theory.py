"""The simulator against queueing theory: exact formulas must lie within the confidence interval of a long run."""

from dataclasses import dataclass
from math import exp, sqrt

import numpy as np
import pytest
from scipy.stats import poisson, t

from autoscaler_tuning.queueing import erlang_c
from autoscaler_tuning.results import FloatArray
from autoscaler_tuning.simulator.simulate import simulate
from autoscaler_tuning.simulator.world import SimConfig
from autoscaler_tuning.types import Decision, Observation, Order

REQUESTS = 240_000
BATCHES = 24
CONFIDENCE = 0.999
WARM_UP = 2_000
SERVICE_S = 0.1


@dataclass
class Pinned:
    """Always the same pods."""

    pods: int
    interval_s: float = 1e6

    def decide(self, obs: Observation) -> Decision:
        return Decision(self.pods, "pinned")


@dataclass(frozen=True)
class Interval:
    """Of the mean over batches, so that requests close together, which wait alike, do not feign precision."""

    mean: float
    half_width: float

    def __contains__(self, value: float) -> bool:
        return abs(value - self.mean) <= self.half_width


def interval(values: FloatArray) -> Interval:
    means = np.array([batch.mean() for batch in np.array_split(values[WARM_UP:], BATCHES)])
    return Interval(
        float(means.mean()), float(t.ppf((1 + CONFIDENCE) / 2, BATCHES - 1) * means.std(ddof=1) / sqrt(BATCHES))
    )


def waits_s(pods: int, load: float, distribution: str, order: Order = "fifo") -> FloatArray:
    """Time before service of each request of Poisson arrivals that load the pods to this share."""
    rng = np.random.default_rng(pods * 1000 + round(100 * load))
    arrivals_s = np.cumsum(rng.exponential(SERVICE_S / (load * pods), REQUESTS))
    config = SimConfig(
        service_time_s=SERVICE_S,
        service_cv=0.0,
        service_distribution="exponential" if distribution == "M" else "lognormal",
        initial_pods=pods,
        max_pods=pods,
        order=order,
    )
    run = simulate("pinned", Pinned(pods), arrivals_s, config, seed=7)
    service_s = np.full(REQUESTS, SERVICE_S) if distribution == "D" else _drawn(config, 7)
    return run.done_s - arrivals_s - service_s


def _drawn(config: SimConfig, seed: int) -> FloatArray:
    """The service times that a run of this seed draws first."""
    return np.random.default_rng(seed).exponential(config.service_time_s, REQUESTS)


@pytest.mark.parametrize(("pods", "load"), [(1, 0.5), (1, 0.8), (3, 0.8), (10, 0.85)])
def test_m_m_c(pods: int, load: float) -> None:
    """Erlang's delay formula: who waits, how long on average, and how many longer than a time."""
    waits = waits_s(pods, load, "M")
    delayed = erlang_c(pods, load * pods)
    decay_rps = pods * (1 - load) / SERVICE_S
    assert delayed in interval((waits > 1e-9).astype(float))
    mean = interval(waits)
    assert delayed / decay_rps in mean
    assert mean.half_width < 0.2 * mean.mean
    assert delayed * exp(-decay_rps * 0.2) in interval((waits > 0.2).astype(float))


@pytest.mark.parametrize("load", [0.3, 0.6, 0.85])
def test_m_d_1(load: float) -> None:
    """Pollaczek and Khinchine: load x service time / 2 (1 - load) on average."""
    mean = interval(waits_s(1, load, "D"))
    assert load * SERVICE_S / (2 * (1 - load)) in mean
    assert mean.half_width < 0.1 * mean.mean


def m_d_c(pods: int, load: float) -> tuple[float, float]:
    """(probability of a wait, mean wait in s), exactly.

    One service time later those who were served then are gone, and Poisson many have come: the requests in the system
    at times a service time apart are a Markov chain, whose stationary distribution is that of any time.
    Source: Crommelin (1932), by way of the chain instead of its generating function.
    """
    most = 60 * pods
    came = poisson.pmf(np.arange(most + 1), load * pods)
    moves = np.zeros((most + 1, most + 1))
    for there in range(most + 1):
        left = max(0, there - pods)
        moves[there, left:] = came[: most + 1 - left]
    system = np.vstack([moves.T - np.eye(most + 1), np.ones(most + 1)])
    share = np.linalg.lstsq(system, np.append(np.zeros(most + 1), 1.0), rcond=None)[0]
    queue = float(share @ np.maximum(0, np.arange(most + 1) - pods))
    return float(share[pods:].sum()), queue * SERVICE_S / (load * pods)


def test_the_chain_of_m_d_c_agrees_with_pollaczek_and_khinchine_for_one_pod() -> None:
    assert m_d_c(1, 0.6) == pytest.approx((0.6, 0.6 * SERVICE_S / 0.8), rel=1e-6)


@pytest.mark.parametrize(("pods", "load"), [(2, 0.7), (4, 0.85), (8, 0.9)])
def test_m_d_c(pods: int, load: float) -> None:
    waits = waits_s(pods, load, "D")
    delayed, mean_s = m_d_c(pods, load)
    assert delayed in interval((waits > 1e-9).astype(float))
    mean = interval(waits)
    assert mean_s in mean
    assert mean.half_width < 0.2 * mean.mean


def test_the_order_of_the_queue_changes_who_waits_but_not_how_long_all_do() -> None:
    assert m_d_c(4, 0.85)[1] in interval(waits_s(4, 0.85, "D", "deadline"))


def test_twice_the_concurrency_is_as_good_as_twice_the_pods() -> None:
    rng = np.random.default_rng(9)
    arrivals_s = np.cumsum(rng.exponential(0.02, 20_000))
    two, one = (
        simulate("pinned", Pinned(pods), arrivals_s, SimConfig(initial_pods=pods, max_pods=pods, concurrency=slots), 1)
        for pods, slots in ((6, 1), (3, 2))
    )
    assert one.done_s.tolist() == two.done_s.tolist()


def test_littles_law_holds_as_averages() -> None:
    """Requests in the system, seen at random times, are the rate times the time that one spends there."""
    rng = np.random.default_rng(2)
    arrivals_s = np.cumsum(rng.exponential(0.05, 60_000))
    done_s = simulate("pinned", Pinned(3), arrivals_s, SimConfig(initial_pods=3, max_pods=3), 1).done_s
    looks_s = rng.uniform(arrivals_s[0], arrivals_s[-1], 60_000)
    there = np.searchsorted(arrivals_s, looks_s) - np.searchsorted(np.sort(done_s), looks_s)
    spent = interval(done_s - arrivals_s)
    rate_rps = len(arrivals_s) / (arrivals_s[-1] - arrivals_s[0])
    seen = interval(there.astype(float))
    assert abs(seen.mean - rate_rps * spent.mean) <= seen.half_width + rate_rps * spent.half_width
