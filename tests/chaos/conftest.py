"""The recorded life of a service, and a directory in memory to replay it into."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.fault_disk import Disk, Operation, build, memory_dir, read_log, tree
from tests.chaos.service_lifecycle import Lifecycle
from tests.support.service import RunningService


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the library that records file operations."""
    return build(tmp_path_factory.mktemp("library"))


def start_recorded(library: Path, directory: Path, **recorder: str) -> tuple[RunningService, Path]:
    """Start a service that records its file operations, with options of the recorder; return it and their log."""
    data, log = directory / "data", directory / "log"
    data.mkdir()
    log.touch()
    options = {"directory": str(data), "log": str(log), **recorder}
    environment = {f"NABLA_CHAOS_{name.upper()}": value for name, value in options.items()}
    return RunningService(data, {"LD_PRELOAD": str(library), **environment}, checkpoint_interval="1000"), log


@pytest.fixture(scope="session")
def operations(library: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Operation]:
    """Record one life of a service; its replay gives its data directory bit for bit."""
    directory = tmp_path_factory.mktemp("life")
    service, log = start_recorded(library, directory)
    data = service.data_dir
    with service:
        Lifecycle(service, log).run()
    disk = Disk()
    recorded = [*read_log(log)]
    for operation in recorded:
        if operation.kind != "mark":
            disk.apply(operation)
    disk.write_to(directory / "replayed")
    assert tree(directory / "replayed") == tree(data)
    assert {"write", "sync", "create", "rename", "mkdir", "unlink", "rmdir"} <= {
        operation.kind for operation in recorded
    }
    return recorded


@pytest.fixture
def replay_dir() -> Iterator[Path]:
    """Return a directory in memory."""
    directory = memory_dir() / f"tests-{os.getpid()}"
    yield directory
    shutil.rmtree(directory, ignore_errors=True)
