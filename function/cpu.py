"""What this CPU can do, and how much of it the pod may use."""

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

# What decides which machine code engines run, and so what a file that was prepared on another machine may hold.
FEATURES = frozenset(
    {
        *("avx", "avx2", "fma", "avx_vnni"),
        *("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
        *("amx_tile", "amx_int8", "amx_bf16"),
        *("asimd", "asimddp", "asimdhp", "bf16", "i8mm", "sve"),
    }
)
VNNI = frozenset({"avx_vnni", "avx512_vnni", "amx_int8", "asimddp"})
# On a CPU with avx512_bf16 but no AMX, OpenVINO took 42 ms in bfloat16 and 26 in float32: only AMX is worth it.
FAST_BFLOAT16 = frozenset({"amx_bf16"})

CGROUPS = PurePosixPath("/sys/fs/cgroup")

ReadText = Callable[[PurePosixPath], str | None]


def cpu_features(cpuinfo: str) -> frozenset[str]:
    """Those of FEATURES that the first CPU in the text of /proc/cpuinfo has."""
    for line in cpuinfo.splitlines():
        name, _, values = line.partition(":")
        if name.strip() in ("flags", "Features"):  # x86, ARM
            return FEATURES.intersection(values.split())
    return frozenset()


def quota_cpus(memberships: str, read: ReadText) -> float | None:
    """CPUs that the cgroups allow, the least of all levels; None where nothing is limited.

    memberships: the text of /proc/self/cgroup, of version 1, 2 or both.
    Source: Linux, admin-guide/cgroup-v2.rst (cpu.max) and scheduler/sched-bwc.rst (cpu.cfs_quota_us).
    """
    limits = [_limit(folder, read) for folder in _folders(memberships)]
    return min((limit for limit in limits if limit is not None), default=None)


def threads_for(quota: float | None) -> int:
    """Threads of one inference: the whole CPUs of the quota, at least one.

    More threads than CPUs are throttled in the middle of an inference. Without a quota it is one too, never the
    host's cores: pods are many on a host, and each scales by having siblings.
    """
    return 1 if quota is None else max(1, int(quota))


def _folders(memberships: str) -> Iterator[PurePosixPath]:
    """Of the CPU controller, from the process's own group up to the root, as host and as container see them."""
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
            yield CGROUPS / "cpu"  # some hosts mount `cpu,cpuacct` under the one name


def _limit(folder: PurePosixPath, read: ReadText) -> float | None:
    unified = read(folder / "cpu.max")
    if unified is not None:
        quota, period = unified.split()
    else:
        quota, period = read(folder / "cpu.cfs_quota_us") or "-1", read(folder / "cpu.cfs_period_us") or "100000"
    return None if quota.strip() in ("max", "-1") else int(quota) / int(period)


def this_cpu() -> frozenset[str]:
    """Of this machine."""
    return cpu_features(_read(PurePosixPath("/proc/cpuinfo")) or "")


def this_quota() -> float | None:
    """Of this process."""
    return quota_cpus(_read(PurePosixPath("/proc/self/cgroup")) or "", _read)


def _read(path: PurePosixPath) -> str | None:
    try:
        return Path(path).read_text()
    except OSError:
        return None
