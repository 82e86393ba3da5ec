"""Writes workload.txt: requests per second of ten minutes with everything that is hard for an autoscaler.

Quiet with silent seconds, a sudden step, a plateau with noise, a spike of five seconds, decay, a long silence, a ramp.
Run `python scripts/make_workload.py > workload.txt`; the same seed writes the same file.
"""

import sys

import numpy as np
from numpy.typing import NDArray

SEED = 20261123

# (seconds, requests per second at the start, at the end): the mean rate, piecewise linear.
SHAPE = [
    (50, 2.0, 2.0),  # quiet
    (20, 0.0, 0.0),  # nobody
    (40, 5.0, 5.0),
    (30, 20.0, 20.0),  # a sudden step up ...
    (90, 28.0, 28.0),  # ... and another, to the plateau
    (5, 55.0, 55.0),  # spike
    (45, 26.0, 26.0),
    (70, 26.0, 5.0),  # decay
    (40, 5.0, 5.0),
    (60, 0.0, 0.0),  # silence
    (80, 1.0, 32.0),  # ramp
    (30, 32.0, 32.0),
    (20, 10.0, 10.0),  # a sudden step down
    (20, 2.0, 0.5),
]


def mean_rates_rps() -> NDArray[np.float64]:
    """The mean rate of each second, shape (600,)."""
    return np.concatenate([np.linspace(first, last, seconds) for seconds, first, last in SHAPE])


def requests_per_second(seed: int) -> NDArray[np.int64]:
    """Poisson counts around the mean rates, shape (600,); a rate of 0 gives 0."""
    return np.random.default_rng(seed).poisson(mean_rates_rps())


def main() -> None:
    counts = requests_per_second(SEED)
    rows = (" ".join(map(str, counts[i : i + 20])) for i in range(0, len(counts), 20))
    sys.stdout.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
