"""How many pods a rate needs, by queueing theory."""

from math import ceil, exp


class UnstableQueueError(ValueError):
    """More work arrives than the servers can do."""


def erlang_c(servers: int, offered_load: float) -> float:
    """Probability that an arriving request has to wait in an M/M/c queue.

    servers: c, at least 1.
    offered_load: arrival rate (1/s) x mean service time (s), in erlangs.
    Returns a probability in [0, 1].
    Raises UnstableQueueError if offered_load >= servers.
    Source: Erlang's delay formula (Erlang C), through the Erlang B recursion.
    """
    if not offered_load < servers:  # written so that nan fails too
        raise UnstableQueueError(f"{offered_load} erlangs on {servers} servers never settle")
    blocking = 1.0
    for busy in range(1, servers + 1):
        blocking = offered_load * blocking / (busy + offered_load * blocking)
    return blocking / (1 - offered_load / servers * (1 - blocking))


def wait_tail(servers: int, arrival_rate_rps: float, service_time_s: float, wait_s: float) -> float:
    """Probability that a request waits longer than wait_s, for service times that hardly vary.

    An approximation for M/D/c: the exponential tail of M/M/c decays half as fast. It errs on the late side.
    Raises UnstableQueueError if the servers cannot keep up.
    Source: Tijms, A First Course in Stochastic Models (2003), section 9.6; reading the tail as 2 x the M/M/c decay.
    """
    waits = erlang_c(servers, arrival_rate_rps * service_time_s)
    return waits * exp(-2 * (servers / service_time_s - arrival_rate_rps) * wait_s)


def pods_for(arrival_rate_rps: float, service_time_s: float, slo_s: float, late_ratio: float) -> int:
    """Fewest pods of one request each that answer all but late_ratio of the requests within slo_s; 0 for no rate.

    A service time at or above slo_s leaves no time to wait: then late_ratio bounds the share that waits at all.
    """
    if arrival_rate_rps <= 0:
        return 0
    offered_load = arrival_rate_rps * service_time_s
    patience_s = max(0.0, slo_s - service_time_s)
    pods = max(1, ceil(offered_load))
    while pods <= offered_load or wait_tail(pods, arrival_rate_rps, service_time_s, patience_s) > late_ratio:
        pods += 1
    return pods
