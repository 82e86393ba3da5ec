"""Policies by name: their settings and orders, and the names that are refused."""

import pytest

from autoscaler_tuning.policies.base import Policy
from autoscaler_tuning.policies.elastic.elastic import Elastic
from autoscaler_tuning.policies.hpa.hpa import Hpa
from autoscaler_tuning.policies.kpa.knobs import KPA_TUNED, KpaKnobs
from autoscaler_tuning.policies.kpa.kpa import Kpa, KpaConfig
from autoscaler_tuning.policies.never_worse import NeverWorse
from autoscaler_tuning.policies.peak import Peak
from autoscaler_tuning.policies.registry import (
    ALIASES,
    UnknownPolicyError,
    policy_named,
    split_names,
)
from autoscaler_tuning.policies.scale_to_zero import ScalesDeployment, ScaleToZero


def kpa_config(name: str) -> KpaConfig:
    policy = policy_named(name).make()
    assert isinstance(policy, Kpa)
    return policy.config


def elastic(name: str) -> Elastic:
    return inner_elastic(policy_named(name).make())


def inner_elastic(policy: Policy) -> Elastic:
    """Return elastic itself, without the comparison with stock KPA around it."""
    inner = policy.inner if isinstance(policy, NeverWorse) else policy
    assert isinstance(inner, Elastic)
    return inner


def test_each_policy_has_its_order_and_minimum_of_pods() -> None:
    names = ("kpa", "kpa-tuned", "hpa", "hpa50", "peak", "elastic")
    assert [policy_named(name).order for name in names] == ["fifo"] * 5 + ["deadline"]
    assert [policy_named(name).revision.min_pods for name in names] == [0, KPA_TUNED.min_scale, 1, 1, 0, 0]


def test_an_order_in_the_name_changes_only_the_order() -> None:
    spec = policy_named("kpa-tuned@deadline")
    assert (spec.name, spec.order, spec.knobs) == ("kpa-tuned@deadline", "deadline", KPA_TUNED)


def test_every_run_gets_its_own_policy() -> None:
    spec = policy_named("peak")
    assert spec.make() is not spec.make()


def test_stock_kpa_is_knatives_defaults_with_concurrency_1() -> None:
    assert kpa_config("kpa") == KpaConfig()
    assert KpaKnobs().config() == KpaConfig()


def test_settings_of_kpa_are_knatives_annotations() -> None:
    config = kpa_config("kpa[window=6s,panic-window-percentage=50,target-utilization-percentage=80,max-scale=7]")
    assert (config.stable_window_s, config.panic_window_s, config.target_value) == (6.0, 3.0, 0.8)
    assert policy_named("kpa[min-scale=2,max-scale=7]").revision.max_pods == 7
    assert policy_named("kpa[min-scale=2,max-scale=7]").revision.min_pods == 2


def test_kpa_scales_to_zero_by_its_own_window() -> None:
    assert policy_named("kpa[window=20,scale-to-zero-pod-retention-period=15s]").revision.zero_window_s == 20
    assert policy_named("kpa[window=20,scale-to-zero-pod-retention-period=15s]").revision.retention_s == 15


def test_knative_decides_for_kpa_alone_and_hpa_scales_the_deployment() -> None:
    assert isinstance(policy_named("hpa50").on_knative(), ScalesDeployment)
    for name, knative_decides in (("kpa", True), ("kpa-tuned", True), ("peak", False), ("elastic", False)):
        policy = policy_named(name).on_knative()
        assert isinstance(policy, ScaleToZero)
        assert (policy.kpa is not None) == knative_decides


def test_the_longest_window_is_that_of_kpa_or_hpas_stabilisation() -> None:
    names = ("kpa", "kpa[window=90]", "hpa", "peak", "elastic")
    assert [policy_named(name).revision.longest_window_s for name in names] == [60, 90, 300, 0, 0]


def test_settings_reach_into_elastic_and_its_parts() -> None:
    config = elastic("elastic[late_price=60,scenarios.likeness=0]@fifo").config
    assert (config.late_price, config.scenarios.likeness) == (60.0, 0.0)


def test_elastic_gets_the_slo() -> None:
    assert inner_elastic(policy_named("elastic", slo_s=0.3).make()).config.slo_s == 0.3


def test_elastic_is_compared_with_stock_kpa() -> None:
    assert isinstance(policy_named("elastic").make(), NeverWorse)
    assert isinstance(policy_named("elastic-nostock").make(), Elastic)


@pytest.mark.parametrize("name", ALIASES)
def test_an_ablation_is_elastic_with_other_settings(name: str) -> None:
    assert elastic(name).config != elastic("elastic").config
    assert policy_named(name).name == name


def test_settings_of_hpa_and_peak() -> None:
    hpa, peak = policy_named("hpa50[cpu_request_milli=400]").make(), policy_named("peak[utilization=0.5]").make()
    assert isinstance(hpa, Hpa)
    assert isinstance(peak, Peak)
    assert peak.config.utilization == 0.5


def test_a_setting_without_a_default_is_a_number() -> None:
    hpa = policy_named("hpa[tolerance_up=0.2]").make()
    assert isinstance(hpa, Hpa)
    assert hpa.config.tolerance_up == 0.2
    with pytest.raises(UnknownPolicyError, match="tolerance_up must be a finite number, got 'much'"):
        policy_named("hpa[tolerance_up=much]")


def test_commas_within_brackets_do_not_separate_names() -> None:
    assert split_names("kpa, kpa[window=6,max-scale=3]@deadline,elastic") == [
        "kpa",
        "kpa[window=6,max-scale=3]@deadline",
        "elastic",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vpa", "unknown policy 'vpa'"),
        ("hpa0", "unknown policy"),
        ("", "unknown policy"),
        ("kpa@lifo", "must be fifo or deadline, got 'lifo'"),
        ("elastic@", "must be fifo or deadline, got ''"),
        ("elastic[nonsense=1]", "no setting 'nonsense'"),
        ("elastic[scenarios=1]", "no setting 'scenarios'"),
        ("elastic[hold_s=soon]", "hold_s must be a finite number, got 'soon'"),
        ("elastic[hold_s=nan]", "hold_s must be a finite number, got 'nan'"),
        ("elastic[hold_s]", "a setting must be name=value, got 'hold_s'"),
        ("elastic[hold_s=-1]", "hold_s must be finite and at least 0, got -1.0"),
        ("kpa[window=5]", "window_s must be from 6 to 3600, got 5.0"),
        ("kpa[window=6.5]", "window_s must be in whole seconds, got 6.5"),
        ("kpa[target-burst-capacity=-0.5]", "target_burst_capacity must be -1 or at least 0, got -0.5"),
        ("kpa[min-scale=3,max-scale=2]", "must be 0 <= min_scale <= max_scale, or max_scale 0 for no limit, got 3, 2"),
        ("elastic-nohold[hedge=1]", "elastic-nohold takes no settings: it stands for elastic[hold_s=0]"),
        ("peak[window_s=0]", "window_s must be from 1 to 60, got 0"),
        ("kpa[window=6", "a policy must be NAME[setting=value,...]@ORDER"),
    ],
)
def test_an_invalid_name_is_refused_with_the_rule_and_the_value(name: str, message: str) -> None:
    with pytest.raises(UnknownPolicyError) as caught:
        policy_named(name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
