"""The share of late responses of a steady Poisson stream, from queueing theory."""

from math import exp, log

# Above this utilization the formulas are evaluated at it: the queue has no steady state at 1.
MOST_UTILIZATION = 0.98


def late_share(pods: int, load: float, patience: float) -> float:
    """Return the share of requests that wait longer than their patience, with constant service times.

    load: arrival rate x service time, in busy pods. patience: longest wait that is in time, in service times.
    A request that is late is served after those that are in time, so it delays none: then with M/D/1 the share is
    (1 - u) P / (1 - u P), where u is the utilization and P the probability of a longer wait if none were put back.
    Pods are taken as one fast server, with the probability of a wait from Erlang's delay formula.
    Source: Boxma and de Waal (1994), impatient customers of M/G/1; Cramér-Lundberg for the tail of the wait.
    """
    if load <= 0:
        return 0.0
    if pods < 1:
        return 1.0
    utilization = min(MOST_UTILIZATION, load / pods)
    longer = _wait_probability(pods, utilization * pods) * exp(-_decay(utilization) * pods * max(0.0, patience))
    share = (1 - utilization) * longer / (1 - utilization * longer)
    return max(share, 1 - pods / load)


def _wait_probability(pods: int, load: float) -> float:
    """Return the probability that a request has to wait. Source: Erlang's delay formula."""
    blocking = 1.0
    for busy in range(1, pods + 1):
        blocking = load * blocking / (busy + load * blocking)
    return blocking / (1 - load / pods * (1 - blocking))


def _decay(utilization: float) -> float:
    """Return the decay of the wait's tail in a service time: the root x > 0 of utilization (e^x - 1) = x."""
    utilization = max(utilization, 1e-6)  # below, no wait outlives a service time
    # both are above the root, from which Newton's method descends to it
    root = min(2 * (1 - utilization) / utilization, 1 - 2 * log(utilization))
    for _ in range(30):
        grown = exp(root)
        step = (utilization * (grown - 1) - root) / (utilization * grown - 1)
        root -= step
        if step < 1e-6:
            break
    return root
