"""Datasets predicted into files: what is in them, and what is refused."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from nabla.app.client import Client, ServiceError
from tests.conftest import StartService
from tests.integration.test_datasets import npy
from tests.integration.test_predictions import WIDE
from tests.integration.test_uploads import create
from tests.support import scenarios
from tests.support.batch_predictions import begun, ended, file_of, left, single
from tests.support.service import RunningService

# More than a block of the file.
ROWS = 70_000
X = np.random.default_rng(5).normal(size=(ROWS, 20)).astype(np.float32)
CLASSES = ["a, b", 'c"d', "é"]
PEOPLE = b"""age,job,pays
31,clerk,1.5
52,smith,20000
,smith,3
44,,4
"""


def table_in(format: str, content: bytes) -> dict[str, list[Any]]:
    """Column by column; what CSV has not is its reader's business."""
    match format:
        case "csv":
            names, *rows = csv.reader(io.StringIO(content.decode(), newline=""))
            return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
        case "parquet":
            return dict(pyarrow.parquet.read_table(io.BytesIO(content)).to_pydict())
        case _:
            return dict(pa.ipc.open_file(content).read_all().to_pydict())


@pytest.fixture(scope="module")
def three(service: RunningService) -> tuple[str, str]:
    """A network that has learned three classes, and a dataset for it."""
    network = scenarios.network(service, **WIDE)["id"]
    labels = np.array([place % 3 for place in range(ROWS)])
    files = {"inputs": ("x.npy", npy(X)), "labels": ("y.npy", npy(np.array(CLASSES)[labels]))}
    dataset = create(service, files=files)["id"]
    job = scenarios.job(service, network_id=network, dataset_id=dataset, epochs=1, batch_size=1000, learning_rate=0.1)
    assert service.finished(job["id"]).state == "succeeded"
    return network, dataset


@pytest.mark.parametrize("format", ["csv", "parquet", "arrow"])
def test_a_table_has_the_bits_of_single_predictions_row_by_row(
    service: RunningService, three: tuple[str, str], format: str
) -> None:
    expected = single(service, three[0], X)
    for place in (0, 1, 65_535, 65_536, ROWS - 1):
        assert single(service, three[0], X[place : place + 1]).tobytes() == expected[place].tobytes()
    table = table_in(format, file_of(service, begun(service, *three, format=format, probabilities=True)))
    outputs = [f"output_{number}" for number in (1, 2, 3)]
    assert [*table] == [*outputs, "label", *(f"probability_{name}" for name in CLASSES)]
    for names in (outputs, [f"probability_{name}" for name in CLASSES]):
        found = np.array([table[name] for name in names], np.float64).astype(np.float32).T
        assert found.tobytes() == expected.tobytes()
    assert table["label"] == [CLASSES[code] for code in expected.argmax(axis=1)]
    plain = table_in(format, file_of(service, begun(service, *three, format=format)))
    assert plain == {name: column for name, column in table.items() if not name.startswith("probability")}


def test_an_array_has_the_bits_of_single_predictions(service: RunningService, three: tuple[str, str]) -> None:
    found = np.load(io.BytesIO(file_of(service, begun(service, *three, format="npy"))))
    assert found.dtype == np.float32
    assert found.tobytes() == single(service, three[0], X).tobytes()


def test_two_classes_by_one_output(service: RunningService) -> None:
    network, dataset = scenarios.network(service)["id"], scenarios.dataset(service)["id"]
    job = scenarios.job(service, network_id=network, dataset_id=dataset)
    assert service.finished(job["id"]).state == "succeeded"
    answer = service.post(
        f"/v1/networks/{network}/predictions", {"inputs": scenarios.XOR_INPUTS, "probabilities": True}
    )
    content = file_of(service, begun(service, network, dataset, format="npy", probabilities=True))
    assert np.load(io.BytesIO(content)).tolist() == answer["probabilities"]
    table = table_in("arrow", file_of(service, begun(service, network, dataset, format="arrow", probabilities=True)))
    assert table == {
        "output_1": [row[0] for row in answer["outputs"]],
        "label": answer["labels"],
        "probability_no": [row[0] for row in answer["probabilities"]],
        "probability_yes": [row[1] for row in answer["probabilities"]],
    }
    drawn = file_of(service, begun(service, network, dataset, version=0))
    assert [*table_in("csv", drawn)] == ["output_1"]


@pytest.fixture(scope="module")
def people(service: RunningService) -> tuple[str, str]:
    """A network that has learned numbers from a table, both scaled, and that table."""
    options = {"target": "pays", "imputation": '{"age": "mean", "job": "most_frequent"}'}
    dataset = create(service, files={"file": ("people.csv", PEOPLE)}, data=options)
    network = scenarios.network(
        service,
        inputs=dataset["inputs"],
        cost="quadratic",
        layers=[{"units": 4, "activation": "tanh"}, {"units": 1, "activation": "identity"}],
        preprocessing={"inputs": "standardize", "targets": "standardize"},
    )["id"]
    job = scenarios.job(service, network_id=network, dataset_id=dataset["id"], epochs=50, learning_rate=0.1)
    assert service.finished(job["id"]).state == "succeeded"
    return network, dataset["id"]


def test_a_table_is_prepared_as_the_version_has_learned(service: RunningService, people: tuple[str, str]) -> None:
    rows = [
        {"age": 31, "job": "clerk"},
        {"age": 52, "job": "smith"},
        {"age": None, "job": "smith"},
        {"age": 44, "job": None},
    ]
    expected = service.post(f"/v1/networks/{people[0]}/predictions", {"rows": rows})["outputs"]
    found = np.load(io.BytesIO(file_of(service, begun(service, *people, format="npy"))))
    assert found.dtype == np.float64
    assert found.tolist() == expected
    table = table_in("csv", file_of(service, begun(service, *people)))
    assert [[float(value)] for value in table["output_1"]] == expected


def test_a_version_is_that_of_the_request(service: RunningService) -> None:
    network, dataset = scenarios.network(service)["id"], scenarios.dataset(service)["id"]
    tags = f"/v1/networks/{network}/tags"
    assert service.http.put(f"{tags}/production", json={"version": 0}).is_success
    batch = begun(service, network, dataset, version="production", format="npy")
    job = scenarios.job(service, network_id=network, dataset_id=dataset)
    assert service.finished(job["id"]).state == "succeeded"
    assert service.http.put(f"{tags}/production", json={"version": 1}).is_success
    found = np.load(io.BytesIO(file_of(service, batch))).tolist()
    path = f"/v1/networks/{network}/predictions"
    assert found == service.post(path, {"inputs": scenarios.XOR_INPUTS, "version": 0})["outputs"]
    assert ended(service, batch).version == 0


def test_what_does_not_fit_is_refused_before_anything_is_stored(
    service: RunningService, three: tuple[str, str], people: tuple[str, str]
) -> None:
    xor = scenarios.dataset(service)["id"]
    other = create(
        service,
        files={"file": ("other.csv", PEOPLE.replace(b"job", b"trade"))},
        data={"target": "pays", "imputation": "mean"},
    )
    classes = scenarios.dataset(service, inputs=X[:3].tolist(), labels=["a", "b", "c"])["id"]
    untrained = scenarios.network(service, preprocessing={"inputs": "standardize"})["id"]
    opened = service.post("/v1/datasets", {"upload": "rows", "target": "y"}, 201)["id"]
    before = service.get("/v1/batch-predictions?limit=1"), left(service)
    for network, body, status, field in (
        (three[0], {"dataset_id": xor}, 422, "dataset_id"),
        (three[0], {"dataset_id": people[1]}, 422, "dataset_id"),
        (three[0], {"dataset_id": classes}, 422, "dataset_id"),
        (people[0], {"dataset_id": other["id"]}, 422, "dataset_id"),
        (people[0], {"dataset_id": people[1], "probabilities": True}, 422, "probabilities"),
        (three[0], {"dataset_id": three[1], "version": 0, "probabilities": True}, 422, "probabilities"),
        (three[0], {"dataset_id": three[1], "format": "xlsx"}, 422, "format"),
        (three[0], {"dataset_id": three[1], "name": "bp_x"}, 422, "name"),
        (three[0], {"dataset_id": three[1], "colour": 1}, 422, "colour"),
        (three[0], {}, 422, "dataset_id"),
        (three[0], {"dataset_id": "nothing"}, 404, "dataset_id"),
        (three[0], {"dataset_id": three[1], "version": 7}, 404, "version"),
        ("nothing", {"dataset_id": xor}, 404, None),
        (untrained, {"dataset_id": xor}, 409, None),
        (three[0], {"dataset_id": opened}, 409, None),
    ):
        problem = service.post(f"/v1/networks/{network}/batch-predictions", body, status)
        assert [error["field"] for error in problem["errors"]] == ([field] if field else []), problem
    assert (service.get("/v1/batch-predictions?limit=1"), left(service)) == before
    assert service.http.delete(f"/v1/datasets/{opened}").status_code == 204
    assert service.http.get("/v1/batch-predictions/nothing").json()["type"] == "/problems/unknown-batch-prediction"


def test_listed_found_by_name_deleted(service: RunningService, three: tuple[str, str]) -> None:
    first, second = begun(service, *three, name="twice"), begun(service, *three, name="twice", format="npy")
    view = ended(service, second)
    assert ended(service, first).state == view.state == "succeeded"
    assert service.get("/v1/batch-predictions/twice")["id"] == second
    page = service.get("/v1/batch-predictions?limit=1")
    assert (page["has_more"], [batch["id"] for batch in page["data"]]) == (True, [second])
    assert service.get(f"/v1/batch-predictions?limit=1&after={second}")["data"][0]["id"] == first
    answer = service.http.get("/v1/batch-predictions/twice/file")
    assert answer.headers["content-type"] == "application/x-npy"
    assert answer.headers["content-disposition"] == 'attachment; filename="twice.npy"'
    assert (
        service.http.post(f"/v1/batch-predictions/{first}/cancel")
        .json()["detail"]
        .startswith("The batch prediction is succeeded")
    )
    for batch in (first, second):
        assert batch in left(service)
        assert service.http.delete(f"/v1/batch-predictions/{batch}").status_code == 204
        assert service.http.get(f"/v1/batch-predictions/{batch}/file").status_code == 404
        assert batch not in left(service)


def test_the_client_fetches_a_file_as_a_whole(service: RunningService, three: tuple[str, str], tmp_path: Path) -> None:
    with Client(service.url) as client:
        batch = client.network(three[0]).predict_dataset(three[1], format="npy").wait()
        path = batch.download(tmp_path / "found.npy")
        assert np.load(path).tobytes() == single(service, three[0], X).tobytes()
        batch.delete()
        with pytest.raises(ServiceError, match="There is no batch-prediction"):
            batch.download(tmp_path / "gone.npy")
    assert [file.name for file in tmp_path.iterdir()] == ["found.npy"]


def test_a_row_that_cannot_be_prepared_is_named(service: RunningService, people: tuple[str, str]) -> None:
    table = b"age,job,pays\n" + b"31,clerk,1\n" * (ROWS - 1) + b"31,baker,2\n"
    options = {"target": "pays", "types": '{"job": "category"}'}
    dataset = create(service, files={"file": ("bakers.csv", table)}, data=options)["id"]
    before = left(service)
    view = ended(service, begun(service, people[0], dataset))
    assert view.error is not None
    assert (view.state, view.error.kind) == ("failed", "invalid_data")
    assert f"Row {ROWS} has in the column 'job' a value that is none of the categories" in view.error.message
    assert left(service) == before


def test_rows_that_cannot_be_answered_are_said(service: RunningService) -> None:
    """Their outputs are beyond the finite numbers."""
    layers = [{"units": 1, "activation": "identity"}] * 20
    network = scenarios.network(service, inputs=1, cost="quadratic", layers=layers, initializer="standard_normal")["id"]
    dataset = scenarios.dataset(service, inputs=[[1.0], [3e38]], labels=None, targets=[[1.0], [2.0]])["id"]
    view = ended(service, begun(service, network, dataset))
    assert view.error is not None
    assert (view.state, view.error.kind) == ("failed", "invalid_data")
    assert "too large" in view.error.message


@pytest.mark.parametrize("format", ["npy", "parquet"])
def test_memory_is_bounded(start_service: StartService, format: str) -> None:
    """The file is larger than what the process may take."""
    service = start_service(task_memory_limit=str(2**28), max_parameters="1000")
    layers = [{"units": 64, "activation": "sin"}]
    network = scenarios.network(service, inputs=1, dtype="float64", cost="quadratic", layers=layers)["id"]
    x = np.random.default_rng(7).normal(size=(600_000, 1))
    targets = np.zeros((len(x), 64), np.float32)
    dataset = create(service, files={"inputs": ("x.npy", npy(x)), "targets": ("y.npy", npy(targets))})["id"]
    batch = begun(service, network, dataset, format=format)
    view = ended(service, batch)
    assert (view.state, view.error) == ("succeeded", None)
    assert view.bytes is not None
    assert view.bytes > 2**28
    file = next((service.folder / "batches" / batch).iterdir())
    expected = single(service, network, x[-1000:])
    if format == "npy":
        assert np.load(file, mmap_mode="r")[-1000:].tobytes() == expected.tobytes()
    else:
        last = pyarrow.parquet.ParquetFile(file)
        table = last.read_row_group(last.num_row_groups - 1)
        assert np.array([column[-1000:] for column in table.to_pydict().values()]).T.tobytes() == expected.tobytes()
