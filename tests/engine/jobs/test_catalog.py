"""A dataset that goes while it is asked for."""

from pathlib import Path

import numpy as np
import pytest

from engine.data.examples import examples
from engine.errors import NotFound, StorageFailed
from engine.jobs.catalog import Catalog
from engine.jobs.folder import DataFolder
from engine.jobs.journal import Journal
from engine.jobs.registry import Registry
from engine.nn.architecture import Architecture, Layer


def test_a_dataset_deleted_since_it_was_found_is_unknown(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    journal = Journal(folder.journal)
    catalog = Catalog(Registry(journal), folder, 1000)
    network = catalog.create_network(Architecture(2, (Layer(1, "identity"),), "quadratic"), None)
    deleted, damaged = (catalog.create_dataset(examples(np.eye(2), targets=np.ones(2)), None) for _ in range(2))
    assert catalog.evaluate(network, None, deleted)[1].rows == 2

    catalog.delete_dataset(deleted)
    with pytest.raises(NotFound, match=deleted.id):
        catalog.evaluate(network, None, deleted)
    for file in folder.of_dataset(damaged.id).glob("inputs*"):
        file.unlink()
    with pytest.raises(StorageFailed):
        catalog.evaluate(network, None, damaged)
    journal.close()
    folder.close()
