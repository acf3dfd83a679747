"""What goes while it is asked for."""

import numpy as np
import pytest

from nabla.engine.data.examples import examples
from nabla.engine.errors import Damaged, NotFound, StorageFailed
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.records.network import NetworkRecord
from nabla.engine.services.networks import Catalog
from nabla.engine.storage.data_dir import DataFolder
from nabla.engine.storage.registry import Registry


@pytest.fixture
def catalog(registry: Registry, folder: DataFolder) -> Catalog:
    return Catalog(registry, folder, 1000)


def new_network(catalog: Catalog) -> NetworkRecord:
    return catalog.create_network(Architecture(2, (Layer(1, "identity"),), "quadratic"), None)


def test_a_network_deleted_since_it_was_found_is_not_cloned(catalog: Catalog, folder: DataFolder) -> None:
    deleted, damaged = (new_network(catalog) for _ in range(2))
    catalog.delete_network(deleted)
    with pytest.raises(NotFound, match=deleted.id):
        catalog.clone_network(deleted, None, None)
    (folder.of_network(damaged.id) / damaged.versions[0].file).unlink()
    with pytest.raises(Damaged):
        catalog.clone_network(damaged, None, None)
    assert [*folder.of_network("any").parent.iterdir()] == [folder.of_network(damaged.id)]


def test_a_dataset_deleted_since_it_was_found_is_unknown(catalog: Catalog, folder: DataFolder) -> None:
    network = new_network(catalog)
    deleted, damaged = (catalog.create_dataset(examples(np.eye(2), targets=np.ones(2)), None) for _ in range(2))
    assert catalog.evaluate(network, None, deleted)[1].rows == 2

    catalog.delete_dataset(deleted)
    with pytest.raises(NotFound, match=deleted.id):
        catalog.evaluate(network, None, deleted)
    for file in folder.of_dataset(damaged.id).glob("inputs*"):
        file.unlink()
    with pytest.raises(StorageFailed):
        catalog.evaluate(network, None, damaged)
