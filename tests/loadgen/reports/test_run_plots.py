"""The parts into which plots divide a run: steady traffic has a steady rate in each, and no response is left out."""

import numpy as np
import pytest

from loadgen.analysis.columns import columns
from loadgen.reports.run_plots import rates_of_parts
from tests.loadgen.runs import good


@pytest.mark.parametrize("duration_s", [0.7, 14.0, 15.0, 60.0, 61.234, 150.0, 151.0, 301.0, 2000.5])
def test_steady_traffic_has_its_rate_in_every_part(duration_s: float) -> None:
    run = columns([good(float(at_s), 0.0) for at_s in np.arange(0.0005, duration_s, 0.001 if duration_s < 1 else 0.1)])
    edges_s, rates = rates_of_parts(run, duration_s)
    rate_rps = 1000 if duration_s < 1 else 10
    assert (edges_s[0], edges_s[-1]) == (0.0, duration_s)
    assert np.all(np.diff(edges_s) > 0)
    for name in ("planned", "sent", "successful"):
        # one request more or less in a part is no change of rate
        assert np.all(np.abs(rates[name] - rate_rps) * np.diff(edges_s) <= 1.001), name


def test_sends_and_responses_after_the_plan_are_in_parts_of_their_own() -> None:
    run = columns([good(float(at_s), 3.2, lag_s=1.7) for at_s in range(60)])
    edges_s, rates = rates_of_parts(run, 60.0)
    counts = {name: np.rint(values * np.diff(edges_s)) for name, values in rates.items()}
    assert {name: values.sum() for name, values in counts.items()} == {"planned": 60, "sent": 60, "successful": 60}
    assert counts["planned"][60:].tolist() == [0, 0, 0]
    assert counts["sent"][60:].tolist() == [1, 0, 0]
    assert counts["successful"][60:].tolist() == [1, 1, 1]


def test_a_response_long_after_a_short_run_leaves_few_parts() -> None:
    edges_s, rates = rates_of_parts(columns([good(0.0, 600.0)]), 1.0)
    assert edges_s.size < 200
    assert np.sum(rates["successful"] * np.diff(edges_s)) == pytest.approx(1.0)
