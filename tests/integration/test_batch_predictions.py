"""Batch predictions: the content of their files in all formats, rejected requests, and errors in rows."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from nabla.app.client import Client, StatusError
from tests.conftest import StartService
from tests.integration.test_predictions import WIDE
from tests.support import scenarios
from tests.support.batch_predictions import (
    download_predictions,
    list_batch_directories,
    predict_npy,
    run_batch_prediction,
    start_batch_prediction,
    wait_for_batch_prediction,
)
from tests.support.datasets import post_dataset, to_npy
from tests.support.service import RunningService

# More than one block of a file.
ROWS = 70_000
X = np.random.default_rng(5).normal(size=(ROWS, 20)).astype(np.float32)
CLASSES = ["a, b", 'c"d', "é"]
PEOPLE = b"""age,job,pays
31,clerk,1.5
52,smith,20000
,smith,3
44,,4
"""


def read_columns(format: str, content: bytes) -> dict[str, list[Any]]:
    """Return the columns of a table; those of CSV as text."""
    match format:
        case "csv":
            names, *rows = csv.reader(io.StringIO(content.decode(), newline=""))
            return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
        case "parquet":
            return dict(pyarrow.parquet.read_table(io.BytesIO(content)).to_pydict())
        case _:
            return dict(pa.ipc.open_file(content).read_all().to_pydict())


@pytest.fixture(scope="module")
def three_classes(service: RunningService) -> tuple[str, str]:
    """Return the ids of a network trained on three classes, and of its dataset."""
    network = scenarios.create_network(service, **WIDE)["id"]
    labels = np.array([row % 3 for row in range(ROWS)])
    files = {"inputs": ("x.npy", to_npy(X)), "labels": ("y.npy", to_npy(np.array(CLASSES)[labels]))}
    dataset = post_dataset(service, files=files)["id"]
    job = scenarios.submit_job(
        service, network_id=network, dataset_id=dataset, epochs=1, batch_size=1000, learning_rate=0.1
    )
    assert service.wait_for_job(job["id"]).state == "succeeded"
    return network, dataset


@pytest.mark.parametrize("format", ["csv", "parquet", "arrow"])
def test_table_matches_ordinary_predictions_bitwise(
    service: RunningService, three_classes: tuple[str, str], format: str
) -> None:
    expected = predict_npy(service, three_classes[0], X)
    for row in (0, 1, 65_535, 65_536, ROWS - 1):
        assert predict_npy(service, three_classes[0], X[row : row + 1]).tobytes() == expected[row].tobytes()
    table = read_columns(format, run_batch_prediction(service, *three_classes, format=format, probabilities=True))
    outputs = [f"output_{number}" for number in (1, 2, 3)]
    assert [*table] == [*outputs, "label", *(f"probability_{name}" for name in CLASSES)]
    for names in (outputs, [f"probability_{name}" for name in CLASSES]):
        values = np.array([table[name] for name in names], np.float64).astype(np.float32).T
        assert values.tobytes() == expected.tobytes()
    assert table["label"] == [CLASSES[code] for code in expected.argmax(axis=1)]
    plain = read_columns(format, run_batch_prediction(service, *three_classes, format=format))
    assert plain == {name: column for name, column in table.items() if not name.startswith("probability")}


def test_array_matches_ordinary_predictions_bitwise(service: RunningService, three_classes: tuple[str, str]) -> None:
    outputs = np.load(io.BytesIO(run_batch_prediction(service, *three_classes, format="npy")))
    assert outputs.dtype == np.float32
    assert outputs.tobytes() == predict_npy(service, three_classes[0], X).tobytes()


def test_two_classes_with_one_output(service: RunningService) -> None:
    network, dataset = scenarios.create_network(service)["id"], scenarios.create_dataset(service)["id"]
    job = scenarios.submit_job(service, network_id=network, dataset_id=dataset)
    assert service.wait_for_job(job["id"]).state == "succeeded"
    response = service.post(
        f"/v1/networks/{network}/predictions", {"inputs": scenarios.XOR_INPUTS, "probabilities": True}
    )
    content = run_batch_prediction(service, network, dataset, format="npy", probabilities=True)
    assert np.load(io.BytesIO(content)).tolist() == response["probabilities"]
    table = read_columns("arrow", run_batch_prediction(service, network, dataset, format="arrow", probabilities=True))
    assert table == {
        "output_1": [row[0] for row in response["outputs"]],
        "label": response["labels"],
        "probability_no": [row[0] for row in response["probabilities"]],
        "probability_yes": [row[1] for row in response["probabilities"]],
    }
    content = run_batch_prediction(service, network, dataset, version=0)
    assert [*read_columns("csv", content)] == ["output_1"]


@pytest.fixture(scope="module")
def people(service: RunningService) -> tuple[str, str]:
    """Return the ids of a network trained on a table with scaled inputs and targets, and of that dataset."""
    options = {"target": "pays", "imputation": '{"age": "mean", "job": "most_frequent"}'}
    dataset = post_dataset(service, files={"file": ("people.csv", PEOPLE)}, data=options)
    network = scenarios.create_network(
        service,
        inputs=dataset["inputs"],
        cost="quadratic",
        layers=[{"units": 4, "activation": "tanh"}, {"units": 1, "activation": "identity"}],
        preprocessing={"inputs": "standardize", "targets": "standardize"},
    )["id"]
    job = scenarios.submit_job(service, network_id=network, dataset_id=dataset["id"], epochs=50, learning_rate=0.1)
    assert service.wait_for_job(job["id"]).state == "succeeded"
    return network, dataset["id"]


def test_table_is_preprocessed_as_the_version_was_fitted(service: RunningService, people: tuple[str, str]) -> None:
    rows = [
        {"age": 31, "job": "clerk"},
        {"age": 52, "job": "smith"},
        {"age": None, "job": "smith"},
        {"age": 44, "job": None},
    ]
    expected = service.post(f"/v1/networks/{people[0]}/predictions", {"rows": rows})["outputs"]
    outputs = np.load(io.BytesIO(run_batch_prediction(service, *people, format="npy")))
    assert outputs.dtype == np.float64
    assert outputs.tolist() == expected
    table = read_columns("csv", run_batch_prediction(service, *people))
    assert [[float(value)] for value in table["output_1"]] == expected


def test_tag_is_resolved_when_the_request_arrives(service: RunningService) -> None:
    network, dataset = scenarios.create_network(service)["id"], scenarios.create_dataset(service)["id"]
    tags = f"/v1/networks/{network}/tags"
    assert service.http.put(f"{tags}/production", json={"version": 0}).is_success
    batch = start_batch_prediction(service, network, dataset, version="production", format="npy")
    job = scenarios.submit_job(service, network_id=network, dataset_id=dataset)
    assert service.wait_for_job(job["id"]).state == "succeeded"
    assert service.http.put(f"{tags}/production", json={"version": 1}).is_success
    outputs = np.load(io.BytesIO(download_predictions(service, batch))).tolist()
    path = f"/v1/networks/{network}/predictions"
    assert outputs == service.post(path, {"inputs": scenarios.XOR_INPUTS, "version": 0})["outputs"]
    assert wait_for_batch_prediction(service, batch).version == 0


def test_invalid_request_is_rejected_before_anything_is_stored(
    service: RunningService, three_classes: tuple[str, str], people: tuple[str, str]
) -> None:
    xor = scenarios.create_dataset(service)["id"]
    other = post_dataset(
        service,
        files={"file": ("other.csv", PEOPLE.replace(b"job", b"trade"))},
        data={"target": "pays", "imputation": "mean"},
    )
    untrained = scenarios.create_network(service, preprocessing={"inputs": "standardize"})["id"]
    opened = service.post("/v1/datasets", {"upload": "rows", "target": "y"}, 201)["id"]
    before = service.get("/v1/batch-predictions?limit=1"), list_batch_directories(service)
    for network, body, status, field in (
        (three_classes[0], {"dataset_id": xor}, 422, "dataset_id"),
        (three_classes[0], {"dataset_id": people[1]}, 422, "dataset_id"),
        (people[0], {"dataset_id": other["id"]}, 422, "dataset_id"),
        (people[0], {"dataset_id": people[1], "probabilities": True}, 422, "probabilities"),
        (three_classes[0], {"dataset_id": three_classes[1], "version": 0, "probabilities": True}, 422, "probabilities"),
        (three_classes[0], {"dataset_id": three_classes[1], "format": "xlsx"}, 422, "format"),
        (three_classes[0], {"dataset_id": three_classes[1], "name": "bp_x"}, 422, "name"),
        (three_classes[0], {"dataset_id": three_classes[1], "colour": 1}, 422, "colour"),
        (three_classes[0], {}, 422, "dataset_id"),
        (three_classes[0], {"dataset_id": "nothing"}, 404, "dataset_id"),
        (three_classes[0], {"dataset_id": three_classes[1], "version": 7}, 404, "version"),
        ("nothing", {"dataset_id": xor}, 404, None),
        (untrained, {"dataset_id": xor}, 409, None),
        (three_classes[0], {"dataset_id": opened}, 409, None),
    ):
        problem = service.post(f"/v1/networks/{network}/batch-predictions", body, status)
        assert [error["field"] for error in problem["errors"]] == ([field] if field else []), problem
    assert (service.get("/v1/batch-predictions?limit=1"), list_batch_directories(service)) == before
    assert service.http.delete(f"/v1/datasets/{opened}").status_code == 204
    assert service.http.get("/v1/batch-predictions/nothing").json()["type"] == "/problems/unknown-batch-prediction"


def test_listing_lookup_by_name_and_deletion(service: RunningService, three_classes: tuple[str, str]) -> None:
    first = start_batch_prediction(service, *three_classes, name="twice")
    second = start_batch_prediction(service, *three_classes, name="twice", format="npy")
    view = wait_for_batch_prediction(service, second)
    assert wait_for_batch_prediction(service, first).state == view.state == "succeeded"
    assert service.get("/v1/batch-predictions/twice")["id"] == second
    page = service.get("/v1/batch-predictions?limit=1")
    assert (page["has_more"], [batch["id"] for batch in page["data"]]) == (True, [second])
    assert service.get(f"/v1/batch-predictions?limit=1&after={second}")["data"][0]["id"] == first
    response = service.http.get("/v1/batch-predictions/twice/file")
    assert response.headers["content-type"] == "application/x-npy"
    assert response.headers["content-disposition"] == 'attachment; filename="twice.npy"'
    cancelled = service.http.post(f"/v1/batch-predictions/{first}/cancel").json()
    assert cancelled["detail"].startswith("The batch prediction is succeeded")
    for batch in (first, second):
        assert batch in list_batch_directories(service)
        assert service.http.delete(f"/v1/batch-predictions/{batch}").status_code == 204
        assert service.http.get(f"/v1/batch-predictions/{batch}/file").status_code == 404
        assert batch not in list_batch_directories(service)


def test_client_downloads_only_complete_files(
    service: RunningService, three_classes: tuple[str, str], tmp_path: Path
) -> None:
    with Client(service.url) as client:
        batch = client.get_network(three_classes[0]).predict_dataset(three_classes[1], format="npy").wait()
        path = batch.download(tmp_path / "outputs.npy")
        assert np.load(path).tobytes() == predict_npy(service, three_classes[0], X).tobytes()
        batch.delete()
        with pytest.raises(StatusError, match="There is no batch-prediction"):
            batch.download(tmp_path / "gone.npy")
    assert [file.name for file in tmp_path.iterdir()] == ["outputs.npy"]


def test_row_that_cannot_be_preprocessed_is_named(service: RunningService, people: tuple[str, str]) -> None:
    table = b"age,job,pays\n" + b"31,clerk,1\n" * (ROWS - 1) + b"31,baker,2\n"
    options = {"target": "pays", "types": '{"job": "category"}'}
    dataset = post_dataset(service, files={"file": ("bakers.csv", table)}, data=options)["id"]
    before = list_batch_directories(service)
    view = wait_for_batch_prediction(service, start_batch_prediction(service, people[0], dataset))
    assert view.error is not None
    assert (view.state, view.error.kind) == ("failed", "invalid_data")
    assert f"Row {ROWS} has an unknown value in the column 'job'; the categories learned are" in view.error.message
    assert list_batch_directories(service) == before


def test_outputs_that_are_not_finite_are_an_error(service: RunningService) -> None:
    layers = [{"units": 1, "activation": "identity"}] * 20
    network = scenarios.create_network(
        service, inputs=1, cost="quadratic", layers=layers, initializer="standard_normal"
    )["id"]
    dataset = scenarios.create_dataset(service, inputs=[[1.0], [3e38]], labels=None, targets=[[1.0], [2.0]])["id"]
    view = wait_for_batch_prediction(service, start_batch_prediction(service, network, dataset))
    assert view.error is not None
    assert (view.state, view.error.kind) == ("failed", "invalid_data")
    assert "too large" in view.error.message


@pytest.mark.parametrize("format", ["npy", "parquet"])
def test_file_larger_than_the_memory_limit(start_service: StartService, format: str) -> None:
    service = start_service(task_memory_limit=str(2**28), max_parameters="1000")
    layers = [{"units": 64, "activation": "sin"}]
    network = scenarios.create_network(service, inputs=1, dtype="float64", cost="quadratic", layers=layers)["id"]
    x = np.random.default_rng(7).normal(size=(600_000, 1))
    targets = np.zeros((len(x), 64), np.float32)
    dataset = post_dataset(service, files={"inputs": ("x.npy", to_npy(x)), "targets": ("y.npy", to_npy(targets))})["id"]
    batch = start_batch_prediction(service, network, dataset, format=format)
    view = wait_for_batch_prediction(service, batch)
    assert (view.state, view.error) == ("succeeded", None)
    assert view.bytes is not None
    assert view.bytes > 2**28
    file = next((service.data_dir / "batches" / batch).iterdir())
    expected = predict_npy(service, network, x[-1000:])
    if format == "npy":
        assert np.load(file, mmap_mode="r")[-1000:].tobytes() == expected.tobytes()
    else:
        last = pyarrow.parquet.ParquetFile(file)
        table = last.read_row_group(last.num_row_groups - 1)
        assert np.array([column[-1000:] for column in table.to_pydict().values()]).T.tobytes() == expected.tobytes()


def test_owned_datasets_are_deleted_with_their_batch_prediction(service: RunningService) -> None:
    network = scenarios.create_network(service)["id"]
    uploaded, used = (scenarios.create_dataset(service)["id"] for _ in range(2))
    batch = start_batch_prediction(service, network, uploaded, owned_datasets=[uploaded, used])
    assert service.get(f"/v1/batch-predictions/{batch}")["owned_datasets"] == [uploaded, used]
    download_predictions(service, batch)
    job = scenarios.submit_endless_job(service, network_id=network, dataset_id=used)["id"]
    assert service.http.delete(f"/v1/batch-predictions/{batch}").status_code == 204
    assert service.http.get(f"/v1/datasets/{uploaded}").status_code == 404
    assert service.get(f"/v1/datasets/{used}")["id"] == used  # the job needs it
    service.post(f"/v1/jobs/{job}/cancel")
    request = {"dataset_id": used, "owned_datasets": ["missing"]}
    response = service.http.post(f"/v1/networks/{network}/batch-predictions", json=request)
    assert (response.status_code, response.json()["errors"][0]["field"]) == (404, "owned_datasets.0")
