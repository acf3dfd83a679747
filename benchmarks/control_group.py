"""Processes that may use so much memory and no more, together, the pages of the files that they use included."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


class ControlGroup:
    """Of whichever version is mounted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        old = (folder / "memory.limit_in_bytes").exists()
        self._limit, self._peak = (
            ("memory.limit_in_bytes", "memory.max_usage_in_bytes") if old else ("memory.max", "memory.peak")
        )

    def limit(self, most: int) -> None:
        """In bytes. What is held beyond that and can be let go is."""
        (self.folder / self._limit).write_text(str(most))

    def take(self, processes: Iterable[int]) -> None:
        """From now on they and their children are in it."""
        for process in processes:
            (self.folder / "cgroup.procs").write_text(str(process))

    @property
    def peak(self) -> int:
        """Bytes, the pages of files included, which can be let go."""
        return int((self.folder / self._peak).read_text())


@contextmanager
def control_group() -> Iterator[ControlGroup]:
    """Without a limit at first; empty again when the block ends. Raises OSError where none can be made."""
    memory = _CGROUPS / "memory"
    folder = (memory if memory.is_dir() else _CGROUPS) / f"nabla-{os.getpid()}"
    folder.mkdir()
    try:
        yield ControlGroup(folder)
    finally:
        folder.rmdir()


def needed(stack: ExitStack) -> ControlGroup:
    """Until the stack is closed. Ends the program with a sentence where none can be made."""
    try:
        return stack.enter_context(control_group())
    except OSError as problem:
        sys.exit(f"No memory control group can be made here: {problem}.")
