"""The simulator against queueing theory: exact results must lie within the confidence interval of a long run."""

from dataclasses import dataclass
from math import exp, sqrt

import numpy as np
import pytest
from scipy.special import gammaln, stdtrit, xlogy

from autoscaler_tuning.results import FloatArray
from autoscaler_tuning.simulator.simulate import simulate
from autoscaler_tuning.simulator.world import SimConfig
from autoscaler_tuning.types import Decision, Observation, Order
from tests.autoscaler_tuning.queueing_theory import erlang_c

REQUESTS = 240_000
BATCHES = 24
CONFIDENCE = 0.999
WARM_UP = 2_000
SERVICE_S = 0.1


@dataclass
class Pinned:
    """A policy that always wants the same number of pods."""

    pods: int
    interval_s: float = 1e6

    def decide(self, obs: Observation) -> Decision:
        return Decision(self.pods, "pinned")


@dataclass(frozen=True)
class Interval:
    """A confidence interval of a mean, from batch means because the waits of neighbouring requests are correlated."""

    mean: float
    half_width: float

    def __contains__(self, value: float) -> bool:
        return abs(value - self.mean) <= self.half_width


def interval(values: FloatArray) -> Interval:
    """Return the confidence interval of the mean after the warm-up."""
    means = np.array([batch.mean() for batch in np.array_split(values[WARM_UP:], BATCHES)])
    return Interval(
        float(means.mean()), float(stdtrit(BATCHES - 1, (1 + CONFIDENCE) / 2) * means.std(ddof=1) / sqrt(BATCHES))
    )


def waits_s(pods: int, load: float, distribution: str, order: Order = "fifo") -> FloatArray:
    """Return the time before service of each request, for Poisson arrivals with this utilization of the pods."""
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
    """Return the service times that a run with this seed draws first."""
    return np.random.default_rng(seed).exponential(config.service_time_s, REQUESTS)


@pytest.mark.parametrize(("pods", "load"), [(1, 0.5), (1, 0.8), (3, 0.8), (10, 0.85)])
def test_m_m_c_agrees_with_erlangs_delay_formula(pods: int, load: float) -> None:
    """Checks the share of requests that wait, the mean wait, and the share that waits longer than 0.2 s."""
    waits = waits_s(pods, load, "M")
    delayed = erlang_c(pods, load * pods)
    decay_rps = pods * (1 - load) / SERVICE_S
    assert delayed in interval((waits > 1e-9).astype(float))
    mean = interval(waits)
    assert delayed / decay_rps in mean
    assert mean.half_width < 0.2 * mean.mean
    assert delayed * exp(-decay_rps * 0.2) in interval((waits > 0.2).astype(float))


@pytest.mark.parametrize("load", [0.3, 0.6, 0.85])
def test_m_d_1_agrees_with_pollaczek_and_khinchine(load: float) -> None:
    """The mean wait is load x service time / (2 (1 - load))."""
    mean = interval(waits_s(1, load, "D"))
    assert load * SERVICE_S / (2 * (1 - load)) in mean
    assert mean.half_width < 0.1 * mean.mean


def m_d_c(pods: int, load: float) -> tuple[float, float]:
    """Return the exact (probability of a wait, mean wait in seconds).

    After one service time the requests in service have left and a Poisson number have arrived. So the requests in the
    system at times one service time apart form a Markov chain, whose stationary distribution holds at any time.
    Source: Crommelin (1932), with the chain instead of its generating function.
    """
    most = 60 * pods
    counts = np.arange(most + 1)
    arrived = np.exp(xlogy(counts, load * pods) - load * pods - gammaln(counts + 1))  # Poisson
    moves = np.zeros((most + 1, most + 1))
    for present in range(most + 1):
        left = max(0, present - pods)
        moves[present, left:] = arrived[: most + 1 - left]
    system = np.vstack([moves.T - np.eye(most + 1), np.ones(most + 1)])
    share = np.linalg.lstsq(system, np.append(np.zeros(most + 1), 1.0), rcond=None)[0]
    queue = float(share @ np.maximum(0, np.arange(most + 1) - pods))
    return float(share[pods:].sum()), queue * SERVICE_S / (load * pods)


def test_the_chain_of_m_d_c_agrees_with_pollaczek_and_khinchine_for_one_pod() -> None:
    assert m_d_c(1, 0.6) == pytest.approx((0.6, 0.6 * SERVICE_S / 0.8), rel=1e-6)


@pytest.mark.parametrize(("pods", "load"), [(2, 0.7), (4, 0.85), (8, 0.9)])
def test_m_d_c_agrees_with_the_chain(pods: int, load: float) -> None:
    waits = waits_s(pods, load, "D")
    delayed, mean_s = m_d_c(pods, load)
    assert delayed in interval((waits > 1e-9).astype(float))
    mean = interval(waits)
    assert mean_s in mean
    assert mean.half_width < 0.2 * mean.mean


def test_the_order_of_the_queue_does_not_change_the_mean_wait() -> None:
    assert m_d_c(4, 0.85)[1] in interval(waits_s(4, 0.85, "D", "deadline"))


def test_twice_the_concurrency_gives_the_same_latencies_as_twice_the_pods() -> None:
    rng = np.random.default_rng(9)
    arrivals_s = np.cumsum(rng.exponential(0.02, 20_000))
    two, one = (
        simulate("pinned", Pinned(pods), arrivals_s, SimConfig(initial_pods=pods, max_pods=pods, concurrency=slots), 1)
        for pods, slots in ((6, 1), (3, 2))
    )
    assert one.done_s.tolist() == two.done_s.tolist()


def test_littles_law_holds_for_averages() -> None:
    """The mean number of requests in the system at random times is the rate times the mean time in the system."""
    rng = np.random.default_rng(2)
    arrivals_s = np.cumsum(rng.exponential(0.05, 60_000))
    done_s = simulate("pinned", Pinned(3), arrivals_s, SimConfig(initial_pods=3, max_pods=3), 1).done_s
    times_s = rng.uniform(arrivals_s[0], arrivals_s[-1], 60_000)
    present = np.searchsorted(arrivals_s, times_s) - np.searchsorted(np.sort(done_s), times_s)
    spent = interval(done_s - arrivals_s)
    rate_rps = len(arrivals_s) / (arrivals_s[-1] - arrivals_s[0])
    seen = interval(present.astype(float))
    assert abs(seen.mean - rate_rps * spent.mean) <= seen.half_width + rate_rps * spent.half_width
