"""Uploading tables, arrays and files with both clients."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from nabla.app.client import Conflict, Dataset, Frame, InvalidInput, NotFound, StatusError
from nabla.app.client._async.datasets import CHUNK_BYTES
from tests.conftest import StartService
from tests.support.clients import CLIENT_KINDS, open_client
from tests.support.datasets import has_received_bytes
from tests.support.service import TIMEOUT_SECONDS, RunningService

PEOPLE: dict[str, list[Any]] = {
    "age": [31, 52, 47, 28],
    "job": ["clerk", "smith", "smith", None],
    "pays": ["yes", "no", "no", "yes"],
}
TABLE = pa.table(PEOPLE)


@pytest.fixture(params=CLIENT_KINDS)
def client(service: RunningService, request: pytest.FixtureRequest) -> Iterator[Any]:
    with open_client(request.param, service.url, timeout=TIMEOUT_SECONDS) as client:
        yield client


class CapsuleOnly:
    """A table that has nothing but the Arrow PyCapsule protocol."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return TABLE.__arrow_c_stream__(requested_schema)


def _pandas_frame() -> Any:
    return import_module("pandas").DataFrame(PEOPLE)


def _pandas_frame_with_categories() -> Any:
    return _pandas_frame().astype({"job": "category", "pays": "category"})


def _pandas_frame_with_index() -> Any:
    """Its index is not a range, and so exported as a column."""
    frame = import_module("pandas").DataFrame({name: ["?", *values] for name, values in PEOPLE.items()})
    frame = frame.iloc[[1, 2, 3, 4]].astype({"age": int})
    frame.index = [5, 3, 9, 7]
    return frame


def _polars_frame() -> Any:
    return import_module("polars").DataFrame(PEOPLE)


def _polars_frame_with_categories() -> Any:
    polars = import_module("polars")
    return polars.DataFrame(PEOPLE, schema_overrides={"job": polars.Categorical, "pays": polars.Enum(["no", "yes"])})


@pytest.mark.parametrize(
    "make_table",
    [
        lambda: TABLE,
        lambda: TABLE.to_reader(max_chunksize=2),
        CapsuleOnly,
        _pandas_frame,
        _pandas_frame_with_categories,
        _pandas_frame_with_index,
        _polars_frame,
        _polars_frame_with_categories,
    ],
)
def test_uploaded_tables_keep_types_and_values(client: Any, make_table: Callable[[], Frame]) -> None:
    dataset = client.upload(make_table(), name="people", label="pays", imputation={"job": "most_frequent"})
    assert dataset.name == "people"
    assert _summarize(dataset) == (
        "ready",
        4,
        3,
        ["no", "yes"],
        ["pays"],
        [("age", "number", None), ("job", "category", ["clerk", "smith"])],
    )
    rows = dataset.get_rows(offset=1)
    assert [column.name for column in rows.columns] == ["age", "job", "pays"]
    assert rows.data == [[52, "smith", "no"], [47, "smith", "no"], [28, None, "yes"]]


def _summarize(dataset: Dataset) -> Any:
    view = dataset.view
    assert view.columns is not None
    columns = [(column.name, column.type, column.categories) for column in view.columns]
    return view.state, view.rows, view.inputs, view.classes, view.target_columns, columns


def test_tables_are_sent_while_they_are_produced(service: RunningService, client: Any) -> None:
    """The second batch is produced only after the first has arrived."""
    schema = pa.schema({"x": pa.float64(), "y": pa.float64()})
    rows = 2**18

    def batches() -> Iterator[pa.RecordBatch]:
        numbers = np.arange(rows, dtype=float)
        yield pa.record_batch([numbers, numbers], schema=schema)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not has_received_bytes(service):
            assert time.monotonic() < deadline
        yield pa.record_batch([numbers[:1], numbers[:1]], schema=schema)

    dataset = client.upload(pa.RecordBatchReader.from_batches(schema, batches()), target=["y"])
    assert dataset.view.rows == rows + 1


def test_interrupted_table_leaves_no_dataset(service: RunningService, client: Any) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield TABLE.to_batches()[0]
        raise RuntimeError("the source is gone")

    with pytest.raises(pa.ArrowInvalid, match="the source is gone"):
        client.upload(pa.RecordBatchReader.from_batches(TABLE.schema, batches()), label="pays")
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while any((service.data_dir / "uploads").iterdir()):
        assert time.monotonic() < deadline


def test_arrays_and_array_files_make_the_same_dataset(client: Any, tmp_path: Path) -> None:
    inputs = np.arange(12.0).reshape(4, 3)
    arrays: dict[str, Any] = {"inputs": inputs, "labels": ["a", "b", "a", "b"], "weights": [1, 2, 0.5, 1]}
    dataset = client.upload_arrays(**arrays, name="arrays", classes=["b", "a"])
    assert (dataset.view.rows, dataset.inputs, dataset.classes, dataset.view.weighted) == (4, 3, ["b", "a"], True)
    np.save(tmp_path / "x.npy", inputs)
    from_file = client.upload_arrays(**{**arrays, "inputs": tmp_path / "x.npy"}, classes=["b", "a"])
    assert from_file.view.sha256 == dataset.view.sha256
    assert client.upload_arrays(inputs=inputs, targets=inputs[:, :2]).outputs == 2
    with pytest.raises(StatusError, match="targets or labels"):
        client.upload_arrays(inputs=inputs)
    series = import_module("pandas").Series(["a", "b", "a", "b"], dtype="category")
    from_series = client.upload_arrays(**{**arrays, "labels": series}, classes=["b", "a"])
    assert from_series.view.sha256 == dataset.view.sha256
    with pytest.raises(ValueError, match=r"^labels: 1 of the values are missing"):
        client.upload_arrays(inputs=inputs, labels=np.array(["a", None, "a", "b"], object))


def test_rejected_upload_leaves_no_dataset(client: Any, tmp_path: Path) -> None:
    """Also if it was sent in chunks."""
    before = [dataset.id for dataset in client.list_datasets()]
    large = tmp_path / "job_large.csv"
    large.write_text("x,kind\n" + "1.25,some text\n" * 1_200_000)
    assert large.stat().st_size > CHUNK_BYTES
    for target in ("kind", "nothing"):
        with pytest.raises(InvalidInput):
            client.upload(large, target=target)
    with pytest.raises(InvalidInput):
        client.upload(large.rename(tmp_path / "other.csv"), target="kind", name="net_of_others")
    assert [dataset.id for dataset in client.list_datasets()] == before
    accepted = client.upload(tmp_path / "other.csv", label="kind", classes=["some text", "other"])
    assert accepted.name == "other"
    accepted.delete()


def test_rows_are_appended_as_files_and_tables(client: Any, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    pa.csv.write_csv(TABLE, file)
    dataset = client.open_dataset("rows", label="pays", imputation="most_frequent")
    assert dataset.state == "receiving"
    with pytest.raises(Conflict, match="still open"):
        dataset.wait()
    dataset.append(file)
    chunks = dataset.append(TABLE).view.chunks
    assert chunks is not None
    assert [chunk.number for chunk in chunks] == [1, 2]
    closed = dataset.close().view
    assert (closed.state, closed.rows) == ("ready", 8)
    assert closed == dataset.wait().view == dataset.close().view


def write_numbers(directory: Path, rows: int) -> Path:
    file = directory / "numbers.csv"
    column = np.arange(rows) / 7
    pa.csv.write_csv(pa.table({"x": column, "y": column + 1}), file)
    return file


def test_stored_chunks_are_not_sent_again(service: RunningService, client: Any, tmp_path: Path) -> None:
    file = write_numbers(tmp_path, 1000)
    size = 1 + file.stat().st_size // 4
    dataset = client.open_dataset("file", target="y")
    third = file.read_bytes()[2 * size : 3 * size]
    for number, content in ((3, third), (2, b"something else"), (5, b"of another file")):
        response = service.http.put(f"/v1/datasets/{dataset.id}/chunks/{number}", content=content)
        assert response.status_code == 200
    stored = sorted((service.data_dir / "uploads" / dataset.id).iterdir(), key=lambda path: path.stat().st_size)
    with pytest.raises(ValueError, match=r"has 4 chunks, but the dataset .* has chunk 5"):
        dataset.send_chunks(file, chunk_size=size)
    assert stored[-1].exists()
    assert not stored[0].exists()
    dataset.delete()
    uploaded = client.upload(file, target="y")
    chunked = client.open_dataset("file", target="y")
    for _ in range(2):
        chunks = chunked.send_chunks(file, chunk_size=size).view.chunks
        assert [chunk.number for chunk in chunks or ()] == [1, 2, 3, 4]
    assert chunked.close().view.sha256 == uploaded.view.sha256


@pytest.mark.parametrize("kind", CLIENT_KINDS)
def test_sending_chunks_continues_when_service_restarts(start_service: StartService, tmp_path: Path, kind: str) -> None:
    service = start_service()
    file = write_numbers(tmp_path, 50_000)
    with open_client(kind, service.url, timeout=TIMEOUT_SECONDS) as client:
        dataset = client.open_dataset("file", target="y")
        sending = threading.Thread(target=dataset.send_chunks, args=(file,), kwargs={"chunk_size": 2**14})
        sending.start()
        while len(service.get(f"/v1/datasets/{dataset.id}")["chunks"]) < 3:
            assert sending.is_alive()
        service.kill()
        service.start()
        sending.join(TIMEOUT_SECONDS)
        closed = dataset.close().view
        assert closed.rows == 50_000
        assert closed.sha256 == client.upload(file, target="y").view.sha256


def test_upload_can_return_before_dataset_is_ready(client: Any, tmp_path: Path) -> None:
    dataset = client.upload(write_numbers(tmp_path, 1000), wait=False, target="y")
    assert dataset.state == "reading"
    assert dataset.wait().view.rows == 1000
    ragged = tmp_path / "ragged.csv"
    ragged.write_text("x,y\n1,2\n3\n")
    rejected = client.upload(ragged, wait=False, target="y")
    ragged_line = r"[Ll]ine 3\b.*\b1\b.*\b2\b"
    with pytest.raises(InvalidInput, match=ragged_line) as error:
        rejected.wait()
    assert error.value.field == "file"
    with pytest.raises(InvalidInput, match=ragged_line):
        client.upload(ragged, target="y")
    rejected.delete()
    with pytest.raises(NotFound) as missing:
        client.get_dataset(rejected.id)
    assert missing.value.type == "/problems/unknown-dataset"


def test_dataset_is_profiled_and_split(client: Any) -> None:
    dataset = client.upload(TABLE, label="pays", imputation="most_frequent")
    profile = dataset.profile()
    assert (profile.rows, profile.classes) == (4, {"no": 2, "yes": 2})
    splits = dataset.split({"half": 0.5, "other half": 0.5}, seed=3)
    assert [(split.name, split.view.rows) for split in splits] == [("half", 2), ("other half", 2)]
    first, second = (split.get_rows().data for split in splits)
    assert sorted(map(str, first + second)) == sorted(map(str, dataset.get_rows().data))
    network = client.create_network(inputs=3, layers=[{"units": 1, "activation": "sigmoid"}])
    job = client.create_job(network, splits[0], epochs=1, batch_size=2, learning_rate=0.1)
    assert job.wait().state == "succeeded"


def test_frame_without_pyarrow_says_what_to_install(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match="pip install pyarrow"):
        client.upload(CapsuleOnly(), label="pays")
