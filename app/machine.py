"""What this process may use of the machine."""

import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def memory_allowed() -> int:
    """Bytes: those of the machine, or of the smallest control group that the process is in."""
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_limits()])


def _limits() -> Iterator[int]:
    """Of the control groups of both versions, from the process's own to the root's."""
    try:
        groups = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, name = _CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = _CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = Path(path.lstrip("/"))
        for folder in (group, *group.parents):
            limit = _number(root / folder / name)
            if limit is not None:
                yield limit


def _number(file: Path) -> int | None:
    """None where there is no limit: no file, or the word max."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
