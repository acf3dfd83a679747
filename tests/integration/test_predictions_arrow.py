"""Predictions of Arrow tables, and Arrow tables as responses: bitwise equal to JSON, and decoded in a task process."""

import io
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest

from tests.conftest import StartService
from tests.support import scenarios
from tests.support.service import TIMEOUT_SECONDS, RunningService

STREAM, FILE = "application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.file"
X = np.random.default_rng(4).normal(size=(3000, 5)).astype(np.float32)
NUMBERS = pa.table({f"x{index}": column for index, column in enumerate(X.T)})
PEOPLE = """age,job,member,since,pays
31,clerk,true,2020-01-31,yes
52,smith,false,2021-05-01,no
,smith,true,2019-07-15,no
28,clerk,false,2024-02-29,yes
44,,true,2022-12-24,no
"""


def encode_stream(table: pa.Table, batch_rows: int | None = None) -> bytes:
    return encode(pa.ipc.new_stream, table, batch_rows)


def encode_file(table: pa.Table) -> bytes:
    return encode(pa.ipc.new_file, table, None)


def encode(new_writer: Any, table: pa.Table, batch_rows: int | None, options: Any = None) -> bytes:
    sink = io.BytesIO()
    with new_writer(sink, table.schema, options=options) as writer:
        writer.write_table(table, batch_rows)
    return sink.getvalue()


def post(
    service: RunningService, path: str, body: bytes, content_type: str = STREAM, accept: str = "application/json"
) -> httpx.Response:
    return service.http.post(path, content=body, headers={"Content-Type": content_type, "Accept": accept})


def predict(service: RunningService, path: str, body: bytes) -> dict[str, Any]:
    response = post(service, path, body)
    assert response.status_code == 200, response.text
    return dict(response.json())


def post_rejected(service: RunningService, path: str, body: bytes, status: int = 422) -> tuple[str, str]:
    """Return the first field and the detail of the problem."""
    response = post(service, path, body)
    assert response.status_code == status, response.text
    problem = response.json()
    return problem["errors"][0]["field"], problem["detail"]


@pytest.fixture(scope="module")
def numbers(service: RunningService) -> str:
    """Return the predictions path of a network trained on three classes and plain numbers."""
    network = scenarios.create_network(
        service,
        inputs=5,
        layers=[{"units": 8, "activation": "tanh"}, {"units": 3, "activation": "softmax"}],
        cost="categorical_cross_entropy",
        preprocessing={"inputs": "standardize"},
    )["id"]
    labels = [["a", "b", "c"][row % 3] for row in range(60)]
    data = scenarios.create_dataset(service, inputs=X[:60].tolist(), labels=labels)["id"]
    job = scenarios.submit_job(service, network_id=network, dataset_id=data, epochs=3, learning_rate=0.1)
    assert service.wait_for_job(job["id"]).state == "succeeded"
    return f"/v1/networks/{network}/predictions"


@pytest.fixture(scope="module")
def people(service: RunningService) -> str:
    """Return the predictions path of a network trained on a table with columns of every type, two of them imputed."""
    return train_on_people(service, {"imputation": '{"age": "mean", "job": "most_frequent"}'})


def train_on_people(service: RunningService, options: dict[str, str], **settings: Any) -> str:
    form = {"label": "pays", "types": '{"since": "date", "member": "boolean"}', **options}
    response = service.http.post("/v1/datasets", files={"file": ("people.csv", PEOPLE.encode())}, data=form)
    assert response.status_code == 201, response.text
    network = scenarios.create_network(
        service, inputs=response.json()["inputs"], **{"preprocessing": {"inputs": "standardize"}, **settings}
    )["id"]
    job = scenarios.submit_job(
        service, network_id=network, dataset_id=response.json()["id"], epochs=20, learning_rate=0.5
    )
    assert service.wait_for_job(job["id"]).state == "succeeded"
    return f"/v1/networks/{network}/predictions"


ROWS: list[dict[str, Any]] = [
    {"age": 31.5, "job": "clerk", "member": True, "since": "2020-01-31"},
    {"age": None, "job": "smith", "member": False, "since": "2020-02-01"},
    {"age": 52.0, "job": None, "member": True, "since": "1969-12-31"},
]


def people_table(rows: list[dict[str, Any]] = ROWS) -> pa.Table:
    table = pa.Table.from_pylist(rows, pa.schema({"age": "f8", "job": "string", "member": "bool", "since": "string"}))
    return table.set_column(3, "since", table["since"].cast(pa.date32()))


@pytest.mark.parametrize(
    "body",
    [
        encode_stream(NUMBERS),
        encode_stream(NUMBERS, 7),
        encode_stream(NUMBERS.cast(pa.schema([(name, pa.float64()) for name in NUMBERS.column_names]))),
        encode_file(NUMBERS),
        encode(pa.ipc.new_stream, NUMBERS, 1000, pa.ipc.IpcWriteOptions(compression="zstd")),
        encode_stream(NUMBERS.replace_schema_metadata({"key": "value"})),
    ],
    ids=["one batch", "many batches", "float64", "file", "compressed", "metadata"],
)
def test_columns_of_plain_numbers_are_matched_by_position(service: RunningService, numbers: str, body: bytes) -> None:
    assert predict(service, numbers, body) == service.post(numbers, {"inputs": X.tolist()})


@pytest.mark.parametrize("type_", ["i1", "u8", "f2", "bool", "decimal", "dictionary"])
def test_plain_numbers_of_any_arrow_type(service: RunningService, numbers: str, type_: str) -> None:
    rows = [[0, 1, 1, 0, 1], [1, 1, 0, 0, 1]]
    columns = [pa.array(column, pa.int8()) for column in zip(*rows, strict=True)]
    if type_ == "dictionary":
        columns = [column.dictionary_encode() for column in columns]
    else:
        columns = [column.cast(pa.decimal128(5, 2) if type_ == "decimal" else type_) for column in columns]
    table = pa.table(columns, names=list("edcba"))
    assert predict(service, numbers, encode_stream(table)) == service.post(numbers, {"inputs": rows})


def test_table_matches_named_rows_bitwise(service: RunningService, people: str) -> None:
    expected = service.post(people, {"rows": ROWS})
    table = people_table()
    assert predict(service, people, encode_stream(table)) == expected
    assert predict(service, people, encode_stream(table, 1)) == expected
    assert predict(service, people, encode_file(table.select(["since", "job", "age", "member"]))) == expected


@pytest.mark.parametrize(
    ("column", "type_"),
    [
        ("job", pa.dictionary(pa.int8(), pa.string())),
        ("job", pa.large_string()),
        ("job", pa.string_view()),
        ("age", pa.float32()),
        ("age", pa.decimal128(6, 3)),
        ("since", pa.string()),
        ("since", pa.timestamp("ns")),
        ("since", pa.timestamp("s", "Europe/Vienna")),
        ("since", pa.date64()),
        ("member", pa.dictionary(pa.int8(), pa.bool_())),
    ],
    ids=str,
)
def test_columns_of_equivalent_arrow_types(service: RunningService, people: str, column: str, type_: Any) -> None:
    table = people_table()
    values = table[column].combine_chunks()
    if pa.types.is_dictionary(type_):
        values = values.dictionary_encode()
    elif pa.types.is_timestamp(type_) and type_.tz:
        values = values.cast(pa.timestamp("s")).cast(pa.timestamp("s", "UTC")).cast(type_)
    else:
        values = values.cast(type_)
    converted = table.set_column(table.column_names.index(column), column, values)
    assert predict(service, people, encode_stream(converted)) == service.post(people, {"rows": ROWS})


def test_column_without_values(service: RunningService, people: str) -> None:
    rows = [{**row, "age": None, "job": None} for row in ROWS]
    table = pa.table({name: [row[name] for row in rows] for name in rows[0]})
    assert {str(table.schema.field(name).type) for name in ("age", "job")} == {"null"}
    expected = service.post(people, {"rows": rows})
    assert predict(service, people, encode_stream(table)) == expected
    with_nan = table.set_column(0, "age", pa.array([np.nan] * 3))
    assert predict(service, people, encode_stream(with_nan)) == expected


def test_table_of_several_blocks(service: RunningService, people: str) -> None:
    table = pa.concat_tables([people_table()] * 60_000).combine_chunks()
    response = post(service, people, encode_stream(table, 1000), accept=STREAM)
    outputs = pa.ipc.open_stream(response.content).read_all()["output_1"].to_numpy()
    expected = np.array(service.post(people, {"rows": ROWS})["outputs"], np.float32)[:, 0]
    assert outputs.tobytes() == np.tile(expected, 60_000).tobytes()
    # Rows of later blocks are numbered from the first row of the table.
    last = people_table([{**ROWS[0], "job": "baker"}])
    body = encode_stream(pa.concat_tables([table, last]).combine_chunks(), 1000)
    field, detail = post_rejected(service, people, body)
    assert field == "body.180000.job"
    assert "180001" in detail
    assert "'job'" in detail


@pytest.mark.parametrize("media_type", [STREAM, FILE])
@pytest.mark.parametrize("query", ["", "?probabilities=true", "?top_k=2", "?top_k=9&probabilities=true&version=1"])
def test_arrow_response_matches_json(service: RunningService, numbers: str, media_type: str, query: str) -> None:
    body = encode_stream(NUMBERS)
    expected = post(service, numbers + query, body).json()
    response = post(service, numbers + query, body, accept=media_type)
    assert (response.status_code, response.headers["content-type"]) == (200, media_type)
    table = (pa.ipc.open_stream if media_type == STREAM else pa.ipc.open_file)(response.content).read_all()
    check_equal(table, expected)


def check_equal(table: pa.Table, expected: dict[str, Any]) -> None:
    columns = {name: table[name].to_pylist() for name in table.column_names}
    width = len(expected["outputs"][0])
    outputs = [columns.pop(f"output_{number}") for number in range(1, width + 1)]
    assert [*map(list, zip(*outputs, strict=True))] == expected["outputs"]
    assert columns.pop("label", None) == expected["labels"]
    if "probabilities" in expected:
        probabilities = [columns.pop(f"probability_{name}") for name in ("a", "b", "c")]
        assert [*map(list, zip(*probabilities, strict=True))] == expected["probabilities"]
    for rank in range(len(expected.get("top", [[]])[0])):
        assert columns.pop(f"top_{rank + 1}") == [row[rank]["label"] for row in expected["top"]]
        assert columns.pop(f"top_{rank + 1}_score") == [row[rank]["score"] for row in expected["top"]]
    assert not columns


def test_request_and_response_formats_combine(service: RunningService, numbers: str) -> None:
    expected = service.post(numbers, {"inputs": X[:10].tolist(), "top_k": 1})
    json = service.http.post(numbers, json={"inputs": X[:10].tolist(), "top_k": 1}, headers={"Accept": STREAM})
    check_equal(pa.ipc.open_stream(json.content).read_all(), expected)
    array = io.BytesIO()
    np.save(array, X[:10])
    npy = post(service, f"{numbers}?top_k=1", array.getvalue(), "application/x-npy", STREAM)
    check_equal(pa.ipc.open_stream(npy.content).read_all(), expected)
    array_response = post(service, numbers, encode_stream(NUMBERS.slice(0, 10)), accept="application/x-npy")
    assert np.load(io.BytesIO(array_response.content)).tolist() == expected["outputs"]


def test_numeric_outputs_as_arrow(service: RunningService) -> None:
    network = scenarios.create_network(service, cost="quadratic", layers=[{"units": 2, "activation": "identity"}])["id"]
    path = f"/v1/networks/{network}/predictions"
    response = post(service, path, encode_stream(pa.table({"a": [1, 2], "b": [3, 4]})), accept=STREAM)
    check_equal(pa.ipc.open_stream(response.content).read_all(), service.post(path, {"inputs": [[1, 3], [2, 4]]}))


def test_arrow_predictions_of_a_running_job(service: RunningService) -> None:
    job = scenarios.submit_endless_job(service, learning_rate=1e-30)
    scenarios.wait_until_running(service, job["id"])
    path = f"/v1/jobs/{job['id']}/predictions"
    body = encode_stream(pa.table({"a": [0, 0, 1, 1], "b": [0, 1, 0, 1]}))
    expected = service.post(path, {"inputs": scenarios.XOR_INPUTS, "top_k": 1})
    assert predict(service, f"{path}?top_k=1", body)["top"] == expected["top"]
    response = post(service, f"{path}?top_k=1", body, accept=STREAM)
    check_equal(pa.ipc.open_stream(response.content).read_all(), expected)
    assert post(service, f"{path}?version=1", body).json()["errors"][0]["field"] == "version"
    service.post(f"/v1/jobs/{job['id']}/cancel")


def people_stream(name: str, values: Any) -> bytes:
    """Return the table of people with other values in a column."""
    table = people_table()
    return encode_stream(table.set_column(table.column_names.index(name), name, pa.array(values)))


@pytest.mark.parametrize(
    ("body", "field", "expected"),
    [
        (encode_stream(people_table().drop(["job"])), "body", "'job' is missing.*: age, job, member, since"),
        (
            people_stream("age", ["31", "old", "33"]),
            "body.1.age",
            "Row 2, column 'age': the value is 'old'; a number is expected",
        ),
        (people_stream("age", [[1], [2], [3]]), "body", "'age' holds list<.*>; numbers"),
        (people_stream("job", [{"a": 1}] * 3), "body", "'job' holds struct<.*>; text"),
        (people_stream("job", [b"clerk"] * 3), "body", "'job' holds binary; text"),
        (
            people_stream("member", [1, 0, 2]),
            "body.2.member",
            "Row 3, column 'member': the value is '2'; true or false",
        ),
        (people_stream("since", [1, 2, 3]), "body", "holds int64; dates"),
        (
            people_stream("age", [1, np.inf, 3]),
            "body.1.age",
            "Row 2, column 'age': a finite number is expected, not inf",
        ),
        (
            people_stream("since", ["2024-01-01", "soon", None]),
            "body.1.since",
            "Row 2, column 'since': the value is 'soon'",
        ),
        (people_stream("since", [None] * 3), "body.0.since", "Row 1 has no value in the column 'since'"),
        (
            people_stream("job", ["clerk", "smith", "baker"]),
            "body.2.job",
            "Row 3 has an unknown value in the column 'job'",
        ),
        (encode_stream(people_table().slice(0, 0)), "body", "no rows"),
    ],
)
def test_tables_that_do_not_fit_are_rejected(
    service: RunningService, people: str, body: bytes, field: str, expected: str
) -> None:
    rejected_field, detail = post_rejected(service, people, body)
    assert rejected_field == field
    assert re.search(expected, detail), detail


def test_long_column_names_are_cut_in_errors(service: RunningService, numbers: str, people: str) -> None:
    name = "x" * 10**6
    table = pa.table({**{key: [1.0, 2.0] for key in "abcd"}, name: [1.0, None]})
    field, detail = post_rejected(service, numbers, encode_stream(table))
    assert (field, len(detail) < 1000) == ("body.1.4", True)
    assert predict(service, numbers, encode_stream(table.slice(0, 1)))["labels"]
    table = people_table().append_column(name, pa.array("abc"))
    assert all(len(warning) < 1000 for warning in predict(service, people, encode_stream(table))["warnings"])
    nested = pa.array([{name: 1}] * 3)
    field, detail = post_rejected(service, people, encode_stream(people_table().set_column(0, "age", nested)))
    assert (field, len(detail) < 1000) == ("body", True)


def corrupt(body: bytes) -> Iterator[bytes]:
    """Yield copies of a body with three random bytes changed."""
    random = np.random.default_rng(1)
    for _ in range(60):
        corrupted = bytearray(body)
        for offset in random.integers(0, len(body), 3):
            corrupted[offset] = random.integers(0, 256)
        yield bytes(corrupted)


@pytest.mark.parametrize(
    ("body", "field", "expected"),
    [
        (encode_stream(NUMBERS.select([0, 1])), "body", "has 2 columns; 5 are expected.*: x0, x1"),
        (
            encode_stream(pa.table({name: ["a"] for name in "abcde"})),
            "body.0.0",
            "Row 1, column 'a': the value is 'a'; a number is expected",
        ),
        (encode_stream(pa.table({name: [[1]] for name in "abcde"})), "body", "'a' holds list<.*>; numbers"),
        (encode_stream(pa.table({name: [1, None] for name in "abcde"})), "body.1.0", "Row 2, column 'a': .* not null"),
        (encode_stream(pa.table({name: [1, np.nan] for name in "abcde"})), "body.1.0", "Row 2, column 'a': .* not nan"),
        (encode_stream(NUMBERS.rename_columns(list("abcda"))), "body", "more than one column 'a'"),
        (encode_stream(NUMBERS.slice(0, 0)), "body", "no rows"),
        (encode_stream(pa.table({})), "body", "no columns"),
        (encode_stream(NUMBERS)[:-100], "body", "damaged"),
        (encode_file(NUMBERS)[:-100], "body", "damaged"),
        (encode_stream(NUMBERS) * 2, "body", "More data follows the end"),
        (encode_stream(NUMBERS) + b"1", "body", "More data follows the end"),
        (b"garbage", "body", "damaged"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f", "body", "damaged"),
        (b"ARROW1", "body", "damaged"),
        (b"", "body", "the body is empty"),
        (b'{"inputs": [[1, 2, 3, 4, 5]]}', "body", "damaged"),
    ],
)
def test_invalid_arrow_bodies_are_rejected(
    service: RunningService, numbers: str, body: bytes, field: str, expected: str
) -> None:
    rejected_field, detail = post_rejected(service, numbers, body)
    assert rejected_field == field
    assert re.search(expected, detail), detail


@pytest.mark.parametrize(
    "body", [encode_stream(NUMBERS.slice(0, 20)), encode_file(NUMBERS.slice(0, 20))], ids=["stream", "file"]
)
def test_corrupted_bodies_never_fail_the_service(service: RunningService, numbers: str, body: bytes) -> None:
    for corrupted in corrupt(body):
        assert post(service, numbers, corrupted).status_code in (200, 422)
    assert len(predict(service, numbers, body)["outputs"]) == 20


def test_request_files_are_removed(service: RunningService, numbers: str) -> None:
    assert predict(service, numbers, encode_stream(NUMBERS))
    assert post_rejected(service, numbers, b"garbage")
    assert post(service, numbers, encode_stream(NUMBERS), accept=STREAM).status_code == 200
    assert [*(service.data_dir / "requests").iterdir()] == []


def test_invalid_query_parameters_are_rejected(service: RunningService, numbers: str) -> None:
    assert post(service, f"{numbers}?colour=1", encode_stream(NUMBERS)).json()["errors"][0]["field"] == "colour"
    assert post(service, f"{numbers}?version=7", encode_stream(NUMBERS)).status_code == 404
    assert post(service, f"{numbers}?version=0", encode_stream(NUMBERS)).status_code == 409
    assert post(service, f"{numbers}?top_k=0", encode_stream(NUMBERS)).json()["errors"][0]["field"] == "top_k"


def test_size_limits(start_service: StartService) -> None:
    service = start_service(max_upload_bytes="100000", max_pending_predictions="1")
    network = scenarios.create_network(
        service, inputs=5, layers=[{"units": 400, "activation": "identity"}], cost="quadratic"
    )
    path = f"/v1/networks/{network['id']}/predictions"
    response = post(service, path, encode_stream(pa.concat_tables([NUMBERS] * 10)))
    assert response.status_code == 413
    assert "At most 100000 bytes are accepted in an upload" in response.text
    names = [f"x{index}" for index in range(5)]
    zeros = pa.table({name: pa.DictionaryArray.from_arrays(np.zeros(10**4, np.int8), [0.0]) for name in names})
    compressed = encode(pa.ipc.new_stream, zeros, None, pa.ipc.IpcWriteOptions(compression="zstd"))
    assert len(compressed) < 100_000
    assert "100000 bytes" in post_rejected(service, path, compressed, 413)[1]
    many = pa.table({name: pa.nulls(10**6) for name in names})
    field, detail = post_rejected(service, path, encode_stream(many), 413)
    assert field == "body"
    assert "1000000 rows" in detail
    assert predict(service, path, encode_stream(NUMBERS.slice(0, 2)))["labels"] is None


def test_decompression_bomb_exceeds_the_task_memory(start_service: StartService) -> None:
    service = start_service(task_memory_limit=str(2**28))
    path = f"/v1/networks/{scenarios.create_network(service, inputs=5)['id']}/predictions"
    zeros = pa.array(np.zeros(10**7))
    large = pa.table(dict.fromkeys(NUMBERS.column_names, zeros))
    body = encode(pa.ipc.new_stream, large, None, pa.ipc.IpcWriteOptions(compression="zstd"))
    assert len(body) < 2**20
    field, detail = post_rejected(service, path, body, 413)
    assert (field, "memory" in detail) == ("body", True)
    assert len(predict(service, path, encode_stream(NUMBERS))["outputs"]) == len(NUMBERS)


@contextmanager
def suspended(process: int) -> Iterator[None]:
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)


def test_crashed_or_hung_task_process_is_replaced(start_service: StartService) -> None:
    service = start_service(worker_timeout="6")
    network = scenarios.create_network(service)["id"]
    path = f"/v1/networks/{network}/predictions"
    body = encode_stream(pa.table({"a": [0, 1], "b": [1, 0]}))
    expected = predict(service, path, body)
    (reader,) = service.task_pids()
    os.kill(reader, signal.SIGKILL)
    assert predict(service, path, body) == expected
    (reader,) = service.task_pids()
    with suspended(reader):
        assert predict(service, path, body) == expected
    assert reader not in service.task_pids()


def test_body_that_crashes_the_task_process_twice_is_rejected(start_service: StartService) -> None:
    service = start_service()
    path = f"/v1/networks/{scenarios.create_network(service)['id']}/predictions"
    body = encode_stream(pa.table({"a": [0, 1], "b": [1, 0]}))
    expected = predict(service, path, body)
    (first,) = service.task_pids()
    with ThreadPoolExecutor(1) as pool:
        with suspended(first):
            request = pool.submit(post_rejected, service, path, body)
            wait_until(lambda: [*(service.data_dir / "requests").glob("*/body")] != [])
            os.kill(first, signal.SIGKILL)
        wait_until(lambda: {*service.task_pids()} - {first} != set())  # still loading, so it has not decoded yet
        (second,) = {*service.task_pids()} - {first}
        os.kill(second, signal.SIGKILL)
        field, detail = request.result()
    assert field == "body"
    assert "signal 9" in detail
    assert "2 times" in detail
    assert predict(service, path, body) == expected


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline


def test_only_the_task_process_loads_arrow(start_service: StartService) -> None:
    service = start_service()
    path = f"/v1/networks/{scenarios.create_network(service)['id']}/predictions"
    assert post(service, path, encode_stream(pa.table({"a": [0], "b": [1]})), accept=STREAM).status_code == 200
    (reader,) = service.task_pids()
    assert "libarrow" in Path(f"/proc/{reader}/maps").read_text()
    assert "libarrow" not in Path(f"/proc/{service.process.pid}/maps").read_text()
