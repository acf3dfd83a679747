"""One life, written down operation by operation, and a place to look at what it left."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.fault_disk import Disk, Operation, build, in_memory, read_log, tree
from tests.chaos.service_lifecycle import Life
from tests.support.service import RunningService


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Goes between a service and its files."""
    return build(tmp_path_factory.mktemp("library"))


def watched(library: Path, folder: Path, **settings: str) -> tuple[RunningService, Path]:
    """A service that writes down what it does to its files, and where."""
    data, log = folder / "data", folder / "log"
    data.mkdir()
    log.touch()
    settings |= {"chaos_folder": str(data), "chaos_log": str(log), "checkpoint_seconds": "1000"}
    return RunningService(data, {"LD_PRELOAD": str(library)}, **settings), log


@pytest.fixture(scope="session")
def operations(library: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Operation]:
    """Of one life, whose replay gives its folder bit for bit."""
    folder = tmp_path_factory.mktemp("life")
    service, log = watched(library, folder)
    data = service.folder
    with service:
        Life(service, log).live()
    disk = Disk()
    found = [*read_log(log)]
    for operation in found:
        if operation.kind != "mark":
            disk.apply(operation)
    disk.write_to(folder / "replayed")
    assert tree(folder / "replayed") == tree(data)
    assert {"write", "sync", "create", "rename", "mkdir", "unlink", "rmdir"} <= {one.kind for one in found}
    return found


@pytest.fixture
def place() -> Iterator[Path]:
    folder = in_memory() / f"tests-{os.getpid()}"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
