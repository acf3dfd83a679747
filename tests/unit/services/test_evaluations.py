"""Evaluations of versions whose dataset is deleted or damaged meanwhile."""

import numpy as np
import pytest

from nabla.engine.data.examples import build_examples
from nabla.engine.errors import NotFound, StorageFailed
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.services.datasets import DatasetService
from nabla.engine.services.evaluations import EvaluationService
from nabla.engine.services.networks import NetworkService
from nabla.engine.storage.data_dir import DataDir
from nabla.engine.storage.registry import Registry


def test_evaluation_on_a_dataset_deleted_meanwhile_is_not_found(
    registry: Registry, networks: NetworkService, datasets: DatasetService, data_dir: DataDir
) -> None:
    network = networks.create_network(Architecture(2, (Layer(1, "identity"),), "quadratic"), None)
    evaluations = EvaluationService(registry, data_dir, networks)
    deleted, damaged = (datasets.create_dataset(build_examples(np.eye(2), targets=np.ones(2)), None) for _ in range(2))
    assert evaluations.evaluate(network, None, deleted).evaluation.rows == 2

    datasets.delete_dataset(deleted)
    with pytest.raises(NotFound, match=deleted.id):
        evaluations.evaluate(network, None, deleted)
    for file in data_dir.dataset_dir(damaged.id).glob("inputs*"):
        file.unlink()
    with pytest.raises(StorageFailed):
        evaluations.evaluate(network, None, damaged)
