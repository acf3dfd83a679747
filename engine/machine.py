"""What the machine grants to this process: memory and CPU cores, which control groups (version 1 and 2) may limit."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_CGROUP_ROOT = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def available_memory() -> int:
    """Return the memory of the machine in bytes, or the lowest limit of the process's control groups."""
    limits = [_read_memory_limit(directory) for directory in _iter_groups("memory")]
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *(limit for limit in limits if limit is not None)])


@cache
def available_cores() -> int:
    """Return the number of cores that can be busy all the time: at least 1, and at most what the CPU quota pays for.

    With a quota of 1.5 cores, that is 1: a second busy thread would have all of them stopped for part of each period.
    The rest is for requests.
    """
    quotas = [_read_cpu_quota(directory) for directory in _iter_groups("cpu")]
    granted = min([float(len(os.sched_getaffinity(0))), *(quota for quota in quotas if quota is not None)])
    return max(1, int(granted))


def _iter_groups(controller: str) -> Iterator[Path]:
    """Yield the directories of the process's control groups, from its own up to the root, if there are any."""
    try:
        lines = _MEMBERSHIP.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        # In version 1, which names controllers, each one has a hierarchy of its own.
        root = _CGROUP_ROOT / controller if controllers else _CGROUP_ROOT
        group = Path(path.lstrip("/"))
        yield from (root / directory for directory in (group, *group.parents))


def _read_memory_limit(directory: Path) -> int | None:
    """Return the limit of a control group in bytes; None if it has none."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        text = _read(directory / name)
        if text.isdigit():
            return int(text)
    return None


def _read_cpu_quota(directory: Path) -> float | None:
    """Return how many cores a control group may use on average; None if it is not limited."""
    quota, _, period = _read(directory / "cpu.max").partition(" ")
    if not quota:
        quota, period = _read(directory / "cpu.cfs_quota_us"), _read(directory / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None  # "max" and "-1" are no limits


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
