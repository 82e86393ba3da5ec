"""Write a seeded synthetic trace of requests per second: workload.txt, or one of those in samples/traces.

    python scripts/make_workload.py > workload.txt
    python scripts/make_workload.py steps > samples/traces/steps.txt
    python scripts/make_workload.py bursts > samples/traces/bursts.txt

The same seed writes the same file. `workload`: ten minutes with the load shapes that are hard for an autoscaler.
`steps`: a steady rate, two sudden steps to a plateau, and a decline, like the exercise day of a course. `bursts`: half
an hour of short bursts between long idle periods, like prompts to a language model.
"""

import sys
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

SEED = 20261123
Counts = NDArray[np.int64]

# (seconds, requests per second at the start, at the end): the mean rate, piecewise linear.
WORKLOAD = [
    (50, 2.0, 2.0),  # low load
    (20, 0.0, 0.0),  # idle
    (40, 5.0, 5.0),
    (30, 20.0, 20.0),  # a sudden step up
    (90, 28.0, 28.0),  # another one, up to the plateau
    (5, 55.0, 55.0),  # spike
    (45, 26.0, 26.0),
    (70, 26.0, 5.0),  # decay
    (40, 5.0, 5.0),
    (60, 0.0, 0.0),  # idle
    (80, 1.0, 32.0),  # ramp
    (30, 32.0, 32.0),
    (20, 10.0, 10.0),  # a sudden step down
    (20, 2.0, 0.5),
]
STEPS = [
    (250, 7.0, 7.0),
    (3, 20.0, 20.0),  # a step that no autoscaler can foresee
    (120, 30.0, 38.0),  # a plateau that still grows
    (60, 38.0, 24.0),
    (97, 24.0, 12.0),
    (100, 12.0, 8.0),
]
# For `bursts`: length, mean idle period and burst, median rate of a burst and standard deviation of its logarithm.
BURSTS_S, SILENCE_S, BURST_S, MEDIAN_RPS, SPREAD = 1800, 80.0, 20.0, 9.0, 0.6


def piecewise(shape: Sequence[tuple[int, float, float]]) -> Counts:
    """Return Poisson counts with a piecewise linear mean rate, shape (seconds,); a rate of 0 gives 0."""
    rates = np.concatenate([np.linspace(first, last, seconds) for seconds, first, last in shape])
    return np.random.default_rng(SEED).poisson(rates)


def bursts() -> Counts:
    """Return Poisson counts of bursts, each with its own rate, between exponentially distributed idle periods."""
    rng = np.random.default_rng(SEED)
    rates = np.zeros(BURSTS_S)
    start = 5
    while start < BURSTS_S:
        end = start + 1 + int(rng.exponential(BURST_S))
        rates[start:end] = MEDIAN_RPS * rng.lognormal(0.0, SPREAD)
        start = end + 1 + int(rng.exponential(SILENCE_S))
    return rng.poisson(rates)


TRACES: dict[str, Callable[[], Counts]] = {
    "workload": lambda: piecewise(WORKLOAD),
    "steps": lambda: piecewise(STEPS),
    "bursts": bursts,
}


def main(argv: Sequence[str]) -> int:
    """Print the named trace; return 2 if there is no such trace."""
    name = argv[0] if argv else "workload"
    if name not in TRACES or len(argv) > 1:
        print(f"make_workload: the trace must be one of {', '.join(TRACES)}, got {' '.join(argv)!r}", file=sys.stderr)
        return 2
    counts = TRACES[name]()
    rows = (" ".join(map(str, counts[i : i + 20])) for i in range(0, len(counts), 20))
    sys.stdout.write("\n".join(rows) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
