"""From nothing to a prediction, over HTTP."""

import io
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from nabla.app.client import Client
from tests.support import scenarios
from tests.support.service import RunningService


def test_xor(service: RunningService) -> None:
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
    dataset = scenarios.dataset(service, name="gate")
    assert (dataset["rows"], dataset["classes"]) == (4, ["no", "yes"])
    job = scenarios.job(service, network_id="gate", dataset_id="gate", name="gate")
    assert job["network_id"] == network["id"]

    done = service.finished(job["id"])

    assert (done.state, done.epoch, done.network_version, done.error) == ("succeeded", 500, 1, None)
    assert done.seconds_elapsed > 0
    assert service.get("/v1/networks/gate")["version"] == 1
    answer = service.post("/v1/networks/gate/predictions", {"inputs": scenarios.XOR_INPUTS})
    assert (answer["labels"], answer["version"]) == (["no", "yes", "yes", "no"], 1)
    before = service.post("/v1/networks/gate/predictions", {"inputs": scenarios.XOR_INPUTS, "version": 0})
    assert before["labels"] is None
    assert before["outputs"] != answer["outputs"]

    history = service.get("/v1/jobs/gate/history?limit=400")
    assert [epoch["epoch"] for epoch in history["data"]] == list(range(1, 401))
    assert history["has_more"]
    rest = service.get("/v1/jobs/gate/history?after=400")
    assert [epoch["epoch"] for epoch in rest["data"]] == list(range(401, 501))
    assert not rest["has_more"]
    assert rest["data"][-1]["cost"] == done.cost
    assert rest["data"][-1]["accuracy"] == 1.0


def test_the_article_regression_falls_below_its_cost(service: RunningService) -> None:
    """f(x) = sin x0 + cos x1 + tanh x2 + x3², 4-16-64-8-1, η 0.05, full batch: below 0.11 within 2,000 epochs."""
    x = np.random.default_rng(0).random((10_000, 4), np.float32)
    y = np.sin(x[:, 0]) + np.cos(x[:, 1]) + np.tanh(x[:, 2]) + x[:, 3] ** 2
    dataset = upload(service, inputs=x, targets=y)
    layers = [{"units": units, "activation": "sigmoid"} for units in (16, 64, 8)]
    network = scenarios.network(
        service,
        inputs=4,
        layers=[*layers, {"units": 1, "activation": "identity"}],
        cost="quadratic",
        initializer="glorot_uniform",
    )
    job = scenarios.job(
        service,
        network_id=network["id"],
        dataset_id=dataset["id"],
        epochs=2000,
        batch_size=10_000,
        learning_rate=0.05,
        target_cost=0.11,
    )
    done = service.finished(job["id"])
    assert (done.state, done.stopped) == ("succeeded", "target_cost")
    assert done.cost is not None
    assert done.cost < 0.11


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
        answers = network.predict((digits.data[1400:] / 16).tolist()).labels
        assert answers is not None
        assert np.mean([int(answer) for answer in answers] == digits.target[1400:]) > 0.88


def upload(service: RunningService, **arrays: Any) -> dict[str, Any]:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    answer = service.http.post("/v1/datasets", files={"file": ("data.npz", file.getvalue())})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_job_gives_the_same_bits(service: RunningService, dtype: str) -> None:
    outputs = []
    for _ in range(2):
        network = scenarios.network(service, dtype=dtype)
        job = scenarios.job(service, network_id=network["id"], batch_size=2)
        service.finished(job["id"])
        path = f"/v1/networks/{network['id']}/predictions"
        outputs.append(service.post(path, {"inputs": scenarios.XOR_INPUTS})["outputs"])
    assert outputs[0] == outputs[1]
