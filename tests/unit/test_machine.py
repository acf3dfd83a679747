"""Limits of control groups, read from files as the kernel writes them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nabla.engine import machine

CORES = len(os.sched_getaffinity(0))


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a root of control groups, in whose group `a/b` this process is."""
    (tmp_path / "membership").write_text("3:cpu,cpuacct:/a/b\n2:memory:/a/b\n0::/a/b\n")
    monkeypatch.setattr(machine, "_MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(machine, "_CGROUP_ROOT", tmp_path)
    machine.available_cores.cache_clear()
    yield tmp_path
    machine.available_cores.cache_clear()


def write(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("50000 100000", 1), ("150000 100000", 1), ("200000 100000", min(2, CORES)), ("max 100000", CORES)],
)
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("group", ["a/b", "a", "."])
def test_cpu_quota_decides_cores(groups: Path, version: int, group: str, quota: str, cores: int) -> None:
    if version == 2:
        write(groups / group / "cpu.max", f"{quota}\n")
    else:
        limit, period = quota.replace("max", "-1").split()
        write(groups / "cpu" / group / "cpu.cfs_quota_us", f"{limit}\n")
        write(groups / "cpu" / group / "cpu.cfs_period_us", f"{period}\n")
    assert machine.available_cores() == cores


def test_lowest_memory_limit_counts(groups: Path) -> None:
    write(groups / "a" / "memory.max", "max\n")
    write(groups / "memory.max", f"{3 * 2**20}\n")
    write(groups / "memory" / "a" / "b" / "memory.limit_in_bytes", f"{2**20}\n")
    assert machine.available_memory() == 2**20


def test_without_limits_the_machine_is_the_limit(groups: Path) -> None:
    assert machine.available_cores() == CORES
    assert machine.available_memory() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
