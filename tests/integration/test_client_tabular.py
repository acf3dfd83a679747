"""Data as programs have them, handed in with both clients."""

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

from nabla.app.client import Conflict, Dataset, Frame, Invalid, NotFound, ServiceError
from nabla.app.client._async.datasets import BYTES_OF_A_PART
from tests.conftest import StartService
from tests.integration.test_uploads import arrived
from tests.support.clients import BOTH, client_of
from tests.support.service import PATIENCE, RunningService

PEOPLE: dict[str, list[Any]] = {
    "age": [31, 52, 47, 28],
    "job": ["clerk", "smith", "smith", None],
    "pays": ["yes", "no", "no", "yes"],
}
TABLE = pa.table(PEOPLE)


@pytest.fixture(params=BOTH)
def client(service: RunningService, request: pytest.FixtureRequest) -> Iterator[Any]:
    with client_of(request.param, service.url, timeout=PATIENCE) as client:
        yield client


def what_it_is(dataset: Dataset) -> Any:
    view = dataset.view
    assert view.columns is not None
    columns = [(column.name, column.type, column.categories) for column in view.columns]
    return view.state, view.rows, view.inputs, view.classes, view.target_columns, columns


class Foreign:
    """Nothing but the protocol."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return TABLE.__arrow_c_stream__(requested_schema)


def _pandas() -> Any:
    return import_module("pandas").DataFrame(PEOPLE)


def _pandas_with_categories() -> Any:
    return _pandas().astype({"job": "category", "pays": "category"})


def _pandas_of_some_rows() -> Any:
    """Its index is one that does not just count, and so more than a note."""
    frame = import_module("pandas").DataFrame({name: ["?", *values] for name, values in PEOPLE.items()})
    frame = frame.iloc[[1, 2, 3, 4]].astype({"age": int})
    frame.index = [5, 3, 9, 7]
    return frame


def _polars() -> Any:
    return import_module("polars").DataFrame(PEOPLE)


def _polars_with_categories() -> Any:
    polars = import_module("polars")
    return polars.DataFrame(PEOPLE, schema_overrides={"job": polars.Categorical, "pays": polars.Enum(["no", "yes"])})


@pytest.mark.parametrize(
    "make",
    [
        lambda: TABLE,
        lambda: TABLE.to_reader(max_chunksize=2),
        Foreign,
        _pandas,
        _pandas_with_categories,
        _pandas_of_some_rows,
        _polars,
        _polars_with_categories,
    ],
)
def test_frames(client: Any, make: Callable[[], Frame]) -> None:
    found = client.upload(make(), name="people", label="pays", imputation={"job": "most_frequent"})
    assert found.name == "people"
    assert what_it_is(found) == (
        "ready",
        4,
        3,
        ["no", "yes"],
        ["pays"],
        [("age", "number", None), ("job", "category", ["clerk", "smith"])],
    )
    shown = found.rows(offset=1)
    assert [column.name for column in shown.columns] == ["age", "job", "pays"]
    assert shown.data == [[52, "smith", "no"], [47, "smith", "no"], [28, None, "yes"]]


def test_a_frame_goes_out_as_it_is_made(service: RunningService, client: Any) -> None:
    """Its second batch is made when the first has arrived."""
    schema = pa.schema({"x": pa.float64(), "y": pa.float64()})
    rows = 2**18

    def batches() -> Iterator[pa.RecordBatch]:
        numbers = np.arange(rows, dtype=float)
        yield pa.record_batch([numbers, numbers], schema=schema)
        deadline = time.monotonic() + PATIENCE
        while not arrived(service):
            assert time.monotonic() < deadline
        yield pa.record_batch([numbers[:1], numbers[:1]], schema=schema)

    found = client.upload(pa.RecordBatchReader.from_batches(schema, batches()), target=["y"])
    assert found.view.rows == rows + 1


def test_a_frame_that_breaks_off_is_no_dataset(service: RunningService, client: Any) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield TABLE.to_batches()[0]
        raise RuntimeError("the source is gone")

    with pytest.raises(pa.ArrowInvalid, match="the source is gone"):
        client.upload(pa.RecordBatchReader.from_batches(TABLE.schema, batches()), label="pays")
    deadline = time.monotonic() + PATIENCE
    while any((service.folder / "uploads").iterdir()):
        assert time.monotonic() < deadline


def test_arrays_and_files_of_arrays(client: Any, tmp_path: Path) -> None:
    inputs = np.arange(12.0).reshape(4, 3)
    arrays: dict[str, Any] = {"inputs": inputs, "labels": ["a", "b", "a", "b"], "weights": [1, 2, 0.5, 1]}
    found = client.upload_arrays(**arrays, name="arrays", classes=["b", "a"])
    assert (found.view.rows, found.inputs, found.classes, found.view.weighted) == (4, 3, ["b", "a"], True)
    np.save(tmp_path / "x.npy", inputs)
    of_files = client.upload_arrays(**{**arrays, "inputs": tmp_path / "x.npy"}, classes=["b", "a"])
    assert of_files.view.sha256 == found.view.sha256
    assert client.upload_arrays(inputs=inputs, targets=inputs[:, :2]).outputs == 2
    with pytest.raises(ServiceError, match="targets or labels"):
        client.upload_arrays(inputs=inputs)
    texts = import_module("pandas").Series(["a", "b", "a", "b"], dtype="category")
    assert client.upload_arrays(**{**arrays, "labels": texts}, classes=["b", "a"]).view.sha256 == found.view.sha256
    with pytest.raises(ValueError, match=r"^labels: Numbers or texts are expected"):
        client.upload_arrays(inputs=inputs, labels=np.array(["a", None, "a", "b"], object))


def test_nothing_is_left_of_what_cannot_be_read(client: Any, tmp_path: Path) -> None:
    """Also where it went in parts."""
    before = [one.id for one in client.datasets()]
    large = tmp_path / "job_large.csv"
    large.write_text("x,kind\n" + "1.25,some text\n" * 1_200_000)
    assert large.stat().st_size > BYTES_OF_A_PART
    for target in ("kind", "nothing"):
        with pytest.raises(Invalid):
            client.upload(large, target=target)
    with pytest.raises(Invalid):
        client.upload(large.rename(tmp_path / "other.csv"), target="kind", name="net_of_others")
    assert [one.id for one in client.datasets()] == before
    found = client.upload(tmp_path / "other.csv", label="kind", classes=["some text", "other"])
    assert found.name == "other"
    found.delete()


def test_rows_a_file_or_a_frame_at_a_time(client: Any, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    pa.csv.write_csv(TABLE, file)
    opened = client.open_dataset("rows", label="pays", imputation="most_frequent")
    assert opened.state == "receiving"
    with pytest.raises(Conflict, match="not closed"):
        opened.ready()
    opened.append(file)
    chunks = opened.append(TABLE).view.chunks
    assert chunks is not None
    assert [piece.number for piece in chunks] == [1, 2]
    closed = opened.close().view
    assert (closed.state, closed.rows) == ("ready", 8)
    assert closed == opened.ready().view == opened.close().view


def numbers(folder: Path, rows: int) -> Path:
    file = folder / "numbers.csv"
    column = np.arange(rows) / 7
    pa.csv.write_csv(pa.table({"x": column, "y": column + 1}), file)
    return file


def test_parts_that_are_there_are_not_sent_again(service: RunningService, client: Any, tmp_path: Path) -> None:
    file = numbers(tmp_path, 1000)
    size = 1 + file.stat().st_size // 4
    opened = client.open_dataset("file", target="y")
    for number, part in ((3, file.read_bytes()[2 * size : 3 * size]), (2, b"something else"), (5, b"of another file")):
        assert service.http.put(f"/v1/datasets/{opened.id}/chunks/{number}", content=part).status_code == 200
    there = sorted((service.folder / "uploads" / opened.id).iterdir(), key=lambda path: path.stat().st_size)
    with pytest.raises(ValueError, match=r"has 4 parts; the dataset .* has parts up to 5"):
        opened.send_chunks(file, bytes_of_a_part=size)
    assert there[-1].exists()
    assert not there[0].exists()
    opened.delete()
    whole = client.upload(file, target="y")
    again = client.open_dataset("file", target="y")
    for _ in range(2):
        sent = again.send_chunks(file, bytes_of_a_part=size)
        assert [piece.number for piece in sent.view.chunks or ()] == [1, 2, 3, 4]
    assert again.close().view.sha256 == whole.view.sha256


@pytest.mark.parametrize("kind", BOTH)
def test_parts_go_on_after_a_crash(start_service: StartService, tmp_path: Path, kind: str) -> None:
    service = start_service()
    file = numbers(tmp_path, 50_000)
    with client_of(kind, service.url, timeout=PATIENCE) as client:
        opened = client.open_dataset("file", target="y")
        sending = threading.Thread(target=opened.send_chunks, args=(file,), kwargs={"bytes_of_a_part": 2**14})
        sending.start()
        while len(service.get(f"/v1/datasets/{opened.id}")["chunks"]) < 3:
            assert sending.is_alive()
        service.kill()
        service.start()
        sending.join(PATIENCE)
        closed = opened.close().view
        assert closed.rows == 50_000
        assert closed.sha256 == client.upload(file, target="y").view.sha256


def test_without_waiting_and_then_with(client: Any, tmp_path: Path) -> None:
    taken = client.upload(numbers(tmp_path, 1000), wait=False, target="y")
    assert taken.state == "reading"
    assert taken.ready().view.rows == 1000
    ragged = tmp_path / "ragged.csv"
    ragged.write_text("x,y\n1,2\n3\n")
    failing = client.upload(ragged, wait=False, target="y")
    with pytest.raises(Invalid, match="Line 3 has 1 cells; the table has 2 columns") as refused:
        failing.ready()
    assert refused.value.field == "file"
    with pytest.raises(Invalid, match="Line 3 has 1 cells"):
        client.upload(ragged, target="y")
    failing.delete()
    with pytest.raises(NotFound) as gone:
        client.dataset(failing.id)
    assert gone.value.type == "/problems/unknown-dataset"


def test_looking_at_a_dataset_and_dividing_it(client: Any) -> None:
    whole = client.upload(TABLE, label="pays", imputation="most_frequent")
    profile = whole.profile()
    assert (profile.rows, profile.classes) == (4, {"no": 2, "yes": 2})
    one, other = whole.split({"half": 0.5, "other half": 0.5}, seed=3)
    assert [(part.name, part.view.rows) for part in (one, other)] == [("half", 2), ("other half", 2)]
    first, second = (part.rows().data for part in (one, other))
    assert sorted(map(str, first + second)) == sorted(map(str, whole.rows().data))
    network = client.create_network(inputs=3, layers=[{"units": 1, "activation": "sigmoid"}])
    job = client.create_job(network, one, epochs=1, batch_size=2, learning_rate=0.1)
    assert job.wait().state == "succeeded"
