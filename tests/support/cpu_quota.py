"""CPU quotas by control groups, of either version of the kernel's interface."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PERIOD = 100_000
_CGROUPS = Path("/sys/fs/cgroup")


@contextmanager
def cpu_quota(cores: float) -> Iterator[None]:
    """Put this process, and those that it starts in the block, into a control group that may use so many cores.

    Raises OSError without the right to create one.
    """
    version_1 = (_CGROUPS / "cpu").is_dir()
    parent = _CGROUPS / "cpu" if version_1 else _CGROUPS
    directory = parent / f"nabla-cpu-{os.getpid()}"
    directory.mkdir()
    try:
        if version_1:
            (directory / "cpu.cfs_period_us").write_text(str(_PERIOD))
            (directory / "cpu.cfs_quota_us").write_text(str(int(cores * _PERIOD)))
        else:
            (directory / "cpu.max").write_text(f"{int(cores * _PERIOD)} {_PERIOD}")
        (directory / "cgroup.procs").write_text(str(os.getpid()))
        yield
    finally:
        for process in (directory / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                (parent / "cgroup.procs").write_text(process)
        directory.rmdir()
