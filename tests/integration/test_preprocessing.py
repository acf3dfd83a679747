"""Networks with preprocessing: the same scaling in training, predictions and evaluations, also after crashes."""

from typing import Any

import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.conftest import StartService
from tests.support import scenarios
from tests.support.service import RunningService, assert_exited

SCALED = {"inputs": "standardize", "targets": "standardize"}
NETWORK: dict[str, Any] = {
    "inputs": 10,
    "layers": [{"units": 8, "activation": "tanh"}, {"units": 1, "activation": "identity"}],
    "cost": "quadratic",
    "dtype": "float64",
    "preprocessing": SCALED,
}
X, Y = load_diabetes(return_X_y=True, scaled=False)
ROWS = np.random.default_rng(0).permutation(len(X))
TRAINING_ROWS, TEST_ROWS = ROWS[:342], ROWS[342:]
JOB: dict[str, Any] = {"epochs": 20, "batch_size": 32, "learning_rate": 0.01, "optimizer": "adam"}
# The learning rate is too small to change the weights.
NO_OP_JOB: dict[str, Any] = {"epochs": 1, "batch_size": 1000, "learning_rate": 1e-300, "optimizer": "sgd"}


def create_dataset(service: RunningService, rows: Any, scale: float = 1.0) -> str:
    body = {"inputs": (scale * X[rows]).tolist(), "targets": (scale * Y[rows]).reshape(-1, 1).tolist()}
    return str(service.post("/v1/datasets", body, 201)["id"])


def train(service: RunningService, network: str, **change: Any) -> dict[str, Any]:
    job = scenarios.submit_job(service, **{"network_id": network, **JOB, **change})
    finished = service.wait_for_job(job["id"])
    assert (finished.state, finished.error) == ("succeeded", None)
    return job


def predict_test_rows(service: RunningService, network: str, version: int | None = None) -> Any:
    body = {"inputs": X[TEST_ROWS].tolist(), "version": version}
    return service.post(f"/v1/networks/{network}/predictions", body)["outputs"]


def score_scikit_learn(seed: int) -> float:
    """Return R² of scikit-learn's network with the settings of JOB, on scaled inputs and targets."""
    regressor = MLPRegressor(
        hidden_layer_sizes=(8,),
        activation="tanh",
        alpha=0,
        batch_size=JOB["batch_size"],
        learning_rate_init=JOB["learning_rate"],
        max_iter=JOB["epochs"],
        n_iter_no_change=JOB["epochs"],
        random_state=seed,
    )
    scaled = TransformedTargetRegressor(regressor, transformer=StandardScaler())
    with pytest.warns(UserWarning, match="Maximum iterations"):
        pipeline = make_pipeline(StandardScaler(), scaled).fit(X[TRAINING_ROWS], Y[TRAINING_ROWS])
    return float(pipeline.score(X[TEST_ROWS], Y[TEST_ROWS]))


def test_regression_on_unscaled_data_is_as_good_as_scikit_learn(service: RunningService) -> None:
    network = scenarios.create_network(service, **NETWORK)
    assert network["preprocessing"] == {**SCALED, "handle_unknown": "error", "outliers": "compress"}
    test = create_dataset(service, TEST_ROWS)
    job = train(
        service, network["id"], dataset_id=create_dataset(service, TRAINING_ROWS), validation={"dataset_id": test}
    )
    evaluation = service.post(f"/v1/networks/{network['id']}/evaluations", {"dataset_id": test})

    assert evaluation["r2"] >= min(score_scikit_learn(seed) for seed in range(3))

    errors = np.array(predict_test_rows(service, network["id"]))[:, 0] - Y[TEST_ROWS]
    last = service.history(job["id"])[-1]
    for value in (evaluation["mae"], evaluation["outputs"][0]["mae"], last.validation_mae):
        assert value == pytest.approx(np.abs(errors).mean(), rel=1e-9)
    for value in (evaluation["rmse"], last.validation_rmse):
        assert value == pytest.approx(np.sqrt(np.square(errors).mean()), rel=1e-9)
    assert last.validation_r2 == pytest.approx(evaluation["r2"], rel=1e-9)
    assert last.mae is not None
    assert 30 < last.mae < 60
    assert last.validation_cost == pytest.approx(evaluation["cost"], rel=1e-9)
    # The cost is that of the scaled targets, which the network is trained on.
    assert evaluation["cost"] == pytest.approx(np.square(errors).mean() / Y[TRAINING_ROWS].var() / 2, rel=1e-9)


def test_preprocessing_is_kept_by_warm_starts_resumes_and_published_checkpoints(service: RunningService) -> None:
    network = scenarios.create_network(service, **NETWORK)["id"]
    data, larger = create_dataset(service, TRAINING_ROWS), create_dataset(service, TRAINING_ROWS, 10.0)
    job = train(service, network, dataset_id=data, epochs=4, checkpoints={"epochs": 4})
    expected = predict_test_rows(service, network)
    service.post(f"/v1/jobs/{job['id']}/checkpoints/1/publish", {"weights": "last"}, 201)
    train(service, network, dataset_id=larger, warm_start=True, **NO_OP_JOB)
    train(service, network, dataset_id=larger, resume_from={"job_id": job["id"], "checkpoint": 1}, **NO_OP_JOB)
    for version in (1, 2, 3, 4):
        assert predict_test_rows(service, network, version) == expected
    train(service, network, dataset_id=larger, **NO_OP_JOB)
    assert np.abs(np.array(predict_test_rows(service, network, 5))).mean() > 5 * np.abs(expected).mean()
    versions = service.get(f"/v1/networks/{network}/versions")["data"]
    assert [version["version"] for version in versions] == [5, 4, 3, 2, 1, 0]
    assert versions[-1]["preprocessing"] is None
    for version in versions[:-1]:
        assert version["preprocessing"] == {
            **SCALED,
            "handle_unknown": "error",
            "outliers": "compress",
            "columns": None,
        }


def test_cancelled_job_publishes_its_preprocessing(service: RunningService) -> None:
    network = scenarios.create_network(service, **NETWORK)["id"]
    job = scenarios.submit_endless_job(
        service, network_id=network, dataset_id=create_dataset(service, TRAINING_ROWS), batch_size=32
    )
    service.wait_for_epoch(job["id"], 2)
    service.post(f"/v1/jobs/{job['id']}/cancel", {"keep": "last"})
    outputs = np.array(predict_test_rows(service, network))
    assert 100 < outputs.mean() < 200


def test_untrained_network_with_preprocessing_cannot_predict(service: RunningService) -> None:
    network = scenarios.create_network(service, **NETWORK)["id"]
    data = create_dataset(service, TRAINING_ROWS)
    for path, body in (("predictions", {"inputs": X[:1].tolist()}), ("evaluations", {"dataset_id": data})):
        problem = service.post(f"/v1/networks/{network}/{path}", body, 409)
        assert problem["detail"].startswith(
            "Version 0 of the network has not been trained; the first job fits the scaling"
        )
    train(service, network, dataset_id=data, epochs=1)
    assert len(predict_test_rows(service, network)) == len(TEST_ROWS)
    service.post(f"/v1/networks/{network}/predictions", {"inputs": X[:1].tolist(), "version": 0}, 409)


def test_killed_job_matches_uninterrupted_run_bitwise(start_service: StartService) -> None:
    service = start_service(checkpoint_interval="0.05")
    data = create_dataset(service, TRAINING_ROWS)
    preprocessing = {"inputs": "robust", "targets": "min_max"}
    networks = [
        scenarios.create_network(service, **{**NETWORK, "preprocessing": preprocessing})["id"] for _ in range(2)
    ]
    settings = {**JOB, "epochs": 10_000, "dataset_id": data, "validation": {"fraction": 0.2}}
    uninterrupted = train(service, networks[0], **settings)
    job = scenarios.submit_job(service, network_id=networks[1], **settings)
    service.wait_for_epoch(job["id"], 50)
    workers = service.worker_pids()
    service.kill()
    assert_exited(workers)
    service.start()
    finished = service.wait_for_job(job["id"])
    assert (finished.state, finished.attempts) == ("succeeded", 2)
    assert predict_test_rows(service, networks[1]) == predict_test_rows(service, networks[0])
    history, expected_history = (
        [(epoch.cost, epoch.mae, epoch.validation_rmse) for epoch in service.history(finished["id"])]
        for finished in (job, uninterrupted)
    )
    assert history == expected_history


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"preprocessing": {"inputs": "center"}}, "preprocessing.inputs", "min_max"),
        ({"preprocessing": {"scale": True}}, "preprocessing.scale", "Unknown field"),
        (
            {
                "preprocessing": {"targets": "robust"},
                "cost": "poisson",
                "layers": [{"units": 1, "activation": "softplus"}],
            },
            "preprocessing.targets",
            "poisson expects probabilities or counts",
        ),
    ],
)
def test_invalid_preprocessing_is_rejected(service: RunningService, change: Any, field: str, message: str) -> None:
    problem = service.post("/v1/networks", {**NETWORK, **change}, 422)
    (error,) = problem["errors"]
    assert error["field"] == field
    assert message in error["message"]


def test_classes_cannot_be_scaled(service: RunningService) -> None:
    network = scenarios.create_network(service, cost="quadratic", preprocessing={"targets": "standardize"})["id"]
    body = {"network_id": network, "dataset_id": scenarios.create_dataset(service)["id"]}
    problem = service.post("/v1/jobs", body, 422)
    assert problem["errors"][0]["field"] == "preprocessing.targets"
    assert "the dataset has classes" in problem["detail"]


def test_classification_with_scaled_inputs(service: RunningService) -> None:
    network = scenarios.create_network(service, preprocessing={"inputs": "min_max"})["id"]
    inputs = (1e6 * np.array(scenarios.XOR_INPUTS) - 7e6).tolist()
    data = scenarios.create_dataset(service, inputs=inputs)["id"]
    train(service, network, dataset_id=data, epochs=500, batch_size=4, learning_rate=0.1)
    predictions = service.post(f"/v1/networks/{network}/predictions", {"inputs": inputs})
    assert predictions["labels"] == ["no", "yes", "yes", "no"]
    assert service.post(f"/v1/networks/{network}/evaluations", {"dataset_id": data})["accuracy"] == 1
