"""A network that prepares its data: the same way in training, predictions and evaluations, whatever happens between."""

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
from tests.support.service import RunningService, assert_gone

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
TRAINING, OTHERS = ROWS[:342], ROWS[342:]
JOB: dict[str, Any] = {"epochs": 20, "batch_size": 32, "learning_rate": 0.01, "optimizer": "adam"}
STILL: dict[str, Any] = {"epochs": 1, "batch_size": 1000, "learning_rate": 1e-300, "optimizer": "sgd"}


def dataset(service: RunningService, rows: Any, scale: float = 1.0) -> str:
    body = {"inputs": (scale * X[rows]).tolist(), "targets": (scale * Y[rows]).reshape(-1, 1).tolist()}
    return str(service.post("/v1/datasets", body, 201)["id"])


def trained(service: RunningService, network: str, **change: Any) -> dict[str, Any]:
    job = scenarios.job(service, **{"network_id": network, **JOB, **change})
    done = service.finished(job["id"])
    assert (done.state, done.error) == ("succeeded", None)
    return job


def predicted(service: RunningService, network: str, version: int | None = None) -> Any:
    body = {"inputs": X[OTHERS].tolist(), "version": version}
    return service.post(f"/v1/networks/{network}/predictions", body)["outputs"]


def r2_of_scikit_learn(seed: int) -> float:
    """With the settings of JOB, on scaled inputs and targets."""
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
        pipeline = make_pipeline(StandardScaler(), scaled).fit(X[TRAINING], Y[TRAINING])
    return float(pipeline.score(X[OTHERS], Y[OTHERS]))


def test_a_regression_on_raw_numbers_is_as_good_as_scikit_learns(service: RunningService) -> None:
    network = scenarios.network(service, **NETWORK)
    assert network["preprocessing"] == {**SCALED, "handle_unknown": "error"}
    others = dataset(service, OTHERS)
    job = trained(service, network["id"], dataset_id=dataset(service, TRAINING), validation={"dataset_id": others})
    found = service.post(f"/v1/networks/{network['id']}/evaluations", {"dataset_id": others})

    assert found["r2"] >= min(r2_of_scikit_learn(seed) for seed in range(3))

    errors = np.array(predicted(service, network["id"]))[:, 0] - Y[OTHERS]
    last = service.history(job["id"])[-1]
    for measured in (found["mae"], found["outputs"][0]["mae"], last.validation_mae):
        assert measured == pytest.approx(np.abs(errors).mean(), rel=1e-9)
    for measured in (found["rmse"], last.validation_rmse):
        assert measured == pytest.approx(np.sqrt(np.square(errors).mean()), rel=1e-9)
    assert last.validation_r2 == pytest.approx(found["r2"], rel=1e-9)
    assert last.mae is not None
    assert 30 < last.mae < 60
    assert last.validation_cost == pytest.approx(found["cost"], rel=1e-9)
    # That of the targets as they are trained on.
    assert found["cost"] == pytest.approx(np.square(errors).mean() / Y[TRAINING].var() / 2, rel=1e-9)


def test_what_a_version_is_prepared_by_goes_with_it(service: RunningService) -> None:
    """A warm start, and one from a checkpoint, on data of another scale keep to what was fitted at first; so does a
    published checkpoint. Their steps are too small to change anything."""
    network = scenarios.network(service, **NETWORK)["id"]
    data, larger = dataset(service, TRAINING), dataset(service, TRAINING, 10.0)
    job = trained(service, network, dataset_id=data, epochs=4, checkpoints={"epochs": 4})
    expected = predicted(service, network)
    service.post(f"/v1/jobs/{job['id']}/checkpoints/1/publish", {"weights": "last"}, 201)
    trained(service, network, dataset_id=larger, warm_start=True, **STILL)
    trained(service, network, dataset_id=larger, resume_from={"job_id": job["id"], "checkpoint": 1}, **STILL)
    for version in (1, 2, 3, 4):
        assert predicted(service, network, version) == expected
    trained(service, network, dataset_id=larger, **STILL)
    assert np.abs(np.array(predicted(service, network, 5))).mean() > 5 * np.abs(expected).mean()
    versions = service.get(f"/v1/networks/{network}/versions")["data"]
    assert [one["version"] for one in versions] == [5, 4, 3, 2, 1, 0]
    assert versions[-1]["preprocessing"] is None
    for version in versions[:-1]:
        assert version["preprocessing"] == {**SCALED, "handle_unknown": "error", "columns": None}


def test_what_a_cancelled_job_keeps_is_prepared_as_it_was(service: RunningService) -> None:
    network = scenarios.network(service, **NETWORK)["id"]
    job = scenarios.endless(service, network_id=network, dataset_id=dataset(service, TRAINING), batch_size=32)
    service.trained(job["id"], 2)
    service.post(f"/v1/jobs/{job['id']}/cancel", {"keep": "last"})
    found = np.array(predicted(service, network))
    assert 100 < found.mean() < 200


def test_before_the_first_job_there_is_nothing_to_scale_by(service: RunningService) -> None:
    network = scenarios.network(service, **NETWORK)["id"]
    data = dataset(service, TRAINING)
    for path, body in (("predictions", {"inputs": X[:1].tolist()}), ("evaluations", {"dataset_id": data})):
        problem = service.post(f"/v1/networks/{network}/{path}", body, 409)
        assert problem["detail"].startswith("Version 0 of the network has not been trained: what its inputs")
    trained(service, network, dataset_id=data, epochs=1)
    assert len(predicted(service, network)) == len(OTHERS)
    service.post(f"/v1/networks/{network}/predictions", {"inputs": X[:1].tolist(), "version": 0}, 409)


def test_a_job_that_is_killed_ends_with_the_same_bits(start_service: StartService) -> None:
    service = start_service(checkpoint_seconds="0.05")
    data = dataset(service, TRAINING)
    rule = {"inputs": "robust", "targets": "min_max"}
    networks = [scenarios.network(service, **{**NETWORK, "preprocessing": rule})["id"] for _ in range(2)]
    settings = {**JOB, "epochs": 10_000, "dataset_id": data, "validation": {"fraction": 0.2}}
    undisturbed = trained(service, networks[0], **settings)
    job = scenarios.job(service, network_id=networks[1], **settings)
    service.trained(job["id"], 50)
    workers = service.workers()
    service.kill()
    assert_gone(workers)
    service.start()
    done = service.finished(job["id"])
    assert (done.state, done.attempts) == ("succeeded", 2)
    assert predicted(service, networks[1]) == predicted(service, networks[0])
    ours, theirs = (
        [(epoch.cost, epoch.mae, epoch.validation_rmse) for epoch in service.history(one["id"])]
        for one in (job, undisturbed)
    )
    assert ours == theirs


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"preprocessing": {"inputs": "center"}}, "preprocessing.inputs", "min_max"),
        ({"preprocessing": {"scale": True}}, "preprocessing.scale", "not known"),
        (
            {
                "preprocessing": {"targets": "robust"},
                "cost": "poisson",
                "layers": [{"units": 1, "activation": "softplus"}],
            },
            "preprocessing.targets",
            "poisson looks at probabilities or counts",
        ),
    ],
)
def test_networks_that_are_refused(service: RunningService, change: Any, field: str, words: str) -> None:
    problem = service.post("/v1/networks", {**NETWORK, **change}, 422)
    (error,) = problem["errors"]
    assert error["field"] == field
    assert words in error["message"]


def test_classes_are_no_targets_to_scale(service: RunningService) -> None:
    network = scenarios.network(service, cost="quadratic", preprocessing={"targets": "standardize"})["id"]
    body = {"network_id": network, "dataset_id": scenarios.dataset(service)["id"]}
    problem = service.post("/v1/jobs", body, 422)
    assert problem["errors"][0]["field"] == "preprocessing.targets"
    assert "the dataset has classes" in problem["detail"]


def test_classes_with_inputs_that_are_scaled(service: RunningService) -> None:
    network = scenarios.network(service, preprocessing={"inputs": "min_max"})["id"]
    inputs = (1e6 * np.array(scenarios.XOR_INPUTS) - 7e6).tolist()
    data = scenarios.dataset(service, inputs=inputs)["id"]
    trained(service, network, dataset_id=data, epochs=500, batch_size=4, learning_rate=0.1)
    found = service.post(f"/v1/networks/{network}/predictions", {"inputs": inputs})
    assert found["labels"] == ["no", "yes", "yes", "no"]
    assert service.post(f"/v1/networks/{network}/evaluations", {"dataset_id": data})["accuracy"] == 1
