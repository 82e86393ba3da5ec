"""Queueing formulas that tests hold the simulator against."""


class UnstableQueueError(ValueError):
    """The offered load is at least the number of servers, so the queue grows without limit."""


def erlang_c(servers: int, offered_load: float) -> float:
    """Return the probability that an arriving request has to wait in an M/M/c queue; raise UnstableQueueError.

    servers: c, at least 1.
    offered_load: arrival rate (1/s) x mean service time (s), in erlangs; must be below servers.
    Source: Erlang's delay formula (Erlang C), through the Erlang B recursion.
    """
    if not offered_load < servers:  # written so that nan fails too
        raise UnstableQueueError(f"offered_load must be below servers, {servers}, got {offered_load}")
    blocking = 1.0
    for busy in range(1, servers + 1):
        blocking = offered_load * blocking / (busy + offered_load * blocking)
    return blocking / (1 - offered_load / servers * (1 - blocking))
