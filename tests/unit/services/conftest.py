"""A data directory, the registry behind its journal, and the services that create records in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nabla.engine.services.datasets import DatasetService
from nabla.engine.services.networks import NetworkService
from nabla.engine.storage.data_dir import DataDir
from nabla.engine.storage.journal import Journal
from nabla.engine.storage.registry import Registry
from nabla.engine.workers.task_process import TaskProcess


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[DataDir]:
    data_dir = DataDir(tmp_path)
    yield data_dir
    data_dir.close()


@pytest.fixture
def registry(data_dir: DataDir) -> Iterator[Registry]:
    journal = Journal(data_dir.journal)
    yield Registry(journal)
    journal.close()


@pytest.fixture
def networks(registry: Registry, data_dir: DataDir) -> NetworkService:
    return NetworkService(registry, data_dir, max_parameters=1000)


@pytest.fixture
def datasets(registry: Registry, data_dir: DataDir) -> Iterator[DatasetService]:
    service = DatasetService(registry, data_dir, TaskProcess("ingest", 2**30, 60.0), max_uploads=1, max_open_uploads=1)
    yield service
    service.close()
