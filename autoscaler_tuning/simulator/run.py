"""Run one policy on one list of arrivals."""

from collections.abc import Sequence

import numpy as np

from autoscaler_tuning.policies.base import Policy
from autoscaler_tuning.results import FloatArray, Run, summarise
from autoscaler_tuning.simulator.cluster import Cluster, SimConfig
from autoscaler_tuning.simulator.events import EventLoop

# Time after the last arrival in which the backlog may still be answered; what is left then is lost.
DRAIN_S = 600.0


def simulate(
    name: str, policy: Policy, arrivals_s: FloatArray, config: SimConfig, seed: int, notes: Sequence[str] = ()
) -> Run:
    """Serve the arrivals under the policy.

    arrivals_s: shape (n,), ascending, at least one.
    The run lasts until the whole second after the last arrival, and longer only if requests are still unanswered;
    pod-seconds are counted up to its end. The same seed draws the same service times for each request, whatever
    the policy does.
    """
    loop = EventLoop()
    cluster = Cluster(loop, config, arrivals_s, np.random.default_rng(seed))
    _start_arrivals(loop, cluster, policy, arrivals_s)
    _start_ticks(loop, cluster, policy)
    end_s = float(np.floor(arrivals_s[-1])) + 1.0
    loop.run_until(end_s)
    loop.run_until(end_s + DRAIN_S, done=lambda: cluster.answered == len(arrivals_s))
    cluster.note_counts()
    row = summarise((name, "simulated"), arrivals_s, cluster.done_s, config.slo_s, cluster.cost(), notes)
    return Run(row, arrivals_s, cluster.done_s, tuple(cluster.counts))


def _start_arrivals(loop: EventLoop, cluster: Cluster, policy: Policy, arrivals_s: FloatArray) -> None:
    """Each arrival schedules the next: a short queue is faster than one with every arrival in it."""
    times_s = arrivals_s.tolist()

    def arrive(index: int) -> None:
        cluster.arrive()
        if cluster.wanted_pods == 0:  # as Knative's activator does: the first request asks for a decision at once
            cluster.scale_to(policy.decide(cluster.observe()).pods)
        if index + 1 < len(times_s):
            loop.at(times_s[index + 1], lambda: arrive(index + 1))

    loop.at(times_s[0], lambda: arrive(0))


def _start_ticks(loop: EventLoop, cluster: Cluster, policy: Policy) -> None:
    """Ask the policy every interval_s."""

    def tick(index: int) -> None:
        cluster.scale_to(policy.decide(cluster.observe()).pods)
        # a multiple, not a running sum: 0.1 s added 600 times is not 60 s
        loop.at((index + 1) * policy.interval_s, lambda: tick(index + 1))

    loop.at(0.0, lambda: tick(0))
