"""Instruction sets of the CPU that matter to engines, and the pod's CPU quota."""

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

# Instruction sets by which engines choose their machine code, and on which a prepared file therefore depends.
FEATURES = frozenset(
    {
        *("avx", "avx2", "fma", "avx_vnni"),
        *("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
        *("amx_tile", "amx_int8", "amx_bf16"),
        *("asimd", "asimddp", "asimdhp", "bf16", "i8mm", "sve"),
    }
)
VNNI = frozenset({"avx_vnni", "avx512_vnni", "amx_int8", "asimddp"})
# Without AMX bfloat16 gains nothing: on a CPU with avx512_bf16 OpenVINO took 42 ms in bfloat16 and 26 ms in float32.
FAST_BFLOAT16 = frozenset({"amx_bf16"})

CGROUPS = PurePosixPath("/sys/fs/cgroup")

ReadText = Callable[[PurePosixPath], str | None]


def cpu_features(cpuinfo: str) -> frozenset[str]:
    """Return those of FEATURES that the first CPU in the text of /proc/cpuinfo has."""
    for line in cpuinfo.splitlines():
        name, _, values = line.partition(":")
        if name.strip() in ("flags", "Features"):  # x86, ARM
            return FEATURES.intersection(values.split())
    return frozenset()


def quota_cpus(memberships: str, read: ReadText) -> float | None:
    """Return the CPUs that the cgroups allow, the smallest limit of all levels; None without a limit.

    memberships: the text of /proc/self/cgroup, with entries of version 1, 2 or both.
    Source: Linux, admin-guide/cgroup-v2.rst (cpu.max) and scheduler/sched-bwc.rst (cpu.cfs_quota_us).
    """
    limits = [_limit(folder, read) for folder in _folders(memberships)]
    return min((limit for limit in limits if limit is not None), default=None)


def threads_for(quota: float | None) -> int:
    """Return the threads of one inference: the quota rounded down, at least 1.

    More threads than CPUs would be throttled in the middle of an inference. Without a quota the result is 1 as well,
    not the host's cores, because many pods share a host and the service scales by adding pods.
    """
    return 1 if quota is None else max(1, int(quota))


def _folders(memberships: str) -> Iterator[PurePosixPath]:
    """Yield the CPU controller's folders from the process's own group to the root, as host and container see them."""
    for line in memberships.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        names = controllers.split(",")
        if number == "0" and not controllers:
            base = CGROUPS
        elif "cpu" in names:
            base = CGROUPS / controllers
        else:
            continue
        own = base / group.strip().lstrip("/")
        yield from (own, *(parent for parent in own.parents if parent.is_relative_to(base)))
        if base.name != "cpu" and base != CGROUPS:
            yield CGROUPS / "cpu"  # some hosts mount `cpu,cpuacct` as `cpu`


def _limit(folder: PurePosixPath, read: ReadText) -> float | None:
    unified = read(folder / "cpu.max")
    if unified is not None:
        quota, period = unified.split()
    else:
        quota, period = read(folder / "cpu.cfs_quota_us") or "-1", read(folder / "cpu.cfs_period_us") or "100000"
    return None if quota.strip() in ("max", "-1") else int(quota) / int(period)


def this_cpu() -> frozenset[str]:
    """Return the FEATURES of this machine's CPU."""
    return cpu_features(_read(PurePosixPath("/proc/cpuinfo")) or "")


def this_quota() -> float | None:
    """Return the CPU quota of this process, in CPUs; None without a quota."""
    return quota_cpus(_read(PurePosixPath("/proc/self/cgroup")) or "", _read)


def _read(path: PurePosixPath) -> str | None:
    try:
        return Path(path).read_text()
    except OSError:
        return None
