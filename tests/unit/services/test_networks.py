"""Records that are deleted between their lookup and their use."""

import numpy as np
import pytest

from nabla.engine.data.examples import build_examples
from nabla.engine.errors import Damaged, NotFound, StorageFailed
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.records.network import NetworkRecord
from nabla.engine.services.datasets import DatasetService
from nabla.engine.services.networks import NetworkService
from nabla.engine.storage.data_dir import DataDir


def new_network(networks: NetworkService) -> NetworkRecord:
    return networks.create_network(Architecture(2, (Layer(1, "identity"),), "quadratic"), None)


def test_clone_of_a_network_deleted_meanwhile_is_not_found(networks: NetworkService, data_dir: DataDir) -> None:
    deleted, damaged = (new_network(networks) for _ in range(2))
    networks.delete_network(deleted)
    with pytest.raises(NotFound, match=deleted.id):
        networks.clone_network(deleted, None, None)
    (data_dir.network_dir(damaged.id) / damaged.versions[0].file).unlink()
    with pytest.raises(Damaged):
        networks.clone_network(damaged, None, None)
    assert [*data_dir.network_dir("any").parent.iterdir()] == [data_dir.network_dir(damaged.id)]


def test_evaluation_on_a_dataset_deleted_meanwhile_is_not_found(
    networks: NetworkService, datasets: DatasetService, data_dir: DataDir
) -> None:
    network = new_network(networks)
    deleted, damaged = (datasets.create_dataset(build_examples(np.eye(2), targets=np.ones(2)), None) for _ in range(2))
    assert networks.evaluate(network, None, deleted)[1].rows == 2

    datasets.delete_dataset(deleted)
    with pytest.raises(NotFound, match=deleted.id):
        networks.evaluate(network, None, deleted)
    for file in data_dir.dataset_dir(damaged.id).glob("inputs*"):
        file.unlink()
    with pytest.raises(StorageFailed):
        networks.evaluate(network, None, damaged)
