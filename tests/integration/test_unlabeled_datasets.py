"""Unlabeled datasets: formats, batch predictions, profiles and splits, and rejection where targets are needed."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_wine

from nabla.app.client import Client, StatusError
from tests.conftest import StartService
from tests.support import scenarios
from tests.support.batch_predictions import (
    predict_npy,
    run_batch_prediction,
    start_batch_prediction,
    wait_for_batch_prediction,
)
from tests.support.datasets import post_dataset, to_npy, to_npz
from tests.support.service import TIMEOUT_SECONDS, RunningService

UNLABELED = {"unlabeled": "true"}
ROWS = [{"age": 31, "job": "clerk"}, {"age": 52, "job": "smith"}, {"age": None, "job": "smith"}]
TABLE = b"job,age\nclerk,31\nsmith,52\nsmith,\n"
INPUTS = [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
REGRESSION_LAYERS = [{"units": 4, "activation": "tanh"}, {"units": 1, "activation": "identity"}]


def predict_dataset(service: RunningService, network: str, dataset: str) -> list[list[float]]:
    outputs = np.load(io.BytesIO(run_batch_prediction(service, network, dataset, format="npy")))
    return [list(map(float, row)) for row in outputs]


def train_people_network(service: RunningService, **preprocessing: str) -> tuple[str, str]:
    """Return the ids of a regression network trained on a table with missing values, and of that dataset."""
    options = {"target": "pays", "imputation": '{"age": "mean", "job": "most_frequent"}'}
    table = b"age,job,pays\n31,clerk,1.5\n52,smith,20\n,smith,3\n44,,4\n"
    dataset = post_dataset(service, files={"file": ("people.csv", table)}, data=options)
    config = {"inputs": "standardize", "targets": "standardize", **preprocessing}
    network = scenarios.create_network(
        service, inputs=dataset["inputs"], cost="quadratic", layers=REGRESSION_LAYERS, preprocessing=config
    )
    job = scenarios.submit_job(
        service, network_id=network["id"], dataset_id=dataset["id"], epochs=50, learning_rate=0.1
    )
    assert service.wait_for_job(job["id"]).state == "succeeded"
    return network["id"], dataset["id"]


@pytest.fixture(scope="module")
def people(service: RunningService) -> tuple[str, str]:
    return train_people_network(service)


def test_unlabeled_table_is_predicted_as_rows_in_json(service: RunningService) -> None:
    x, y = load_wine(return_X_y=True)
    names = [f"x{column}" for column in range(x.shape[1])]
    columns = {name: pa.array(values) for name, values in zip(names, x.T, strict=True)}
    with Client(service.url, timeout=TIMEOUT_SECONDS) as client:
        trained_on = client.upload(pa.table({**columns, "kind": y}), label="kind").view
        network = scenarios.create_network(
            service,
            inputs=13,
            cost="categorical_cross_entropy",
            layers=[{"units": 8, "activation": "tanh"}, {"units": 3, "activation": "softmax"}],
            preprocessing={"inputs": "standardize"},
        )["id"]
        job = scenarios.submit_job(service, network_id=network, dataset_id=trained_on.id, epochs=20, batch_size=16)
        assert service.wait_for_job(job["id"]).state == "succeeded"
        rows = client.upload(pa.table({name: columns[name] for name in reversed(names)}), unlabeled=True).view
    assert (rows.targets, rows.classes, rows.target_columns, rows.unlabeled) == (0, None, None, True)
    assert not trained_on.unlabeled
    json_rows = [dict(zip(names, map(float, row), strict=True)) for row in x]
    expected = service.post(f"/v1/networks/{network}/predictions", {"rows": json_rows})
    assert predict_dataset(service, network, rows.id) == expected["outputs"]
    assert predict_dataset(service, network, trained_on.id) == expected["outputs"]
    lines = io.StringIO(run_batch_prediction(service, network, rows.id).decode())
    assert [line["label"] for line in csv.DictReader(lines)] == [*map(str, expected["labels"])]


def test_missing_values_are_imputed_by_the_network(service: RunningService, people: tuple[str, str]) -> None:
    dataset = post_dataset(service, files={"file": ("rows.csv", TABLE)}, data=UNLABELED)
    assert [(column["name"], column["missing"], column["imputation"]) for column in dataset["columns"]] == [
        ("job", 0, None),
        ("age", 1, None),
    ]
    expected = service.post(f"/v1/networks/{people[0]}/predictions", {"rows": ROWS})["outputs"]
    assert predict_dataset(service, people[0], dataset["id"]) == expected
    all_missing = post_dataset(
        service,
        files={"file": ("rows.csv", b"job,age\n,31\n,52\n")},
        data={**UNLABELED, "types": json.dumps({"job": "category"})},
    )
    rows = [{"age": 31, "job": None}, {"age": 52, "job": None}]
    expected = service.post(f"/v1/networks/{people[0]}/predictions", {"rows": rows})["outputs"]
    assert predict_dataset(service, people[0], all_missing["id"]) == expected


def test_missing_value_without_imputation_is_an_error(service: RunningService) -> None:
    dataset = post_dataset(service, files={"file": ("full.csv", b"age,pays\n31,1\n52,2\n")}, data={"target": "pays"})[
        "id"
    ]
    network = scenarios.create_network(service, inputs=1, cost="quadratic", layers=REGRESSION_LAYERS)["id"]
    job = scenarios.submit_job(service, network_id=network, dataset_id=dataset, epochs=1)
    assert service.wait_for_job(job["id"]).state == "succeeded"
    rows = post_dataset(service, files={"file": ("rows.csv", b'age\n31\n""\n')}, data=UNLABELED)["id"]
    view = wait_for_batch_prediction(service, start_batch_prediction(service, network, rows))
    assert view.error is not None
    assert (view.state, view.error.kind) == ("failed", "invalid_data")
    assert view.error.message.startswith("Row 2 has no value in the column 'age'")


@pytest.mark.parametrize("handle_unknown", ["error", "ignore"])
def test_unknown_category_is_handled_as_by_the_network(service: RunningService, handle_unknown: str) -> None:
    network, _ = train_people_network(service, handle_unknown=handle_unknown)
    rows = post_dataset(service, files={"file": ("rows.csv", b"age,job\n31,baker\n")}, data=UNLABELED)["id"]
    if handle_unknown == "ignore":
        body = {"rows": [{"age": 31, "job": "baker"}]}
        assert (
            predict_dataset(service, network, rows)
            == service.post(f"/v1/networks/{network}/predictions", body)["outputs"]
        )
        return
    view = wait_for_batch_prediction(service, start_batch_prediction(service, network, rows))
    assert view.error is not None
    assert "Row 1 has an unknown value in the column 'job'; the categories learned are" in view.error.message


def test_missing_and_extra_columns_are_named(service: RunningService, people: tuple[str, str]) -> None:
    path = f"/v1/networks/{people[0]}/batch-predictions"
    for table, message in (
        (b"age\n31\n", "it has no column 'job'"),
        (b"age,job\nold,clerk\n", "its column 'age' is a category"),
    ):
        rows = post_dataset(service, files={"file": ("rows.csv", table)}, data=UNLABELED)["id"]
        (error,) = service.post(path, {"dataset_id": rows}, 422)["errors"]
        assert error["field"] == "dataset_id"
        assert message in error["message"]
    numbers = scenarios.create_dataset(service, inputs=INPUTS, labels=None, unlabeled=True)["id"]
    service.post(path, {"dataset_id": numbers}, 422)
    xor = scenarios.create_network(service)["id"]
    wide = scenarios.create_dataset(service, inputs=[[1.0, 2.0, 3.0]], labels=None, unlabeled=True)["id"]
    (error,) = service.post(f"/v1/networks/{xor}/batch-predictions", {"dataset_id": wide}, 422)["errors"]
    assert error["message"] == "The network has 2 inputs, the dataset 3."
    untrained = scenarios.create_network(service, preprocessing={"inputs": "standardize"})["id"]
    service.post(f"/v1/networks/{untrained}/batch-predictions", {"dataset_id": numbers}, 409)


@pytest.mark.parametrize(
    "request_arguments",
    [
        {"files": {"inputs": ("x.npy", to_npy(INPUTS))}, "data": UNLABELED},
        {"files": {"file": ("x.npz", to_npz(inputs=INPUTS))}, "data": UNLABELED},
        {"files": {"file": ("x.json", json.dumps({"inputs": INPUTS}).encode())}, "data": UNLABELED},
        {"json": {"inputs": INPUTS, "unlabeled": True}},
    ],
)
def test_arrays_of_inputs(service: RunningService, request_arguments: dict[str, Any]) -> None:
    dataset = post_dataset(service, **request_arguments)
    assert (dataset["rows"], dataset["inputs"], dataset["targets"], dataset["classes"]) == (3, 2, 0, None)
    assert (dataset["unlabeled"], dataset["weighted"]) == (True, False)
    network = scenarios.create_network(service)["id"]
    outputs = np.array(predict_dataset(service, network, dataset["id"]), np.float32)
    assert outputs.tobytes() == predict_npy(service, network, np.array(INPUTS)).tobytes()
    rows = service.get(f"/v1/datasets/{dataset['id']}/rows")
    assert [column["role"] for column in rows["columns"]] == ["feature", "feature"]
    assert rows["data"] == INPUTS


@pytest.mark.parametrize(
    "request_arguments",
    [
        {"files": {"file": ("rows.csv", TABLE)}, "data": UNLABELED},
        {"content": TABLE, "headers": {"content-type": "text/csv"}, "params": UNLABELED},
        {"json": {"rows": ROWS, "unlabeled": True}},
    ],
)
def test_tables_in_every_format(
    service: RunningService, people: tuple[str, str], request_arguments: dict[str, Any]
) -> None:
    dataset = post_dataset(service, **request_arguments)
    assert (dataset["rows"], dataset["targets"], dataset["target_columns"], dataset["unlabeled"]) == (3, 0, None, True)
    expected = service.post(f"/v1/networks/{people[0]}/predictions", {"rows": ROWS})["outputs"]
    assert predict_dataset(service, people[0], dataset["id"]) == expected


def test_uploads_in_several_requests(service: RunningService, people: tuple[str, str], tmp_path: Path) -> None:
    expected = service.post(f"/v1/networks/{people[0]}/predictions", {"rows": ROWS})["outputs"]
    path = tmp_path / "rows.csv"
    path.write_bytes(TABLE)
    with Client(service.url, timeout=TIMEOUT_SECONDS) as client:
        opened = client.open_dataset("file", unlabeled=True)
        assert (opened.outputs, opened.view.unlabeled) == (None, True)
        opened.send_chunks(path, chunk_size=10)
        assert predict_dataset(service, people[0], opened.close().id) == expected
        opened = client.open_dataset("rows", unlabeled=True)
        for line in TABLE.splitlines()[1:]:
            path.write_bytes(b"job,age\n" + line + b"\n")
            opened.append(path)
        assert predict_dataset(service, people[0], opened.close().id) == expected
        dataset = client.upload_arrays(inputs=np.array(INPUTS), unlabeled=True).view
        assert (dataset.rows, dataset.unlabeled) == (3, True)


def test_profile_split_and_deletion(service: RunningService) -> None:
    table = b"a,b\n" + b"".join(b"%d,5000\n" % row for row in range(40))
    first = post_dataset(service, files={"file": ("splits.csv", table)}, data=UNLABELED)
    second = post_dataset(service, files={"file": ("splits.csv", table)}, data=UNLABELED)
    labeled = post_dataset(service, files={"file": ("splits.csv", table)}, data={"target": "b"})
    assert first["sha256"] == second["sha256"] != labeled["sha256"]
    assert service.get("/v1/datasets?limit=2")["data"][1] == second
    arrays = post_dataset(service, json={"inputs": [[row, 5000] for row in range(40)], "unlabeled": True})
    for dataset in (first, arrays):
        profile = service.get(f"/v1/datasets/{dataset['id']}/profile")
        assert [column["role"] for column in profile["columns"]] == ["feature", "feature"]
        assert (profile["classes"], profile["warnings"]) == (None, [])
        splits = service.post(
            f"/v1/datasets/{dataset['id']}/split",
            {"splits": [{"name": "most", "share": 0.75}, {"name": "rest", "share": 0.25}]},
        )["data"]
        assert [(split["rows"], split["targets"], split["unlabeled"]) for split in splits] == [
            (30, 0, True),
            (10, 0, True),
        ]
        values = [
            row[0] for split in splits for row in service.get(f"/v1/datasets/{split['id']}/rows?limit=40")["data"]
        ]
        assert sorted(values) == list(range(40))
        assert service.http.delete(f"/v1/datasets/{dataset['id']}").status_code == 204


def test_unlabeled_dataset_is_rejected_where_targets_are_needed(
    service: RunningService, people: tuple[str, str]
) -> None:
    network, table = people
    rows = post_dataset(service, files={"file": ("rows.csv", TABLE)}, data=UNLABELED)["id"]
    before = service.get("/v1/jobs?limit=1")
    job = {"network_id": network, "epochs": 1}
    for path, body, field in (
        ("/v1/jobs", {**job, "dataset_id": rows}, "dataset_id"),
        ("/v1/jobs", {**job, "dataset_id": table, "validation": {"dataset_id": rows}}, "validation.dataset_id"),
        (f"/v1/networks/{network}/evaluations", {"dataset_id": rows}, "dataset_id"),
    ):
        (error,) = service.post(path, body, 422)["errors"]
        assert error["field"] == field
        assert "The dataset is unlabeled" in error["message"]
        assert "with targets or labels is needed here" in error["message"]
    assert service.get("/v1/jobs?limit=1") == before


@pytest.mark.parametrize(
    ("request_arguments", "field"),
    [
        *(
            ({"files": {"file": ("rows.csv", TABLE)}, "data": {**UNLABELED, option: value}}, option)
            for option, value in (
                ("target", "age"),
                ("label", "job"),
                ("weight", "age"),
                ("classes", "a,b"),
                ("imputation", "mean"),
                ("constants", '{"age": 1}'),
            )
        ),
        *(
            ({"files": {"inputs": to_npy(INPUTS), field: to_npy([1, 2, 3])}, "data": UNLABELED}, field)
            for field in ("targets", "labels", "weights")
        ),
        *(
            ({"json": {"inputs": INPUTS, "unlabeled": True, field: value}}, field)
            for field, value in (
                ("targets", [[1], [2], [3]]),
                ("labels", ["a", "b", "a"]),
                ("classes", ["a", "b"]),
                ("weights", [1, 1, 1]),
            )
        ),
        ({"files": {"file": ("x.npz", to_npz(inputs=INPUTS, labels=[1, 2, 1]))}, "data": UNLABELED}, "labels"),
        ({"json": {"rows": ROWS, "unlabeled": True, "label": "job"}}, "label"),
        ({"json": {"upload": "rows", "unlabeled": True, "target": "age"}}, "target"),
        ({"content": TABLE, "headers": {"content-type": "text/csv"}, "params": {**UNLABELED, "label": "job"}}, "label"),
        ({"files": {"file": ("rows.csv", TABLE)}, "data": {"unlabeled": "perhaps"}}, "unlabeled"),
        ({"json": {"inputs": INPUTS, "unlabeled": "true"}}, "unlabeled"),
    ],
)
def test_targets_in_an_unlabeled_dataset_are_rejected(
    service: RunningService, request_arguments: dict[str, Any], field: str
) -> None:
    before = service.get("/v1/datasets?limit=1")
    (error,) = post_dataset(service, 422, **request_arguments)["errors"]
    assert error["field"] == field
    assert "unlabeled" in error["message"] or field == "unlabeled"
    assert service.get("/v1/datasets?limit=1") == before


@pytest.mark.parametrize(
    ("request_arguments", "field"),
    [
        ({"files": {"file": ("rows.csv", TABLE)}}, "target"),
        ({"files": {"file": ("rows.csv", TABLE)}, "data": {"unlabeled": "false"}}, "target"),
        ({"files": {"inputs": to_npy(INPUTS)}}, "file"),
        ({"files": {"file": ("x.npz", to_npz(inputs=INPUTS))}}, "targets"),
        ({"json": {"inputs": INPUTS}}, "targets"),
    ],
)
def test_missing_targets_error_mentions_unlabeled(
    service: RunningService, request_arguments: dict[str, Any], field: str
) -> None:
    (error,) = post_dataset(service, 422, **request_arguments)["errors"]
    assert error["field"] == field
    assert "unlabeled=true" in error["message"]


def test_unlabeled_datasets_survive_a_crash(start_service: StartService) -> None:
    service = start_service()
    service.wait_until_ready()
    dataset = post_dataset(service, json={"name": "rows", "inputs": INPUTS, "unlabeled": True})
    opened = post_dataset(service, json={"upload": "rows", "unlabeled": True})["id"]
    service.kill()
    service.start()
    service.wait_until_ready()
    assert service.get("/v1/datasets/rows") == dataset
    assert service.http.post(
        f"/v1/datasets/{opened}/rows", content=TABLE, headers={"content-type": "text/csv"}
    ).is_success
    assert service.post(f"/v1/datasets/{opened}/close")["unlabeled"]
    network = scenarios.create_network(service)["id"]
    outputs = np.array(predict_dataset(service, network, dataset["id"]), np.float32)
    assert outputs.tobytes() == predict_npy(service, network, np.array(INPUTS)).tobytes()
    with Client(service.url, timeout=TIMEOUT_SECONDS) as client, pytest.raises(StatusError, match="is unlabeled"):
        client.create_job(network, "rows", epochs=1, learning_rate=1.0)
