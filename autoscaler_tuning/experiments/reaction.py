"""Reaction time of a policy: from a jump of the arrival rate to its first decision for more pods."""

from bisect import bisect_right
from collections.abc import Sequence
from math import nan, sqrt

# A rate jump: the mean of AFTER_S seconds is JUMP_FACTOR times that of the BEFORE_S seconds before, and SIGMAS standard
# deviations of a Poisson count above it. The next one is at least QUIET_S later.
BEFORE_S, AFTER_S, QUIET_S = 10, 3, 15
JUMP_FACTOR, SIGMAS = 1.5, 4.0
# Reaction time of a policy that has not reacted by then.
LATEST_S = 30.0


def jumps(counts: Sequence[int], from_s: int = 0) -> list[tuple[int, float]]:
    """Return (second, new rate in requests per second) of each upward rate jump from from_s on.

    counts: requests in each second.
    """
    found: list[tuple[int, float]] = []
    earliest = BEFORE_S
    for second in range(BEFORE_S, len(counts) - AFTER_S + 1):
        before_rps = sum(counts[second - BEFORE_S : second]) / BEFORE_S
        after = sum(counts[second : second + AFTER_S])
        surprise = (after - AFTER_S * before_rps) / sqrt(AFTER_S * max(1.0, before_rps))
        if second >= earliest and after >= JUMP_FACTOR * AFTER_S * before_rps and surprise >= SIGMAS:
            steepest = max(range(second, second + AFTER_S), key=lambda at: counts[at] - counts[at - 1])
            found.append((steepest, max(counts[steepest : steepest + AFTER_S])))
            earliest = steepest + QUIET_S
    return [jump for jump in found if jump[0] >= from_s]


def reaction_s(
    counts: Sequence[int], wanted_pods: Sequence[tuple[float, int]], service_time_s: float, from_s: int = 0
) -> float:
    """Return the mean reaction time over the rate jumps from from_s on; nan without a rate jump.

    A jump counts as 0 if the pods wanted before it can serve the new rate, and as LATEST_S if the policy does not want
    more pods within that time.
    wanted_pods: (time_s, pods) of each decision that changed the wanted pods, ascending.
    """
    times_s = [time_s for time_s, _ in wanted_pods]
    delays_s = []
    for second, rate_rps in jumps(counts, from_s):
        index = bisect_right(times_s, second)
        wanted = wanted_pods[index - 1][1] if index else 0
        if wanted >= rate_rps * service_time_s:
            delays_s.append(0.0)
            continue
        reactions_s = (time_s - second for time_s, pods in wanted_pods[index:] if pods > wanted)
        delays_s.append(min(LATEST_S, next(reactions_s, LATEST_S)))
    return sum(delays_s) / len(delays_s) if delays_s else nan
