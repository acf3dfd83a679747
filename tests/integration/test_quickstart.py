"""Whole workflows, from creating a network to predictions with it."""

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from nabla.app.client import Client
from tests.support import scenarios
from tests.support.datasets import post_dataset, to_npz
from tests.support.service import RunningService


def test_xor_from_network_to_prediction(service: RunningService) -> None:
    network = service.post(
        "/v1/networks",
        {
            "name": "gate",
            "inputs": 2,
            "layers": [{"units": 8, "activation": "tanh"}, {"units": 1, "activation": "sigmoid"}],
            "cost": "binary_cross_entropy",
            "seed": 7,
        },
        201,
    )
    assert network["parameters"] == 33
    assert network["version"] == 0
    dataset = scenarios.create_dataset(service, name="gate")
    assert (dataset["rows"], dataset["classes"]) == (4, ["no", "yes"])
    job = scenarios.submit_job(service, network_id="gate", dataset_id="gate", name="gate")
    assert job["network_id"] == network["id"]

    finished = service.wait_for_job(job["id"])

    assert (finished.state, finished.epoch, finished.network_version, finished.error) == ("succeeded", 500, 1, None)
    assert finished.seconds_elapsed > 0
    assert service.get("/v1/networks/gate")["version"] == 1
    predictions = service.post("/v1/networks/gate/predictions", {"inputs": scenarios.XOR_INPUTS})
    assert (predictions["labels"], predictions["version"]) == (["no", "yes", "yes", "no"], 1)
    before = service.post("/v1/networks/gate/predictions", {"inputs": scenarios.XOR_INPUTS, "version": 0})
    assert before["labels"] is None
    assert before["outputs"] != predictions["outputs"]

    history = service.get("/v1/jobs/gate/history?limit=400")
    assert [epoch["epoch"] for epoch in history["data"]] == list(range(1, 401))
    assert history["has_more"]
    rest = service.get("/v1/jobs/gate/history?after=400")
    assert [epoch["epoch"] for epoch in rest["data"]] == list(range(401, 501))
    assert not rest["has_more"]
    assert rest["data"][-1]["cost"] == finished.cost
    assert rest["data"][-1]["accuracy"] == 1.0


def test_regression_of_the_article_reaches_its_cost(service: RunningService) -> None:
    """Fit f(x) = sin x0 + cos x1 + tanh x2 + x3² with 4-16-64-8-1, η 0.05, full batch: below 0.11 in 2,000 epochs."""
    x = np.random.default_rng(0).random((10_000, 4), np.float32)
    y = np.sin(x[:, 0]) + np.cos(x[:, 1]) + np.tanh(x[:, 2]) + x[:, 3] ** 2
    dataset = upload_arrays(service, inputs=x, targets=y)
    layers = [{"units": units, "activation": "sigmoid"} for units in (16, 64, 8)]
    network = scenarios.create_network(
        service,
        inputs=4,
        layers=[*layers, {"units": 1, "activation": "identity"}],
        cost="quadratic",
        initializer="glorot_uniform",
    )
    job = scenarios.submit_job(
        service,
        network_id=network["id"],
        dataset_id=dataset["id"],
        epochs=2000,
        batch_size=10_000,
        learning_rate=0.05,
        target_cost=0.11,
    )
    finished = service.wait_for_job(job["id"])
    assert (finished.state, finished.stop_reason) == ("succeeded", "target_cost")
    assert finished.cost is not None
    assert finished.cost < 0.11


def test_digits_from_a_file_with_the_client(service: RunningService, tmp_path: Any) -> None:
    digits = load_digits()
    file = tmp_path / "digits.npz"
    np.savez(file, inputs=digits.data[:1400] / 16, labels=digits.target[:1400])
    with Client(service.url) as client:
        dataset = client.upload(file)
        assert (dataset.name, dataset.view.rows, dataset.inputs, dataset.outputs) == ("digits", 1400, 64, 10)
        network = client.create_network(
            inputs=64,
            layers=[{"units": 32, "activation": "relu"}, {"units": 10, "activation": "softmax"}],
            cost="categorical_cross_entropy",
            initializer="he_normal",
        )
        job = client.create_job(network, dataset, epochs=30, batch_size=16, validation={"fraction": 0.1})
        history = job.wait().history()
        assert job.view.epochs == len(history) == 30
        assert history[-1].validation_accuracy is not None
        assert history[-1].validation_accuracy > 0.9
        labels = network.predict((digits.data[1400:] / 16).tolist()).labels
        assert labels is not None
        assert np.mean([int(label) for label in labels] == digits.target[1400:]) > 0.88


def upload_arrays(service: RunningService, **arrays: Any) -> dict[str, Any]:
    return post_dataset(service, files={"file": ("data.npz", to_npz(**arrays))})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_job_gives_the_same_outputs_bitwise(service: RunningService, dtype: str) -> None:
    outputs = []
    for _ in range(2):
        network = scenarios.create_network(service, dtype=dtype)
        job = scenarios.submit_job(service, network_id=network["id"], batch_size=2)
        service.wait_for_job(job["id"])
        path = f"/v1/networks/{network['id']}/predictions"
        outputs.append(service.post(path, {"inputs": scenarios.XOR_INPUTS})["outputs"])
    assert outputs[0] == outputs[1]
