"""How soon a policy answers a jump of the arrival rate."""

from bisect import bisect_right
from collections.abc import Sequence
from math import nan, sqrt

# A jump: the mean of AFTER_S seconds is JUMP_FACTOR times that of the BEFORE_S before, and SIGMAS standard deviations
# of a Poisson count above it. The next one may come QUIET_S later.
BEFORE_S, AFTER_S, QUIET_S = 10, 3, 15
JUMP_FACTOR, SIGMAS = 1.5, 4.0
# A policy that has not answered by then has not answered the jump.
LATEST_S = 30.0


def jumps(counts: Sequence[int], from_s: int = 0) -> list[tuple[int, float]]:
    """(second, new rate in requests per second) of each jump upwards from from_s on; counts are requests per second."""
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
    counts: Sequence[int], wishes: Sequence[tuple[float, int]], service_time_s: float, from_s: int = 0
) -> float:
    """Mean over the jumps from from_s on of the time from its second to the first decision for more pods than before.

    0 where the pods wanted before carry the new rate already; LATEST_S where no answer came until then; nan without a
    jump. wishes: (time_s, pods), ascending, each unlike the one before.
    """
    times_s = [time_s for time_s, _ in wishes]
    delays_s = []
    for second, rate_rps in jumps(counts, from_s):
        index = bisect_right(times_s, second)
        wanted = wishes[index - 1][1] if index else 0
        if wanted >= rate_rps * service_time_s:
            delays_s.append(0.0)
            continue
        answers_s = (time_s - second for time_s, pods in wishes[index:] if pods > wanted)
        delays_s.append(min(LATEST_S, next(answers_s, LATEST_S)))
    return sum(delays_s) / len(delays_s) if delays_s else nan
