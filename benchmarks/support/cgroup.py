"""Memory control groups: a common limit for processes, page cache of their files included."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


class ControlGroup:
    """A memory control group, of either version of the kernel's interface."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        version_1 = (directory / "memory.limit_in_bytes").exists()
        self._limit, self._peak = (
            ("memory.limit_in_bytes", "memory.max_usage_in_bytes") if version_1 else ("memory.max", "memory.peak")
        )

    def set_limit(self, limit: int) -> None:
        """Limit the memory to so many bytes; the kernel reclaims what exceeds it."""
        (self.directory / self._limit).write_text(str(limit))

    def add(self, processes: Iterable[int]) -> None:
        """Move processes into the group; their later children belong to it as well."""
        for process in processes:
            (self.directory / "cgroup.procs").write_text(str(process))

    @property
    def peak(self) -> int:
        """Peak memory in bytes, page cache included, which is reclaimable."""
        return int((self.directory / self._peak).read_text())


@contextmanager
def control_group() -> Iterator[ControlGroup]:
    """Create a group without a limit; it must be empty again at the end. Raises OSError without the right to."""
    memory = _CGROUPS / "memory"
    directory = (memory if memory.is_dir() else _CGROUPS) / f"nabla-{os.getpid()}"
    directory.mkdir()
    try:
        yield ControlGroup(directory)
    finally:
        directory.rmdir()


def require_control_group(stack: ExitStack) -> ControlGroup:
    """Create a group that lives as long as the stack, or exit with the reason."""
    try:
        return stack.enter_context(control_group())
    except OSError as error:
        sys.exit(f"Cannot create a memory control group: {error}.")
