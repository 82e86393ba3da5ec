"""The share of late responses of a steady stream, against a simulation and the limits of the formula."""

from itertools import pairwise

import numpy as np
import pytest

from autoscaler_tuning.policies.elastic.queueing import late_share
from autoscaler_tuning.simulator.servers import Servers
from autoscaler_tuning.simulator.world import SimConfig


def simulated_share(pods: int, load: float, seed: int) -> float:
    """Return the late share of a simulation with constant service times of 0.1 s and an SLO of 0.5 s."""
    rng = np.random.default_rng(seed)
    arrivals_s = np.cumsum(rng.exponential(0.1 / load, 20_000))
    config = SimConfig(order="deadline", service_cv=0.0)
    servers = Servers(arrivals_s, np.full(len(arrivals_s), 0.1), config, rng)
    for pod in range(pods):
        servers.add(pod, 0.0)
    servers.advance(float(arrivals_s[-1]) + 1000.0)
    return float(np.mean(np.array(servers.done_s) - arrivals_s > 0.5))


@pytest.mark.parametrize(("pods", "load"), [(1, 0.6), (1, 0.75), (1, 0.9), (2, 1.6), (3, 2.7)])
def test_it_agrees_with_a_simulation_within_a_factor_of_two(pods: int, load: float) -> None:
    simulated = np.mean([simulated_share(pods, load, seed) for seed in range(2)])
    assert simulated / 2 <= late_share(pods, load, 4.0) <= 2 * simulated


def test_more_pods_and_less_load_make_fewer_responses_late() -> None:
    shares = [[late_share(pods, load, 4.0) for pods in range(9)] for load in (0.01, 0.5, 1.0, 2.0, 5.0, 7.5)]
    assert all(more >= fewer for row in shares for more, fewer in pairwise(row))
    assert all(a <= b for low, high in pairwise(shares) for a, b in zip(low, high, strict=True))


@pytest.mark.parametrize(("pods", "load", "share"), [(0, 1.0, 1.0), (3, 0.0, 0.0), (0, 0.0, 0.0), (2, 8.0, 0.75)])
def test_the_limits(pods: int, load: float, share: float) -> None:
    assert late_share(pods, load, 4.0) == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("load", [1e-300, 1e-9, 1e-3, 999.999, 1e12])
@pytest.mark.parametrize("patience", [0.0, 4.0, 1e9])
def test_any_load_gives_a_share(load: float, patience: float) -> None:
    assert 0.0 <= late_share(1000, load, patience) <= 1.0
    assert 0.0 <= late_share(1, load, patience) <= 1.0
