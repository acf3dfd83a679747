"""From a file to a prediction through the API, on data sets of scikit-learn and on a generated table.

The networks predict at least as well as those of scikit-learn with the same settings, trained and tested on the same
rows.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tests.support.datasets import post_dataset
from tests.support.service import RunningService

HIDDEN_UNITS, EPOCHS, BATCH_SIZE, LEARNING_RATE, SEEDS = 64, 80, 32, 0.001, (1, 2, 3, 4, 5)
# Mean scores over the seeds vary by about as much.
TOLERANCE = 0.01
LOADERS = {"wine": load_wine, "breast cancer": load_breast_cancer, "digits": load_digits, "diabetes": load_diabetes}
Row = dict[str, Any]
ObjectArray = npt.NDArray[np.object_]


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("name", LOADERS)
def test_bundled_datasets_score_as_with_scikit_learn(service: RunningService, name: str) -> None:
    is_regression = name == "diabetes"
    options = {"target" if is_regression else "label": "target"}
    train, test = upload_and_split(service, encode_csv(LOADERS[name]()), **options)
    train_rows, test_rows = fetch_rows(service, train), fetch_rows(service, test)
    score = mean_score(service, train, test_rows, "target")
    reference = mean_reference_score(StandardScaler(), train_rows, test_rows, "target", is_regression=is_regression)
    print(f"{name}: {score:.4f}, scikit-learn {reference:.4f}")
    assert score >= reference - TOLERANCE


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_table_with_categories_and_missing_values_scores_as_with_scikit_learn(service: RunningService) -> None:
    train, test = upload_and_split(service, generate_people(), label="pays", imputation="mean")
    assert [(column["name"], column["type"], column["imputation"]) for column in train["columns"]] == [
        ("age", "number", "mean"),
        ("job", "category", "most_frequent"),
        ("member", "boolean", "most_frequent"),
        ("city", "category", "most_frequent"),
        ("hours", "number", "mean"),
    ]
    assert train["inputs"] == 1 + 4 + 1 + 4 + 1
    train_rows, test_rows = fetch_rows(service, train), fetch_rows(service, test)
    preprocessing = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), [0, 4]),
            ("texts", make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), [1, 3]),
            ("booleans", "passthrough", [2]),
        ]
    )
    score = mean_score(service, train, test_rows, "pays")
    reference = mean_reference_score(preprocessing, train_rows, test_rows, "pays", is_regression=False)
    print(f"people: {score:.4f}, scikit-learn {reference:.4f}")
    assert score >= reference - TOLERANCE
    assert score > 0.8


def test_predictions_reject_values_that_training_data_cannot_have(service: RunningService) -> None:
    train, test = upload_and_split(service, generate_people(200), label="pays", imputation="mean")
    network = train_network(service, train, seed=1)
    row = {name: value for name, value in fetch_rows(service, test)[0].items() if name != "pays"}
    path = f"/v1/networks/{network}/predictions"
    for change, field in (
        ({"job": "pilot"}, "rows.0.job"),
        ({"age": "old"}, "rows.0.age"),
        ({"member": "perhaps"}, "rows.0.member"),
    ):
        rejected = service.post(path, {"rows": [{**row, **change}]}, 422)
        assert rejected["errors"][0]["field"] == field, rejected
    without_city = {name: value for name, value in row.items() if name != "city"}
    assert service.post(path, {"rows": [without_city]}, 422)["errors"][0]["field"] == "rows.0.city"
    assert service.post(path, {"rows": [{**row, "age": None}]})["labels"][0] in ("yes", "no")
    (warning,) = service.post(path, {"rows": [{**row, "aeg": 1}]})["warnings"]
    assert "'aeg' is not used" in warning
    by_position = service.post(path, {"inputs": [list(row.values())]})
    assert by_position["outputs"] == service.post(path, {"rows": [row]})["outputs"]


def encode_csv(bunch: Any) -> bytes:
    """Encode a data set of scikit-learn as CSV with a header; the last column is the target, classes by name."""
    names = [str(name).replace(" ", "_") for name in bunch.feature_names]
    targets = bunch.target
    if "target_names" in bunch and targets.dtype.kind in "iu":
        targets = bunch.target_names[targets]
    lines = [",".join([*names, "target"])]
    lines += [
        ",".join([*map(repr, row.tolist()), str(target)]) for row, target in zip(bunch.data, targets, strict=True)
    ]
    return "\n".join(lines).encode()


def generate_people(count: int = 600) -> bytes:
    """Generate a table with categories, booleans and missing values, whose label follows a learnable rule."""
    rng = np.random.Generator(np.random.Philox(11))
    lines = ["age,job,member,city,hours,pays"]
    for _ in range(count):
        age, hours = int(rng.integers(18, 80)), round(float(rng.normal(38, 8)), 1)
        job = str(rng.choice(["clerk", "smith", "sailor", "teacher"]))
        member, city = bool(rng.random() < 0.4), str(rng.choice(["Ulm", "Bern", "São Paulo", "Graz, Styria"]))
        utility = (age - 45) / 15 + {"clerk": 1.5, "smith": -1.5, "sailor": 0.5, "teacher": -0.5}[job] + 1.5 * member
        pays = "yes" if utility + (hours - 38) / 10 + rng.normal(0, 0.5) > 0.5 else "no"
        cells = [str(age), job, str(member).lower(), f'"{city}"', str(hours), pays]
        for column in (0, 1, 4):
            if rng.random() < 0.05:
                cells[column] = ""
        lines.append(",".join(cells))
    return "\n".join(lines).encode()


def upload_and_split(service: RunningService, content: bytes, **options: str) -> tuple[Row, Row]:
    """Return a dataset of 70 % of the rows to train on, and one of the others to test on."""
    dataset = post_dataset(service, files={"file": ("data.csv", content)}, data=options)
    splits = [{"name": "train", "share": 0.7}, {"name": "test", "share": 0.3}]
    train, test = service.post(f"/v1/datasets/{dataset['id']}/split", {"splits": splits, "seed": 5})["data"]
    return train, test


def fetch_rows(service: RunningService, dataset: Row) -> list[Row]:
    """Return all rows as mappings of column names to values."""
    rows: list[Row] = []
    while len(rows) < dataset["rows"]:
        page = service.get(f"/v1/datasets/{dataset['id']}/rows?offset={len(rows)}&limit=1000")
        names = [column["name"] for column in page["columns"]]
        rows += [dict(zip(names, row, strict=True)) for row in page["data"]]
    return rows


def train_network(service: RunningService, train: Row, seed: int) -> str:
    """Train a network, and return its id."""
    is_regression = train["classes"] is None
    activation, cost = ("identity", "quadratic") if is_regression else ("softmax", "categorical_cross_entropy")
    network = service.post(
        "/v1/networks",
        {
            "inputs": train["inputs"],
            "layers": [
                {"units": HIDDEN_UNITS, "activation": "relu"},
                {"units": train["targets"], "activation": activation},
            ],
            "cost": cost,
            "seed": seed,
            "preprocessing": {"inputs": "standardize", "targets": "standardize" if is_regression else "none"},
        },
    )
    job = service.post(
        "/v1/jobs",
        {
            "network_id": network["id"],
            "dataset_id": train["id"],
            "epochs": EPOCHS,
            "batch_size": BATCH_SIZE,
            "learning_rate": LEARNING_RATE,
            "optimizer": "adam",
            "seed": seed,
        },
    )
    assert service.wait_for_job(job["id"]).state == "succeeded"
    return str(network["id"])


def predict(service: RunningService, network: str, rows: list[Row]) -> list[Any]:
    prediction = service.post(f"/v1/networks/{network}/predictions", {"rows": rows})
    return list(prediction["labels"] or [row[0] for row in prediction["outputs"]])


def compute_score(predicted: list[Any], expected: list[Any]) -> float:
    """Return the accuracy of labels, or R² of numbers."""
    if not isinstance(predicted[0], float):
        return float(np.mean([str(one) == str(other) for one, other in zip(predicted, expected, strict=True)]))
    y = np.array(expected)
    return float(1 - np.square(y - np.array(predicted)).sum() / np.square(y - y.mean()).sum())


def mean_score(service: RunningService, train: Row, test_rows: list[Row], target: str) -> float:
    """Return the mean score over the seeds of networks that the service trains."""
    inputs = [{name: value for name, value in row.items() if name != target} for row in test_rows]
    expected = [row[target] for row in test_rows]
    networks = [train_network(service, train, seed) for seed in SEEDS]
    return float(np.mean([compute_score(predict(service, network, inputs), expected) for network in networks]))


def mean_reference_score(
    preprocessing: Any, train_rows: list[Row], test_rows: list[Row], target: str, *, is_regression: bool
) -> float:
    """Return the mean score over the seeds of networks that scikit-learn trains with the same settings."""

    def to_arrays(rows: list[Row]) -> tuple[ObjectArray, list[Any]]:
        names = [name for name in rows[0] if name != target]
        cells = [[np.nan if row[name] is None else row[name] for name in names] for row in rows]
        return np.array(cells, object), [row[target] for row in rows]

    (x, y), (x_test, y_test) = to_arrays(train_rows), to_arrays(test_rows)
    settings = {
        "hidden_layer_sizes": HIDDEN_UNITS,
        "max_iter": EPOCHS,
        "batch_size": BATCH_SIZE,
        "learning_rate_init": LEARNING_RATE,
        "alpha": 0.0,
        "n_iter_no_change": EPOCHS + 1,
    }
    scores = []
    for seed in SEEDS:
        predicted: list[Any]
        if is_regression:
            scaler = StandardScaler().fit(np.array(y).reshape(-1, 1))
            model = make_pipeline(preprocessing, MLPRegressor(**settings, random_state=seed))
            model.fit(x, scaler.transform(np.array(y).reshape(-1, 1)).ravel())
            predicted = scaler.inverse_transform(model.predict(x_test).reshape(-1, 1)).ravel().tolist()
        else:
            model = make_pipeline(preprocessing, MLPClassifier(**settings, random_state=seed))
            model.fit(x, [str(label) for label in y])
            predicted = [str(label) for label in model.predict(x_test)]
        scores.append(compute_score(predicted, y_test))
    return float(np.mean(scores))
