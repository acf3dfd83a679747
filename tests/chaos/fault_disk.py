"""Recorded file operations of a directory, replayed to any point: as after kill -9, or after a loss of power.

After kill -9 every operation has happened, since the kernel has it. After a loss of power only what was synced is sure:
the content of a file, the names in a directory. Of the rest a part may have happened: any writes to a file, torn
between sectors; the first changes of a directory.
"""

import fcntl
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
_SOURCE = Path(__file__).with_name("disk.cpp")


@dataclass(frozen=True)
class Operation:
    """One operation. `other`: the new name of a rename or link. A mark has the text of the test as its path."""

    kind: str
    path: str
    other: str = ""
    offset: int = 0
    data: bytes = b""
    result: int = 0


def build(directory: Path) -> Path:
    """Compile the library that records operations, to be preloaded into a process."""
    library = directory / "disk.so"
    command = ["g++", "-O1", "-shared", "-fPIC", "-std=c++17", "-o", str(library), str(_SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return library


def mark(log: Path, text: str) -> None:
    """Record in the log, between the operations, what the test knows by now."""
    with log.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(f"mark\t{text}\t\t0\t0\t0\n".encode())


def read_log(log: Path) -> Iterator[Operation]:
    """Iterate over the operations of a log."""
    content, position = log.read_bytes(), 0
    while position < len(content):
        end = content.index(b"\n", position)
        kind, path, other, offset, length, result = content[position:end].decode().split("\t")
        position = end + 1 + int(length)
        yield Operation(kind, path, other, int(offset), content[end + 1 : position], int(result))


@dataclass
class File:
    content: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    unsynced: list[Operation] = field(default_factory=list)

    def change(self, operation: Operation) -> None:
        self.unsynced.append(operation)
        _apply(self.content, operation)

    def sync(self) -> None:
        self.synced = bytes(self.content)
        self.unsynced = []

    def after_power_loss(self, chance: random.Random) -> bytes:
        remaining = bytearray(self.synced)
        share = chance.choice([0.0, 0.5, 0.9, 1.0])
        for operation in self.unsynced:
            for part in _sectors(operation):
                if chance.random() < share:
                    _apply(remaining, part)
        return bytes(remaining)


def _apply(content: bytearray, operation: Operation) -> None:
    if operation.kind == "truncate":
        del content[operation.offset :]
        content.extend(bytes(operation.offset - len(content)))
        return
    content.extend(bytes(max(0, operation.offset - len(content))))
    content[operation.offset : operation.offset + len(operation.data)] = operation.data


def _sectors(operation: Operation) -> Iterator[Operation]:
    """Divide a write into one operation for each sector that it touches."""
    if operation.kind != "write":
        yield operation
    first, last = operation.offset, operation.offset + len(operation.data)
    while first < last:
        end = min(last, (first // SECTOR + 1) * SECTOR)
        yield Operation(
            "write", operation.path, "", first, operation.data[first - operation.offset : end - operation.offset]
        )
        first = end


@dataclass
class Directory:
    names: dict[str, "File | Directory"] = field(default_factory=dict)
    synced: dict[str, "File | Directory"] = field(default_factory=dict)
    unsynced: list[tuple[str, "File | Directory | None"]] = field(default_factory=list)

    def change(self, name: str, node: "File | Directory | None") -> None:
        self.unsynced.append((name, node))
        _set_name(self.names, name, node)

    def sync(self) -> None:
        self.synced = dict(self.names)
        self.unsynced = []

    def after_power_loss(self, chance: random.Random) -> dict[str, "File | Directory"]:
        remaining = dict(self.synced)
        for name, node in self.unsynced[: chance.randint(0, len(self.unsynced))]:
            _set_name(remaining, name, node)
        return remaining


def _set_name(names: dict[str, "File | Directory"], name: str, node: "File | Directory | None") -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


class Disk:
    """A directory that was empty before the first operation."""

    def __init__(self) -> None:
        self.root = Directory()

    def apply(self, operation: Operation) -> None:
        match operation.kind:
            case "write" | "truncate":
                node = self._find(operation.path)
                assert isinstance(node, File)
                node.change(operation)
            case "sync":
                self._find(operation.path).sync()
            case "create" if operation.result:
                self._file(operation.path).change(Operation("truncate", operation.path))
            case "create":
                self._rename(operation.path, File())
            case "mkdir":
                self._rename(operation.path, Directory())
            case "link":
                self._rename(operation.other, self._find(operation.path))
            case "rename":
                node = self._find(operation.path)
                self._rename(operation.path, None)
                self._rename(operation.other, node)
            case "unlink" | "rmdir":
                self._rename(operation.path, None)
            case _:
                raise AssertionError(operation.kind)

    def _find(self, path: str) -> File | Directory:
        node: File | Directory = self.root
        for part in Path(path).parts:
            assert isinstance(node, Directory)
            node = node.names[part]
        return node

    def _file(self, path: str) -> File:
        node = self._find(path)
        assert isinstance(node, File)
        return node

    def _rename(self, path: str, node: File | Directory | None) -> None:
        parent = self._find(str(Path(path).parent))
        assert isinstance(parent, Directory)
        parent.change(Path(path).name, node)

    def write_to(self, directory: Path, chance: random.Random | None = None) -> None:
        """Write the directory as it is or, with `chance`, as it may be after a loss of power now."""
        shutil.rmtree(directory, ignore_errors=True)
        _write(self.root, directory, chance)


def _write(node: File | Directory, path: Path, chance: random.Random | None) -> None:
    if isinstance(node, File):
        path.write_bytes(bytes(node.content) if chance is None else node.after_power_loss(chance))
        return
    path.mkdir()
    for name, child in (node.names if chance is None else node.after_power_loss(chance)).items():
        _write(child, path / name, chance)


def tree(directory: Path) -> dict[str, bytes | None]:
    """Return the content of every file in a directory by relative path; None for directories."""
    paths = {str(path.relative_to(directory)): path for path in directory.rglob("*")}
    return {name: path.read_bytes() if path.is_file() else None for name, path in paths.items()}


def write_tree(contents: dict[str, bytes | None], directory: Path) -> None:
    """Write a directory with the contents that `tree` returned."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name in sorted(contents):
        content = contents[name]
        if content is None:
            (directory / name).mkdir()
        else:
            (directory / name).write_bytes(content)


def memory_dir() -> Path:
    """Return a directory where files are quick to write."""
    return Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path("/tmp")
