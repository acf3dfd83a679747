"""Records that are deleted between their lookup and their use."""

import pytest

from nabla.engine.errors import Damaged, NotFound
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.records.network import NetworkRecord
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
