"""Datasets of rows without answers: how they come in, what they are good for, and where they are refused."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_wine

from nabla.app.client import Client, ServiceError
from tests.conftest import StartService
from tests.integration.test_datasets import npy, npz
from tests.integration.test_uploads import create
from tests.support import scenarios
from tests.support.batch_predictions import begun, ended, file_of, single
from tests.support.service import PATIENCE, RunningService

UNLABELED = {"unlabeled": "true"}
ROWS = [{"age": 31, "job": "clerk"}, {"age": 52, "job": "smith"}, {"age": None, "job": "smith"}]
TABLE = b"job,age\nclerk,31\nsmith,52\nsmith,\n"
INPUTS = [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
NUMBERS = [{"units": 4, "activation": "tanh"}, {"units": 1, "activation": "identity"}]


def outputs(service: RunningService, network: str, dataset: str) -> list[list[float]]:
    found = np.load(io.BytesIO(file_of(service, begun(service, network, dataset, format="npy"))))
    return [list(map(float, row)) for row in found]


def learned(service: RunningService, **preprocessing: str) -> tuple[str, str]:
    """A network that has learned numbers from a table with missing values, and that table."""
    options = {"target": "pays", "imputation": '{"age": "mean", "job": "most_frequent"}'}
    table = b"age,job,pays\n31,clerk,1.5\n52,smith,20\n,smith,3\n44,,4\n"
    dataset = create(service, files={"file": ("people.csv", table)}, data=options)
    rule = {"inputs": "standardize", "targets": "standardize", **preprocessing}
    network = scenarios.network(service, inputs=dataset["inputs"], cost="quadratic", layers=NUMBERS, preprocessing=rule)
    job = scenarios.job(service, network_id=network["id"], dataset_id=dataset["id"], epochs=50, learning_rate=0.1)
    assert service.finished(job["id"]).state == "succeeded"
    return network["id"], dataset["id"]


@pytest.fixture(scope="module")
def people(service: RunningService) -> tuple[str, str]:
    return learned(service)


def test_wine_without_its_kind_is_predicted_as_by_rows(service: RunningService) -> None:
    x, y = load_wine(return_X_y=True)
    names = [f"x{column}" for column in range(x.shape[1])]
    columns = {name: pa.array(values) for name, values in zip(names, x.T, strict=True)}
    with Client(service.url, timeout=PATIENCE) as client:
        trained_on = client.upload(pa.table({**columns, "kind": y}), label="kind").view
        network = scenarios.network(
            service,
            inputs=13,
            cost="categorical_cross_entropy",
            layers=[{"units": 8, "activation": "tanh"}, {"units": 3, "activation": "softmax"}],
            preprocessing={"inputs": "standardize"},
        )["id"]
        job = scenarios.job(service, network_id=network, dataset_id=trained_on.id, epochs=20, batch_size=16)
        assert service.finished(job["id"]).state == "succeeded"
        rows = client.upload(pa.table({name: columns[name] for name in reversed(names)}), unlabeled=True).view
    assert (rows.targets, rows.classes, rows.target_columns, rows.unlabeled) == (0, None, None, True)
    assert not trained_on.unlabeled
    given = [dict(zip(names, map(float, row), strict=True)) for row in x]
    expected = service.post(f"/v1/networks/{network}/predictions", {"rows": given})
    assert outputs(service, network, rows.id) == expected["outputs"]
    assert outputs(service, network, trained_on.id) == expected["outputs"]
    lines = io.StringIO(file_of(service, begun(service, network, rows.id)).decode())
    assert [line["label"] for line in csv.DictReader(lines)] == expected["labels"]


def test_a_network_fills_what_is_missing(service: RunningService, people: tuple[str, str]) -> None:
    made = create(service, files={"file": ("rows.csv", TABLE)}, data=UNLABELED)
    assert [(column["name"], column["missing"], column["imputation"]) for column in made["columns"]] == [
        ("job", 0, None),
        ("age", 1, None),
    ]
    expected = service.post(f"/v1/networks/{people[0]}/predictions", {"rows": ROWS})["outputs"]
    assert outputs(service, people[0], made["id"]) == expected
    nothing = create(
        service,
        files={"file": ("rows.csv", b"job,age\n,31\n,52\n")},
        data={**UNLABELED, "types": json.dumps({"job": "category"})},
    )
    rows = [{"age": 31, "job": None}, {"age": 52, "job": None}]
    expected = service.post(f"/v1/networks/{people[0]}/predictions", {"rows": rows})["outputs"]
    assert outputs(service, people[0], nothing["id"]) == expected


def test_what_a_network_cannot_fill_is_said(service: RunningService) -> None:
    dataset = create(service, files={"file": ("full.csv", b"age,pays\n31,1\n52,2\n")}, data={"target": "pays"})["id"]
    network = scenarios.network(service, inputs=1, cost="quadratic", layers=NUMBERS)["id"]
    job = scenarios.job(service, network_id=network, dataset_id=dataset, epochs=1)
    assert service.finished(job["id"]).state == "succeeded"
    rows = create(service, files={"file": ("rows.csv", b'age\n31\n""\n')}, data=UNLABELED)["id"]
    view = ended(service, begun(service, network, rows))
    assert view.error is not None
    assert (view.state, view.error.kind) == ("failed", "invalid_data")
    assert view.error.message.startswith("Row 2 has no value in the column 'age'")


@pytest.mark.parametrize("handle_unknown", ["error", "ignore"])
def test_a_category_that_was_not_learned_is_what_the_network_says(service: RunningService, handle_unknown: str) -> None:
    network, _ = learned(service, handle_unknown=handle_unknown)
    rows = create(service, files={"file": ("rows.csv", b"age,job\n31,baker\n")}, data=UNLABELED)["id"]
    if handle_unknown == "ignore":
        given = {"rows": [{"age": 31, "job": "baker"}]}
        assert outputs(service, network, rows) == service.post(f"/v1/networks/{network}/predictions", given)["outputs"]
        return
    view = ended(service, begun(service, network, rows))
    assert view.error is not None
    assert "Row 1 has in the column 'job' a value that is none of the categories" in view.error.message


def test_columns_that_do_not_fit_are_named(service: RunningService, people: tuple[str, str]) -> None:
    path = f"/v1/networks/{people[0]}/batch-predictions"
    for table, words in (
        (b"age\n31\n", "it has no column 'job'"),
        (b"age,job,pays\n31,clerk,2\n", "it also has a column 'pays'"),
        (b"age,job\nold,clerk\n", "its column 'age' is a category"),
    ):
        rows = create(service, files={"file": ("rows.csv", table)}, data=UNLABELED)["id"]
        (error,) = service.post(path, {"dataset_id": rows}, 422)["errors"]
        assert error["field"] == "dataset_id"
        assert words in error["message"]
    numbers = scenarios.dataset(service, inputs=INPUTS, labels=None, unlabeled=True)["id"]
    service.post(path, {"dataset_id": numbers}, 422)
    xor = scenarios.network(service)["id"]
    wide = scenarios.dataset(service, inputs=[[1.0, 2.0, 3.0]], labels=None, unlabeled=True)["id"]
    (error,) = service.post(f"/v1/networks/{xor}/batch-predictions", {"dataset_id": wide}, 422)["errors"]
    assert error["message"] == "The network has 2 inputs, the dataset 3."
    untrained = scenarios.network(service, preprocessing={"inputs": "standardize"})["id"]
    service.post(f"/v1/networks/{untrained}/batch-predictions", {"dataset_id": numbers}, 409)


@pytest.mark.parametrize(
    "request_",
    [
        {"files": {"inputs": ("x.npy", npy(INPUTS))}, "data": UNLABELED},
        {"files": {"file": ("x.npz", npz(inputs=INPUTS))}, "data": UNLABELED},
        {"files": {"file": ("x.json", json.dumps({"inputs": INPUTS}).encode())}, "data": UNLABELED},
        {"json": {"inputs": INPUTS, "unlabeled": True}},
    ],
)
def test_inputs_alone(service: RunningService, request_: dict[str, Any]) -> None:
    made = create(service, **request_)
    assert (made["rows"], made["inputs"], made["targets"], made["classes"]) == (3, 2, 0, None)
    assert (made["unlabeled"], made["weighted"]) == (True, False)
    network = scenarios.network(service)["id"]
    found = np.array(outputs(service, network, made["id"]), np.float32)
    assert found.tobytes() == single(service, network, np.array(INPUTS)).tobytes()
    rows = service.get(f"/v1/datasets/{made['id']}/rows")
    assert [column["role"] for column in rows["columns"]] == ["feature", "feature"]
    assert rows["data"] == INPUTS


@pytest.mark.parametrize(
    "request_",
    [
        {"files": {"file": ("rows.csv", TABLE)}, "data": UNLABELED},
        {"content": TABLE, "headers": {"content-type": "text/csv"}, "params": UNLABELED},
        {"json": {"rows": ROWS, "unlabeled": True}},
    ],
)
def test_tables(service: RunningService, people: tuple[str, str], request_: dict[str, Any]) -> None:
    made = create(service, **request_)
    assert (made["rows"], made["targets"], made["target_columns"], made["unlabeled"]) == (3, 0, None, True)
    expected = service.post(f"/v1/networks/{people[0]}/predictions", {"rows": ROWS})["outputs"]
    assert outputs(service, people[0], made["id"]) == expected


def test_in_several_requests(service: RunningService, people: tuple[str, str], tmp_path: Path) -> None:
    expected = service.post(f"/v1/networks/{people[0]}/predictions", {"rows": ROWS})["outputs"]
    path = tmp_path / "rows.csv"
    path.write_bytes(TABLE)
    with Client(service.url, timeout=PATIENCE) as client:
        opened = client.open_dataset("file", unlabeled=True)
        assert (opened.outputs, opened.view.unlabeled) == (None, True)
        opened.send_chunks(path, bytes_of_a_part=10)
        assert outputs(service, people[0], opened.close().id) == expected
        opened = client.open_dataset("rows", unlabeled=True)
        for line in TABLE.splitlines()[1:]:
            path.write_bytes(b"job,age\n" + line + b"\n")
            opened.append(path)
        assert outputs(service, people[0], opened.close().id) == expected
        made = client.upload_arrays(inputs=np.array(INPUTS), unlabeled=True).view
        assert (made.rows, made.unlabeled) == (3, True)


def test_looked_at_divided_deleted(service: RunningService) -> None:
    table = b"a,b\n" + b"".join(b"%d,5000\n" % row for row in range(40))
    made = create(service, files={"file": ("splits.csv", table)}, data=UNLABELED)
    again = create(service, files={"file": ("splits.csv", table)}, data=UNLABELED)
    other = create(service, files={"file": ("splits.csv", table)}, data={"target": "b"})
    assert made["sha256"] == again["sha256"] != other["sha256"]
    assert service.get("/v1/datasets?limit=2")["data"][1] == again
    for dataset in (made, create(service, json={"inputs": [[row, 5000] for row in range(40)], "unlabeled": True})):
        profile = service.get(f"/v1/datasets/{dataset['id']}/profile")
        assert [column["role"] for column in profile["columns"]] == ["feature", "feature"]
        assert (profile["classes"], profile["warnings"]) == (None, [])
        parts = service.post(
            f"/v1/datasets/{dataset['id']}/split",
            {"splits": [{"name": "most", "share": 0.75}, {"name": "rest", "share": 0.25}]},
        )["data"]
        assert [(part["rows"], part["targets"], part["unlabeled"]) for part in parts] == [(30, 0, True), (10, 0, True)]
        kept = [row[0] for part in parts for row in service.get(f"/v1/datasets/{part['id']}/rows?limit=40")["data"]]
        assert sorted(kept) == list(range(40))
        assert service.http.delete(f"/v1/datasets/{dataset['id']}").status_code == 204


def test_refused_where_answers_are_needed(service: RunningService, people: tuple[str, str]) -> None:
    network, table = people
    rows = create(service, files={"file": ("rows.csv", TABLE)}, data=UNLABELED)["id"]
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
    ("request_", "field"),
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
            ({"files": {"inputs": npy(INPUTS), field: npy([1, 2, 3])}, "data": UNLABELED}, field)
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
        ({"files": {"file": ("x.npz", npz(inputs=INPUTS, labels=[1, 2, 1]))}, "data": UNLABELED}, "labels"),
        ({"json": {"rows": ROWS, "unlabeled": True, "label": "job"}}, "label"),
        ({"json": {"upload": "rows", "unlabeled": True, "target": "age"}}, "target"),
        ({"content": TABLE, "headers": {"content-type": "text/csv"}, "params": {**UNLABELED, "label": "job"}}, "label"),
        ({"files": {"file": ("rows.csv", TABLE)}, "data": {"unlabeled": "perhaps"}}, "unlabeled"),
        ({"json": {"inputs": INPUTS, "unlabeled": "true"}}, "unlabeled"),
    ],
)
def test_answers_and_none_at_once_are_refused(service: RunningService, request_: dict[str, Any], field: str) -> None:
    before = service.get("/v1/datasets?limit=1")
    (error,) = create(service, 422, **request_)["errors"]
    assert error["field"] == field
    assert "unlabeled" in error["message"] or field == "unlabeled"
    assert service.get("/v1/datasets?limit=1") == before


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"files": {"file": ("rows.csv", TABLE)}}, "target"),
        ({"files": {"file": ("rows.csv", TABLE)}, "data": {"unlabeled": "false"}}, "target"),
        ({"files": {"inputs": npy(INPUTS)}}, "file"),
        ({"files": {"file": ("x.npz", npz(inputs=INPUTS))}}, "targets"),
        ({"json": {"inputs": INPUTS}}, "targets"),
    ],
)
def test_who_forgot_the_answers_is_told_of_both_ways(
    service: RunningService, request_: dict[str, Any], field: str
) -> None:
    (error,) = create(service, 422, **request_)["errors"]
    assert error["field"] == field
    assert "unlabeled=true" in error["message"]


def test_kept_across_a_restart(start_service: StartService) -> None:
    service = start_service()
    service.ready()
    made = create(service, json={"name": "rows", "inputs": INPUTS, "unlabeled": True})
    opened = create(service, json={"upload": "rows", "unlabeled": True})["id"]
    service.kill()
    service.start()
    service.ready()
    assert service.get("/v1/datasets/rows") == made
    assert service.http.post(
        f"/v1/datasets/{opened}/rows", content=TABLE, headers={"content-type": "text/csv"}
    ).is_success
    assert service.post(f"/v1/datasets/{opened}/close")["unlabeled"]
    network = scenarios.network(service)["id"]
    found = np.array(outputs(service, network, made["id"]), np.float32)
    assert found.tobytes() == single(service, network, np.array(INPUTS)).tobytes()
    with Client(service.url, timeout=PATIENCE) as client, pytest.raises(ServiceError, match="is unlabeled"):
        client.create_job(network, "rows", epochs=1, learning_rate=1.0)
