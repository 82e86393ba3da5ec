"""How much of its allowance beyond stock KPA a policy uses in random traces, of a fluid world."""

import numpy as np
import pytest

from autoscaler_tuning.experiments.parallel import parallel_map
from autoscaler_tuning.policies.base import RevisionSettings
from autoscaler_tuning.policies.elastic.elastic import Elastic
from autoscaler_tuning.policies.kpa.kpa import Kpa
from autoscaler_tuning.policies.scale_to_zero import knative_decides
from tests.autoscaler_tuning.policies.fluid_world import World, random_counts
from tests.autoscaler_tuning.policies.test_never_worse import allowed, guarded, most_overspent, random_policy
from tests.benchmarks.tables import show

TRACES = 120

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]


def used(case: tuple[int, bool]) -> tuple[float, float]:
    """Return the used share of the allowance, and the cost relative to stock KPA, of elastic or a random policy."""
    seed, is_ours = case
    rng = np.random.default_rng(seed)
    counts = random_counts(rng, int(rng.choice([120, 300, 600])))
    inner = random_policy(rng)
    world, alone = World(guarded(Elastic() if is_ours else inner)), World(knative_decides(Kpa(), RevisionSettings()))
    world.run(counts)
    alone.run(counts)
    return most_overspent(world.costs, alone.costs) / allowed(counts), world.costs[-1] / alone.costs[-1]


def test_the_allowance_that_policies_use() -> None:
    rows: list[dict[str, object]] = []
    shares = []
    for name, is_ours in (("elastic", True), ("any policy, most of them bad", False)):
        found = np.array(list(parallel_map(used, [(seed + TRACES * (not is_ours), is_ours) for seed in range(TRACES)])))
        shares.append(float(found[:, 0].max()))
        rows.append(
            {
                "policy": name,
                "traces": TRACES,
                "most of the allowance": shares[-1],
                "median cost / KPA's": float(np.nanmedian(found[:, 1])),
                "above 1.05": int((found[:, 1] > 1.05).sum()),
            }
        )
    show("never-worse", "Cost beyond 1.05 times that of stock KPA", rows)
    assert max(shares) <= 1
