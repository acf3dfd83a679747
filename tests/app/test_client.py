"""Data as programs have them, handed in with the client."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from app.client import Client, Frame, ServiceError
from app.schemas.datasets import DatasetView
from app.schemas.histories import EpochView
from app.schemas.jobs import JobView
from tests.app import stories
from tests.app.test_uploads import arrived
from tests.conftest import StartService
from tests.running import PATIENCE, RunningService

PEOPLE: dict[str, list[Any]] = {
    "age": [31, 52, 47, 28],
    "job": ["clerk", "smith", "smith", None],
    "pays": ["yes", "no", "no", "yes"],
}
TABLE = pa.table(PEOPLE)


@pytest.fixture
def client(service: RunningService) -> Iterator[Client]:
    with Client(service.url, timeout=PATIENCE) as client:
        yield client


def what_it_is(view: DatasetView) -> Any:
    assert view.columns is not None
    columns = [(column.name, column.type, column.categories) for column in view.columns]
    return view.state, view.rows, view.inputs, view.classes, view.answers, columns


class Foreign:
    """Nothing but the protocol."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return TABLE.__arrow_c_stream__(requested_schema)


def _pandas() -> Any:
    return pytest.importorskip("pandas").DataFrame(PEOPLE)


def _pandas_with_categories() -> Any:
    return _pandas().astype({"job": "category", "pays": "category"})


def _pandas_of_some_rows() -> Any:
    """Its index is one that does not just count, and so more than a note."""
    frame = pytest.importorskip("pandas").DataFrame({name: ["?", *values] for name, values in PEOPLE.items()})
    frame = frame.iloc[[1, 2, 3, 4]].astype({"age": int})
    frame.index = [5, 3, 9, 7]
    return frame


def _polars() -> Any:
    return pytest.importorskip("polars").DataFrame(PEOPLE)


def _polars_with_categories() -> Any:
    polars = pytest.importorskip("polars")
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
def test_frames(client: Client, make: Callable[[], Frame]) -> None:
    found = client.upload_frame(make(), name="people", label="pays", missing={"job": "most_frequent"})
    assert found.name == "people"
    assert what_it_is(found) == (
        "ready",
        4,
        3,
        ["no", "yes"],
        ["pays"],
        [("age", "number", None), ("job", "category", ["clerk", "smith"])],
    )
    shown = client.rows(found.id, offset=1)
    assert [column.name for column in shown.columns] == ["age", "job", "pays"]
    assert shown.data == [[52, "smith", "no"], [47, "smith", "no"], [28, None, "yes"]]


def test_a_frame_goes_out_as_it_is_made(service: RunningService, client: Client) -> None:
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

    found = client.upload_frame(pa.RecordBatchReader.from_batches(schema, batches()), target=["y"])
    assert found.rows == rows + 1


def test_a_frame_that_breaks_off_is_no_dataset(service: RunningService, client: Client) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield TABLE.to_batches()[0]
        raise RuntimeError("the source is gone")

    with pytest.raises(pa.ArrowInvalid, match="the source is gone"):
        client.upload_frame(pa.RecordBatchReader.from_batches(TABLE.schema, batches()), label="pays")
    deadline = time.monotonic() + PATIENCE
    while any((service.folder / "uploads").iterdir()):
        assert time.monotonic() < deadline


def test_arrays_and_files_of_arrays(client: Client, tmp_path: Path) -> None:
    inputs = np.arange(12.0).reshape(4, 3)
    arrays: dict[str, Any] = {"inputs": inputs, "labels": ["a", "b", "a", "b"], "weights": [1, 2, 0.5, 1]}
    found = client.upload_arrays(**arrays, name="arrays", classes=["b", "a"])
    assert (found.rows, found.inputs, found.classes, found.weighted) == (4, 3, ["b", "a"], True)
    np.save(tmp_path / "x.npy", inputs)
    of_files = client.upload_arrays(**{**arrays, "inputs": tmp_path / "x.npy"}, classes=["b", "a"])
    assert of_files.sha256 == found.sha256
    assert client.upload_arrays(inputs=inputs, targets=inputs[:, :2]).targets == 2
    with pytest.raises(ServiceError, match="targets or labels"):
        client.upload_arrays(inputs=inputs)


def test_rows_a_file_or_a_frame_at_a_time(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    pa.csv.write_csv(TABLE, file)
    opened = client.create_dataset(upload="rows", label="pays", missing="most_frequent")
    assert opened.state == "receiving"
    with pytest.raises(ServiceError, match="not closed") as refused:
        client.ready(opened.id)
    assert refused.value.status == 409
    client.append_rows(opened.id, file)
    pieces = client.append_rows(opened.id, TABLE).pieces
    assert pieces is not None
    assert [piece.number for piece in pieces] == [1, 2]
    closed = client.close_dataset(opened.id)
    assert (closed.state, closed.rows) == ("ready", 8)
    assert closed == client.ready(opened.id) == client.close_dataset(opened.id)


def numbers(folder: Path, rows: int) -> Path:
    file = folder / "numbers.csv"
    column = np.arange(rows) / 7
    pa.csv.write_csv(pa.table({"x": column, "y": column + 1}), file)
    return file


def test_parts_that_are_there_are_not_sent_again(service: RunningService, client: Client, tmp_path: Path) -> None:
    file = numbers(tmp_path, 1000)
    size = 1 + file.stat().st_size // 4
    opened = client.create_dataset(upload="file", target="y")
    for number, part in ((3, file.read_bytes()[2 * size : 3 * size]), (2, b"something else"), (5, b"of another file")):
        assert service.http.put(f"/v1/datasets/{opened.id}/parts/{number}", content=part).status_code == 200
    there = sorted((service.folder / "uploads" / opened.id).iterdir(), key=lambda path: path.stat().st_size)
    with pytest.raises(ValueError, match=r"has 4 parts; the dataset .* has parts up to 5"):
        client.send_parts(opened.id, file, bytes_of_a_part=size)
    assert there[-1].exists()
    assert not there[0].exists()
    client.delete_dataset(opened.id)
    whole = client.upload_dataset(file, target="y")
    again = client.create_dataset(upload="file", target="y")
    for _ in range(2):
        sent = client.send_parts(again.id, file, bytes_of_a_part=size)
        assert [piece.number for piece in sent.pieces or ()] == [1, 2, 3, 4]
    assert client.close_dataset(again.id).sha256 == whole.sha256


def test_parts_go_on_after_a_crash(start_service: StartService, tmp_path: Path) -> None:
    service = start_service()
    file = numbers(tmp_path, 50_000)
    with Client(service.url, timeout=PATIENCE) as client:
        opened = client.create_dataset(upload="file", target="y")
        sending = threading.Thread(target=client.send_parts, args=(opened.id, file), kwargs={"bytes_of_a_part": 2**14})
        sending.start()
        while len(service.get(f"/v1/datasets/{opened.id}")["pieces"]) < 3:
            assert sending.is_alive()
        service.kill()
        service.start()
        sending.join(PATIENCE)
        closed = client.close_dataset(opened.id)
        assert closed.rows == 50_000
        assert closed.sha256 == client.upload_dataset(file, target="y").sha256


def test_without_waiting_and_then_with(client: Client, tmp_path: Path) -> None:
    taken = client.upload_dataset(numbers(tmp_path, 1000), wait=False, target="y")
    assert taken.state == "reading"
    assert client.ready(taken.id).rows == 1000
    ragged = tmp_path / "ragged.csv"
    ragged.write_text("x,y\n1,2\n3\n")
    failing = client.upload_dataset(ragged, wait=False, target="y")
    with pytest.raises(ServiceError, match="Line 3 has 1 cells; the table has 2 columns") as refused:
        client.ready(failing.id)
    assert refused.value.problem["errors"][0]["field"] == "file"
    with pytest.raises(ServiceError, match="Line 3 has 1 cells"):
        client.upload_dataset(ragged, target="y")
    client.delete_dataset(failing.id)
    with pytest.raises(ServiceError) as gone:
        client.dataset(failing.id)
    assert gone.value.status == 404


def test_looking_at_a_dataset_and_dividing_it(service: RunningService, client: Client) -> None:
    whole = client.upload_frame(TABLE, label="pays", missing="most_frequent")
    profile = client.profile(whole.id)
    assert (profile.rows, profile.classes) == (4, {"no": 2, "yes": 2})
    one, other = client.split(whole.id, {"half": 0.5, "other half": 0.5}, seed=3)
    assert [(part.name, part.rows) for part in (one, other)] == [("half", 2), ("other half", 2)]
    first, second = (client.rows(part.id).data for part in (one, other))
    assert sorted(map(str, first + second)) == sorted(map(str, client.rows(whole.id).data))
    network = client.create_network(inputs=3, layers=[{"units": 1, "activation": "sigmoid"}])
    job = client.create_job(network_id=network.id, dataset_id=one.id, epochs=1, batch_size=2, learning_rate=0.1)
    assert service.finished(job.id).state == "succeeded"


def test_following_a_job_goes_on_when_the_service_is_back(start_service: StartService) -> None:
    service = start_service(checkpoint_seconds="0.05")
    job = stories.job(service, epochs=20_000)
    epochs = []
    with Client(service.url) as client:
        for event in client.follow(job["id"]):
            if isinstance(event, EpochView):
                epochs.append(event.epoch)
                if len(epochs) == 500:
                    service.kill()
                    service.start()
    assert isinstance(event, JobView)
    assert (event.state, event.attempts) == ("succeeded", 2)
    assert epochs[-1] == 20_000
    assert set(epochs) == set(range(1, 20_001))
