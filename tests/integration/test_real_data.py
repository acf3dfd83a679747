"""From a file to a prediction through the API, on data that packages ship: at least as good as scikit-learn's own
networks with the same settings, trained and tested on the same rows."""

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

from tests.integration.test_uploads import create
from tests.support.service import RunningService

HIDDEN, EPOCHS, BATCH, RATE, SEEDS = 64, 80, 32, 0.001, (1, 2, 3, 4, 5)
LOADERS = {"wine": load_wine, "breast cancer": load_breast_cancer, "digits": load_digits, "diabetes": load_diabetes}
Table = npt.NDArray[np.object_]


def as_csv(loaded: Any) -> bytes:
    """With a header; the last column is what is to be learned, a class by its name where it has one."""
    names = [str(name).replace(" ", "_") for name in loaded.feature_names]
    answers = loaded.target
    if "target_names" in loaded and loaded.target.dtype.kind in "iu":
        answers = loaded.target_names[loaded.target]
    lines = [",".join([*names, "answer"])]
    lines += [
        ",".join([*map(repr, row.tolist()), str(answer)]) for row, answer in zip(loaded.data, answers, strict=True)
    ]
    return "\n".join(lines).encode()


def rows(service: RunningService, dataset: dict[str, Any]) -> list[dict[str, Any]]:
    """As the service gives them, by the names of their columns."""
    found: list[dict[str, Any]] = []
    while len(found) < dataset["rows"]:
        page = service.get(f"/v1/datasets/{dataset['id']}/rows?offset={len(found)}&limit=1000")
        names = [column["name"] for column in page["columns"]]
        found += [dict(zip(names, row, strict=True)) for row in page["data"]]
    return found


def parts(service: RunningService, content: bytes, **options: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rows to train on, and rows to test."""
    made = create(service, files={"file": ("data.csv", content)}, data=options)
    shares = [{"name": "train", "share": 0.7}, {"name": "test", "share": 0.3}]
    train, test = service.post(f"/v1/datasets/{made['id']}/split", {"splits": shares, "seed": 5})["data"]
    return train, test


def trained(service: RunningService, train: dict[str, Any], seed: int) -> str:
    """The id of a network that has learned."""
    regression = train["classes"] is None
    output, cost = ("identity", "quadratic") if regression else ("softmax", "categorical_cross_entropy")
    network = service.post(
        "/v1/networks",
        {
            "inputs": train["inputs"],
            "layers": [{"units": HIDDEN, "activation": "relu"}, {"units": train["targets"], "activation": output}],
            "cost": cost,
            "seed": seed,
            "preprocessing": {"inputs": "standardize", "targets": "standardize" if regression else "none"},
        },
    )
    job = service.post(
        "/v1/jobs",
        {
            "network_id": network["id"],
            "dataset_id": train["id"],
            "epochs": EPOCHS,
            "batch_size": BATCH,
            "learning_rate": RATE,
            "optimizer": "adam",
            "seed": seed,
        },
    )
    assert service.finished(job["id"]).state == "succeeded"
    return str(network["id"])


def predicted(service: RunningService, network: str, asked: list[dict[str, Any]]) -> list[Any]:
    answer = service.post(f"/v1/networks/{network}/predictions", {"rows": asked})
    return list(answer["labels"] or [row[0] for row in answer["outputs"]])


def score(found: list[Any], expected: list[Any]) -> float:
    """The share of right classes, or R²."""
    if isinstance(found[0], str):
        return float(np.mean([str(one) == str(other) for one, other in zip(found, expected, strict=True)]))
    y = np.array(expected)
    return float(1 - np.square(y - np.array(found)).sum() / np.square(y - y.mean()).sum())


def ours(service: RunningService, train: dict[str, Any], test: list[dict[str, Any]], answer: str) -> float:
    asked = [{name: value for name, value in row.items() if name != answer} for row in test]
    expected = [row[answer] for row in test]
    return float(np.mean([score(predicted(service, trained(service, train, seed), asked), expected) for seed in SEEDS]))


def theirs(
    prepare: Any, train: list[dict[str, Any]], test: list[dict[str, Any]], answer: str, regression: bool
) -> float:
    def split(part: list[dict[str, Any]]) -> tuple[Table, list[Any]]:
        names = [name for name in part[0] if name != answer]
        cells = [[np.nan if row[name] is None else row[name] for name in names] for row in part]
        return np.array(cells, object), [row[answer] for row in part]

    (x, y), (x_test, y_test) = split(train), split(test)
    settings = {"hidden_layer_sizes": HIDDEN, "max_iter": EPOCHS, "batch_size": BATCH, "learning_rate_init": RATE}
    common = {**settings, "alpha": 0.0, "n_iter_no_change": EPOCHS + 1}
    found = []
    for seed in SEEDS:
        if regression:
            scaler = StandardScaler().fit(np.array(y).reshape(-1, 1))
            model = make_pipeline(prepare, MLPRegressor(**common, random_state=seed))
            model.fit(x, scaler.transform(np.array(y).reshape(-1, 1)).ravel())
            outputs = scaler.inverse_transform(model.predict(x_test).reshape(-1, 1)).ravel().tolist()
        else:
            model = make_pipeline(prepare, MLPClassifier(**common, random_state=seed)).fit(
                x, [str(label) for label in y]
            )
            outputs = [str(label) for label in model.predict(x_test)]
        found.append(score(outputs, y_test))
    return float(np.mean(found))


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("name", LOADERS)
def test_data_that_packages_ship(service: RunningService, name: str) -> None:
    regression = name == "diabetes"
    train, test = parts(service, as_csv(LOADERS[name]()), **{"target" if regression else "label": "answer"})
    trained_on, tested = rows(service, train), rows(service, test)
    found = ours(service, train, tested, "answer")
    reference = theirs(StandardScaler(), trained_on, tested, "answer", regression)
    print(f"{name}: {found:.4f}, scikit-learn {reference:.4f}")
    assert found >= reference - MARGIN


# Means over seeds of random starts differ by about so much.
MARGIN = 0.01


def people(count: int = 600) -> bytes:
    """A table with texts, truth values and holes, made by a rule that can be learned."""
    chance = np.random.Generator(np.random.Philox(11))
    lines = ["age,job,member,city,hours,pays"]
    for _ in range(count):
        age, hours = int(chance.integers(18, 80)), round(float(chance.normal(38, 8)), 1)
        job = str(chance.choice(["clerk", "smith", "sailor", "teacher"]))
        member, city = bool(chance.random() < 0.4), str(chance.choice(["Ulm", "Bern", "São Paulo", "Graz, Styria"]))
        likes = (age - 45) / 15 + {"clerk": 1.5, "smith": -1.5, "sailor": 0.5, "teacher": -0.5}[job] + 1.5 * member
        answer = "yes" if likes + (hours - 38) / 10 + chance.normal(0, 0.5) > 0.5 else "no"
        cells = [str(age), job, str(member).lower(), f'"{city}"', str(hours), answer]
        for place in (0, 1, 4):
            if chance.random() < 0.05:
                cells[place] = ""
        lines.append(",".join(cells))
    return "\n".join(lines).encode()


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_a_table_with_texts_and_holes(service: RunningService) -> None:
    train, test = parts(service, people(), label="pays", imputation="mean")
    assert [(column["name"], column["type"], column["imputation"]) for column in train["columns"]] == [
        ("age", "number", "mean"),
        ("job", "category", "most_frequent"),
        ("member", "boolean", "most_frequent"),
        ("city", "category", "most_frequent"),
        ("hours", "number", "mean"),
    ]
    assert train["inputs"] == 1 + 4 + 1 + 4 + 1
    trained_on, tested = rows(service, train), rows(service, test)
    prepare = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), [0, 4]),
            ("texts", make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), [1, 3]),
            ("truths", "passthrough", [2]),
        ]
    )
    found = ours(service, train, tested, "pays")
    reference = theirs(prepare, trained_on, tested, "pays", regression=False)
    print(f"people: {found:.4f}, scikit-learn {reference:.4f}")
    assert found >= reference - MARGIN
    assert found > 0.8


def test_what_a_prediction_refuses(service: RunningService) -> None:
    train, test = parts(service, people(200), label="pays", imputation="mean")
    network = trained(service, train, 1)
    row = {name: value for name, value in rows(service, test)[0].items() if name != "pays"}
    path = f"/v1/networks/{network}/predictions"
    for change, field in (
        ({"job": "pilot"}, "rows.0.job"),
        ({"age": "old"}, "rows.0.age"),
        ({"member": "perhaps"}, "rows.0.member"),
        ({"aeg": 1}, "rows.0.aeg"),
    ):
        refused = service.post(path, {"rows": [{**row, **change}]}, 422)
        assert refused["errors"][0]["field"] == field, refused
    without = {name: value for name, value in row.items() if name != "city"}
    assert service.post(path, {"rows": [without]}, 422)["errors"][0]["field"] == "rows.0.city"
    assert service.post(path, {"rows": [{**row, "age": None}]})["labels"][0] in ("yes", "no")
    as_list = service.post(path, {"inputs": [list(row.values())]})
    assert as_list["outputs"] == service.post(path, {"rows": [row]})["outputs"]
