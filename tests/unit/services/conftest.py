"""A data folder, and the registry behind its journal."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nabla.engine.storage.data_dir import DataFolder
from nabla.engine.storage.journal import Journal
from nabla.engine.storage.registry import Registry


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    folder = DataFolder(tmp_path)
    yield folder
    folder.close()


@pytest.fixture
def registry(folder: DataFolder) -> Iterator[Registry]:
    journal = Journal(folder.journal)
    yield Registry(journal)
    journal.close()
