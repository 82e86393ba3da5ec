"""CPU features, and the CPU quota of the pod's cgroups."""

from pathlib import PurePosixPath

import pytest

from function.cpu import cpu_features, quota_cpus, threads_for

ONE_CPU, TWO_AND_A_HALF = "100000 100000\n", "250000 100000\n"


def quota(memberships: str, **files: str) -> float | None:
    """Return the quota with these files below /sys/fs/cgroup; __ stands for / in their names."""
    known = {f"/sys/fs/cgroup/{name.replace('__', '/')}": text for name, text in files.items()}
    return quota_cpus(memberships, lambda path: known.get(str(path)))


def test_the_own_group_of_a_container_is_the_root() -> None:
    assert quota("0::/\n", **{"cpu.max": ONE_CPU}) == 1.0


def test_no_quota_is_none() -> None:
    assert quota("0::/\n", **{"cpu.max": "max 100000\n"}) is None
    assert quota("0::/\n") is None
    assert quota("") is None


def test_the_smallest_limit_of_all_levels_counts() -> None:
    tree = {"pods__cpu.max": ONE_CPU, "pods__a__cpu.max": TWO_AND_A_HALF, "cpu.max": "max 100000\n"}
    assert quota("0::/pods/a\n", **tree) == 1.0
    assert quota("0::/pods/a\n", **{**tree, "pods__cpu.max": "max 100000\n"}) == 2.5


@pytest.mark.parametrize("mount", ["cpu,cpuacct", "cpu"])
def test_version_1_keeps_quota_and_period_in_two_files(mount: str) -> None:
    tree = {f"{mount}__cpu.cfs_quota_us": "50000\n", f"{mount}__cpu.cfs_period_us": "100000\n"}
    assert quota("4:memory:/\n3:cpu,cpuacct:/\n", **tree) == 0.5


def test_version_1_without_a_quota_is_none() -> None:
    assert quota("3:cpu,cpuacct:/\n", **{"cpu,cpuacct__cpu.cfs_quota_us": "-1\n"}) is None


def test_cgroup_v1_quotas_are_read_in_a_group_of_its_own() -> None:
    tree = {"cpu,cpuacct__pod7__cpu.cfs_quota_us": "200000\n", "cpu,cpuacct__pod7__cpu.cfs_period_us": "50000\n"}
    assert quota("3:cpu,cpuacct:/pod7\n", **tree) == 4.0


def test_other_controllers_limit_no_cpu() -> None:
    assert quota("5:cpuset:/\n", **{"cpuset__cpu.max": ONE_CPU, "cpu.max": ONE_CPU}) is None


@pytest.mark.parametrize(("cpus", "threads"), [(None, 1), (0.2, 1), (1.0, 1), (1.9, 1), (2.0, 2), (8.0, 8)])
def test_threads_are_the_quota_rounded_down_and_one_without_a_quota(cpus: float | None, threads: int) -> None:
    assert threads_for(cpus) == threads


def test_features_are_those_that_engines_use() -> None:
    assert cpu_features("processor : 0\nflags\t\t: fpu avx2 avx512f hypervisor\n\nprocessor : 1\nflags : fpu\n") == {
        "avx2",
        "avx512f",
    }
    assert cpu_features("Features\t: fp asimd asimddp\n") == {"asimd", "asimddp"}
    assert cpu_features("") == frozenset()


def test_paths_stay_below_the_mount() -> None:
    asked: list[PurePosixPath] = []

    def read(path: PurePosixPath) -> None:
        asked.append(path)

    quota_cpus("0::/a/b\n", read)
    assert {str(path.parent) for path in asked} == {"/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup"}
