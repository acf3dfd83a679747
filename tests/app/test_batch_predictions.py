"""Datasets predicted into files: what is in them, what is refused, and what crashes and damage do to them."""

import csv
import io
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet
import pytest

from app.client import Client, ServiceError
from app.schemas.batches import BatchPredictionView
from tests.app import stories
from tests.app.test_datasets import npy
from tests.app.test_predictions import WIDE
from tests.app.test_uploads import create
from tests.conftest import StartService
from tests.running import PATIENCE, RunningService

# More than a block of the file.
ROWS = 70_000
X = np.random.default_rng(5).normal(size=(ROWS, 20)).astype(np.float32)
CLASSES = ["a, b", 'c"d', "é"]
HIDDEN = [{"units": 256, "activation": "tanh"}, {"units": 256, "activation": "tanh"}]
PEOPLE = b"""age,job,pays
31,clerk,1.5
52,smith,20000
,smith,3
44,,4
"""
Floats = npt.NDArray[np.floating]


def ended(service: RunningService, batch: str) -> BatchPredictionView:
    with Client(service.url, timeout=PATIENCE) as client:
        try:
            return client.predicted(batch)
        except ServiceError:
            return client.batch_prediction(batch)


def begun(service: RunningService, network: str, dataset: str, **fields: Any) -> str:
    path = f"/v1/networks/{network}/batch-predictions"
    return str(service.post(path, {"dataset_id": dataset, **fields}, 202)["id"])


def file_of(service: RunningService, batch: str) -> bytes:
    view = ended(service, batch)
    assert (view.state, view.error, view.rows_done) == ("succeeded", None, view.rows)
    answer = service.http.get(f"/v1/batch-predictions/{batch}/file")
    assert answer.status_code == 200, answer.text
    assert len(answer.content) == view.bytes
    return answer.content


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


def left(service: RunningService) -> list[str]:
    return [path.name for path in (service.folder / "batches").iterdir()]


@pytest.fixture(scope="module")
def three(service: RunningService) -> tuple[str, str]:
    """A network that has learned three classes, and a dataset for it."""
    network = stories.network(service, **WIDE)["id"]
    labels = np.array([place % 3 for place in range(ROWS)])
    files = {"inputs": ("x.npy", npy(X)), "labels": ("y.npy", npy(np.array(CLASSES)[labels]))}
    dataset = create(service, files=files)["id"]
    job = stories.job(service, network_id=network, dataset_id=dataset, epochs=1, batch_size=1000, learning_rate=0.1)
    assert service.finished(job["id"]).state == "succeeded"
    return network, dataset


def single(service: RunningService, network: str, rows: Floats) -> Floats:
    """What predictions answer, as an array."""
    headers = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}
    answer = service.http.post(f"/v1/networks/{network}/predictions", content=npy(rows), headers=headers)
    assert answer.status_code == 200, answer.text
    found: Floats = np.load(io.BytesIO(answer.content))
    return found


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
    network, dataset = stories.network(service)["id"], stories.dataset(service)["id"]
    job = stories.job(service, network_id=network, dataset_id=dataset)
    assert service.finished(job["id"]).state == "succeeded"
    answer = service.post(f"/v1/networks/{network}/predictions", {"inputs": stories.XOR_INPUTS, "probabilities": True})
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
    options = {"target": "pays", "missing": '{"age": "mean", "job": "most_frequent"}'}
    dataset = create(service, files={"file": ("people.csv", PEOPLE)}, data=options)
    network = stories.network(
        service,
        inputs=dataset["inputs"],
        cost="quadratic",
        layers=[{"units": 4, "activation": "tanh"}, {"units": 1, "activation": "identity"}],
        preparation={"inputs": "standardize", "targets": "standardize"},
    )["id"]
    job = stories.job(service, network_id=network, dataset_id=dataset["id"], epochs=50, learning_rate=0.1)
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
    network, dataset = stories.network(service)["id"], stories.dataset(service)["id"]
    tags = f"/v1/networks/{network}/tags"
    assert service.http.put(f"{tags}/production", json={"version": 0}).is_success
    batch = begun(service, network, dataset, version="production", format="npy")
    job = stories.job(service, network_id=network, dataset_id=dataset)
    assert service.finished(job["id"]).state == "succeeded"
    assert service.http.put(f"{tags}/production", json={"version": 1}).is_success
    found = np.load(io.BytesIO(file_of(service, batch))).tolist()
    path = f"/v1/networks/{network}/predictions"
    assert found == service.post(path, {"inputs": stories.XOR_INPUTS, "version": 0})["outputs"]
    assert ended(service, batch).version == 0


def test_what_does_not_fit_is_refused_before_anything_is_stored(
    service: RunningService, three: tuple[str, str], people: tuple[str, str]
) -> None:
    xor = stories.dataset(service)["id"]
    other = create(
        service,
        files={"file": ("other.csv", PEOPLE.replace(b"job", b"trade"))},
        data={"target": "pays", "missing": "mean"},
    )
    classes = stories.dataset(service, inputs=X[:3].tolist(), labels=["a", "b", "c"])["id"]
    untrained = stories.network(service, preparation={"inputs": "standardize"})["id"]
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
        view = client.predicted(client.predict_dataset(*three, format="npy").id)
        path = client.download_predictions(view.id, tmp_path / "found.npy")
        assert np.load(path).tobytes() == single(service, three[0], X).tobytes()
        client.delete_prediction(view.id)
        with pytest.raises(ServiceError, match="There is no batch-prediction"):
            client.download_predictions(view.id, tmp_path / "gone.npy")
    assert [file.name for file in tmp_path.iterdir()] == ["found.npy"]


class Held:
    """A service whose process that predicts datasets stands still, and what there is to predict: of some seconds."""

    def __init__(self, service: RunningService) -> None:
        self.service = service
        layers = [*HIDDEN, {"units": 1, "activation": "identity"}]
        self.network = stories.network(service, inputs=4, cost="quadratic", layers=layers)["id"]
        x = np.random.default_rng(6).normal(size=(300_000, 4)).astype(np.float32)
        files = {"inputs": ("x.npy", npy(x)), "targets": ("y.npy", npy(x[:, :1]))}
        self.dataset = create(service, files=files)["id"]
        targets = [[row[0]] for row in x[:10].tolist()]
        small = stories.dataset(service, inputs=x[:10].tolist(), labels=None, targets=targets)["id"]
        file_of(service, self.begun(small))
        self.small = small
        self.stop()

    def begun(self, dataset: str | None = None) -> str:
        return begun(self.service, self.network, dataset or self.dataset, format="npy")

    @property
    def process(self) -> int:
        deadline = time.monotonic() + PATIENCE
        while not (found := self.service.predictors()):
            assert time.monotonic() < deadline
        return found[0]

    def stop(self) -> None:
        os.kill(self.process, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.process, signal.SIGCONT)

    def state(self, batch: str) -> str:
        return str(self.service.get(f"/v1/batch-predictions/{batch}")["state"])

    def running(self, batch: str) -> None:
        """Wait until it runs."""
        deadline = time.monotonic() + PATIENCE
        while self.state(batch) != "running":
            assert time.monotonic() < deadline

    def in_the_middle(self, batch: str) -> None:
        """Let it get on until something is in its file, and hold it there."""
        self.resume()
        deadline = time.monotonic() + PATIENCE
        while not (self.written() and self.service.get(f"/v1/batch-predictions/{batch}")["rows_done"]):
            assert time.monotonic() < deadline
        self.stop()
        view = self.service.get(f"/v1/batch-predictions/{batch}")
        assert (view["state"], view["rows_done"] < view["rows"]) == ("running", True)
        assert self.written()

    def written(self) -> int:
        """Bytes of a file that is not complete; its name may change meanwhile."""
        with suppress(FileNotFoundError):
            unfinished = (self.service.folder / "batches").glob("**/.unfinished-*/.unfinished-*")
            return sum(path.stat().st_size for path in unfinished)
        return 0


@pytest.fixture
def held(start_service: StartService) -> Iterator[Held]:
    found = Held(start_service(max_batch_predictions="3"))
    yield found
    for process in found.service.predictors():
        os.kill(process, signal.SIGCONT)


def test_what_has_not_ended_keeps_what_it_needs_and_nobody_waiting(held: Held) -> None:
    service = held.service
    assert os.getpriority(os.PRIO_PROCESS, held.process) == 19
    first, second, third = (held.begun() for _ in range(3))
    held.running(first)
    assert [held.state(batch) for batch in (first, second, third)] == ["running", "queued", "queued"]
    refused = service.post(f"/v1/networks/{held.network}/batch-predictions", {"dataset_id": held.small}, 429)
    assert "3 batch predictions wait or run already" in refused["detail"]
    for batch, state in ((first, "running"), (second, "queued")):
        answer = service.http.get(f"/v1/batch-predictions/{batch}/file")
        assert (answer.status_code, f"is {state}; only one" in answer.json()["detail"]) == (409, True)
    for path in (f"/v1/networks/{held.network}", f"/v1/datasets/{held.dataset}"):
        kept = service.http.delete(path)
        assert (kept.status_code, first in kept.json()["detail"]) == (409, True)
    assert single(service, held.network, np.ones((1, 4))).shape == (1, 1)
    assert service.post(f"/v1/batch-predictions/{second}/cancel")["state"] == "cancelled"
    assert service.http.delete(f"/v1/batch-predictions/{third}").status_code == 204
    assert service.post(f"/v1/batch-predictions/{first}/cancel")["state"] == "cancelled"
    assert service.http.get(f"/v1/batch-predictions/{first}/file").status_code == 409
    for path in (f"/v1/networks/{held.network}", f"/v1/datasets/{held.dataset}"):
        assert service.http.delete(path).status_code == 204
    assert ended(service, second).error is None
    assert 'nabla_batch_predictions{state="cancelled"} 2.0' in service.http.get("/metrics").text


@pytest.mark.parametrize("how", ["cancel", "delete"])
def test_what_is_ended_in_the_middle_leaves_nothing(held: Held, how: str) -> None:
    service, before = held.service, left(held.service)
    batch, other = held.begun(), held.begun(held.small)
    held.in_the_middle(batch)
    if how == "cancel":
        assert service.post(f"/v1/batch-predictions/{batch}/cancel")["state"] == "cancelled"
    else:
        assert service.http.delete(f"/v1/batch-predictions/{batch}").status_code == 204
    file_of(service, other)
    assert sorted(left(service)) == sorted([*before, other])
    assert service.http.get(f"/v1/batch-predictions/{batch}").status_code == (200 if how == "cancel" else 404)


def test_what_ran_or_waited_in_a_crash_is_done_anew(held: Held) -> None:
    service, before = held.service, left(held.service)
    key = {"Idempotency-Key": uuid4().hex}
    path = f"/v1/networks/{held.network}/batch-predictions"
    body = {"dataset_id": held.dataset, "format": "npy"}
    answer = service.http.post(path, json=body, headers=key)
    first, second = answer.json()["id"], held.begun(held.small)
    assert answer.headers["Location"] == f"/v1/batch-predictions/{first}"
    held.in_the_middle(first)
    process = held.process
    service.kill()
    os.kill(process, signal.SIGKILL)
    service.start()
    again = service.http.post(path, json=body, headers=key)
    assert (again.status_code, again.content) == (202, answer.content)
    contents = [file_of(service, batch) for batch in (first, second)]
    service.kill()
    service.start()
    assert [file_of(service, batch) for batch in (first, second)] == contents
    assert sorted(left(service)) == sorted([*before, first, second])
    x = np.random.default_rng(6).normal(size=(300_000, 4)).astype(np.float32)
    assert np.load(io.BytesIO(contents[0])).tobytes() == single(service, held.network, x).tobytes()


def test_a_service_that_ends_in_order_leaves_it_to_the_next_one(held: Held) -> None:
    service = held.service
    batch = held.begun()
    held.in_the_middle(batch)
    assert service.terminate() == 0
    assert not [*(service.folder / "batches").glob("**/.unfinished*")]
    service.start()
    file_of(service, batch)


def test_a_process_that_dies_is_given_it_once_more(held: Held) -> None:
    service = held.service
    batch = held.begun()
    held.in_the_middle(batch)
    os.kill(held.process, signal.SIGKILL)
    file_of(service, batch)
    assert [file.name.split(".")[0] for file in (service.folder / "batches" / batch).iterdir()] == ["predictions"]
    before = left(service)
    held.stop()
    lost = held.begun()
    held.running(lost)
    killed: set[int] = set()
    while len(killed) < 2:
        if (process := held.process) not in killed:
            os.kill(process, signal.SIGKILL)
            killed.add(process)
    view = ended(service, lost)
    assert view.error is not None
    assert (view.state, view.error.kind) == ("failed", "worker_died")
    assert "signal 9, 2 times" in view.error.message
    answer = service.http.get(f"/v1/batch-predictions/{lost}/file")
    assert (answer.status_code, view.error.message in answer.json()["detail"]) == (409, True)
    assert left(service) == before
    file_of(service, held.begun(held.small))


def spoil(file: Path) -> None:
    """Flip its last bit."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("what", ["dataset", "weights"])
def test_what_is_damaged_is_said(start_service: StartService, what: str) -> None:
    service = start_service()
    network, dataset = stories.network(service)["id"], stories.dataset(service)["id"]
    folder = service.folder / ("datasets" if what == "dataset" else "networks")
    spoil(next((folder / (dataset if what == "dataset" else network)).glob("inputs.*" if what == "dataset" else "0.*")))
    batch = begun(service, network, dataset)
    view = ended(service, batch)
    assert view.error is not None
    assert (view.state, view.error.kind) == ("failed", "damaged_data")
    assert "is damaged: what is in it is not what was written" in view.error.message
    assert left(service) == []


def test_a_damaged_file_is_not_served(start_service: StartService) -> None:
    service = start_service()
    batch = begun(service, stories.network(service)["id"], stories.dataset(service)["id"])
    file_of(service, batch)
    spoil(next((service.folder / "batches" / batch).iterdir()))
    answer = service.http.get(f"/v1/batch-predictions/{batch}/file")
    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/damaged")


def test_rows_that_cannot_be_answered_are_said(service: RunningService) -> None:
    """Their outputs are beyond the finite numbers."""
    layers = [{"units": 1, "activation": "identity"}] * 20
    network = stories.network(service, inputs=1, cost="quadratic", layers=layers, initializer="standard_normal")["id"]
    dataset = stories.dataset(service, inputs=[[1.0], [3e38]], labels=None, targets=[[1.0], [2.0]])["id"]
    view = ended(service, begun(service, network, dataset))
    assert view.error is not None
    assert (view.state, view.error.kind) == ("failed", "invalid_data")
    assert "too large" in view.error.message


@pytest.mark.parametrize("format", ["npy", "parquet"])
def test_memory_is_bounded(start_service: StartService, format: str) -> None:
    """The file is larger than what the process may take."""
    service = start_service(reader_bytes=str(2**28), max_parameters="1000")
    layers = [{"units": 64, "activation": "sin"}]
    network = stories.network(service, inputs=1, dtype="float64", cost="quadratic", layers=layers)["id"]
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
