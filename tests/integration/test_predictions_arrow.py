"""Predictions of Arrow tables, and Arrow tables as answers: the same bits as rows and answers in JSON. What a table may
hold is read by another process, and brings down nothing else."""

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
from tests.support.service import PATIENCE, RunningService

STREAM, FILE = "application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.file"
X = np.random.default_rng(4).normal(size=(3000, 5)).astype(np.float32)
NUMBERS = pa.table({f"x{place}": column for place, column in enumerate(X.T)})
PEOPLE = """age,job,member,since,pays
31,clerk,true,2020-01-31,yes
52,smith,false,2021-05-01,no
,smith,true,2019-07-15,no
28,clerk,false,2024-02-29,yes
44,,true,2022-12-24,no
"""


def stream(table: pa.Table, rows_of_batch: int | None = None) -> bytes:
    return written(pa.ipc.new_stream, table, rows_of_batch)


def file(table: pa.Table) -> bytes:
    return written(pa.ipc.new_file, table, None)


def written(new: Any, table: pa.Table, rows_of_batch: int | None, options: Any = None) -> bytes:
    sink = io.BytesIO()
    with new(sink, table.schema, options=options) as writer:
        writer.write_table(table, rows_of_batch)
    return sink.getvalue()


def sent(
    service: RunningService, path: str, body: bytes, kind: str = STREAM, accept: str = "application/json"
) -> httpx.Response:
    return service.http.post(path, content=body, headers={"Content-Type": kind, "Accept": accept})


def answered(service: RunningService, path: str, body: bytes) -> dict[str, Any]:
    answer = sent(service, path, body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def refused(service: RunningService, path: str, body: bytes, status: int = 422) -> tuple[str, str]:
    """Field and sentence."""
    answer = sent(service, path, body)
    assert answer.status_code == status, answer.text
    problem = answer.json()
    return problem["errors"][0]["field"], problem["detail"]


@pytest.fixture(scope="module")
def numbers(service: RunningService) -> str:
    """The path of the predictions of a network that has learned three classes from plain numbers."""
    network = scenarios.network(
        service,
        inputs=5,
        layers=[{"units": 8, "activation": "tanh"}, {"units": 3, "activation": "softmax"}],
        cost="categorical_cross_entropy",
        preprocessing={"inputs": "standardize"},
    )["id"]
    labels = [["a", "b", "c"][place % 3] for place in range(60)]
    data = scenarios.dataset(service, inputs=X[:60].tolist(), labels=labels)["id"]
    job = scenarios.job(service, network_id=network, dataset_id=data, epochs=3, learning_rate=0.1)
    assert service.finished(job["id"]).state == "succeeded"
    return f"/v1/networks/{network}/predictions"


@pytest.fixture(scope="module")
def people(service: RunningService) -> str:
    """That of one that has learned from a table with columns of every type, two of which may be empty."""
    return learned(service, {"imputation": '{"age": "mean", "job": "most_frequent"}'})


def learned(service: RunningService, options: dict[str, str], **change: Any) -> str:
    form = {"label": "pays", "types": '{"since": "date", "member": "boolean"}', **options}
    answer = service.http.post("/v1/datasets", files={"file": ("people.csv", PEOPLE.encode())}, data=form)
    assert answer.status_code == 201, answer.text
    network = scenarios.network(
        service, inputs=answer.json()["inputs"], **{"preprocessing": {"inputs": "standardize"}, **change}
    )["id"]
    job = scenarios.job(service, network_id=network, dataset_id=answer.json()["id"], epochs=20, learning_rate=0.5)
    assert service.finished(job["id"]).state == "succeeded"
    return f"/v1/networks/{network}/predictions"


ROWS: list[dict[str, Any]] = [
    {"age": 31.5, "job": "clerk", "member": True, "since": "2020-01-31"},
    {"age": None, "job": "smith", "member": False, "since": "2020-02-01"},
    {"age": 52.0, "job": None, "member": True, "since": "1969-12-31"},
]


def table_of_people(rows: list[dict[str, Any]] = ROWS) -> pa.Table:
    found = pa.Table.from_pylist(rows, pa.schema({"age": "f8", "job": "string", "member": "bool", "since": "string"}))
    return found.set_column(3, "since", found["since"].cast(pa.date32()))


@pytest.mark.parametrize(
    "body",
    [
        stream(NUMBERS),
        stream(NUMBERS, 7),
        stream(NUMBERS.cast(pa.schema([(name, pa.float64()) for name in NUMBERS.column_names]))),
        file(NUMBERS),
        written(pa.ipc.new_stream, NUMBERS, 1000, pa.ipc.IpcWriteOptions(compression="zstd")),
        stream(NUMBERS.replace_schema_metadata({"anything": "at all"})),
    ],
    ids=["one batch", "many batches", "float64", "file", "packed", "metadata"],
)
def test_plain_numbers_are_the_columns_in_order(service: RunningService, numbers: str, body: bytes) -> None:
    assert answered(service, numbers, body) == service.post(numbers, {"inputs": X.tolist()})


@pytest.mark.parametrize("type_", ["i1", "u8", "f2", "bool", "decimal", "dictionary"])
def test_plain_numbers_of_any_type(service: RunningService, numbers: str, type_: str) -> None:
    rows = [[0, 1, 1, 0, 1], [1, 1, 0, 0, 1]]
    columns = [pa.array(column, pa.int8()) for column in zip(*rows, strict=True)]
    if type_ == "dictionary":
        columns = [column.dictionary_encode() for column in columns]
    else:
        columns = [column.cast(pa.decimal128(5, 2) if type_ == "decimal" else type_) for column in columns]
    table = pa.table(columns, names=list("edcba"))
    assert answered(service, numbers, stream(table)) == service.post(numbers, {"inputs": rows})


def test_a_table_has_the_bits_of_named_rows(service: RunningService, people: str) -> None:
    expected = service.post(people, {"rows": ROWS})
    table = table_of_people()
    assert answered(service, people, stream(table)) == expected
    assert answered(service, people, stream(table, 1)) == expected
    assert answered(service, people, file(table.select(["since", "job", "age", "member"]))) == expected


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
def test_columns_of_other_types(service: RunningService, people: str, column: str, type_: Any) -> None:
    table = table_of_people()
    values = table[column].combine_chunks()
    if pa.types.is_dictionary(type_):
        values = values.dictionary_encode()
    elif pa.types.is_timestamp(type_) and type_.tz:
        values = values.cast(pa.timestamp("s")).cast(pa.timestamp("s", "UTC")).cast(type_)
    else:
        values = values.cast(type_)
    other = table.set_column(table.column_names.index(column), column, values)
    assert answered(service, people, stream(other)) == service.post(people, {"rows": ROWS})


def test_a_column_without_any_value(service: RunningService, people: str) -> None:
    rows = [{**row, "age": None, "job": None} for row in ROWS]
    table = pa.table({name: [row[name] for row in rows] for name in rows[0]})
    assert {str(table.schema.field(name).type) for name in ("age", "job")} == {"null"}
    expected = service.post(people, {"rows": rows})
    assert answered(service, people, stream(table)) == expected
    numbers = table.set_column(0, "age", pa.array([np.nan] * 3))
    assert answered(service, people, stream(numbers)) == expected


def test_many_rows_of_a_table(service: RunningService, people: str) -> None:
    """More than are prepared at once; a row that is refused is counted from the first one."""
    table = pa.concat_tables([table_of_people()] * 60_000).combine_chunks()
    accepted = sent(service, people, stream(table, 1000), accept=STREAM)
    outputs = pa.ipc.open_stream(accepted.content).read_all()["output_1"].to_numpy()
    expected = np.array(service.post(people, {"rows": ROWS})["outputs"], np.float32)[:, 0]
    assert outputs.tobytes() == np.tile(expected, 60_000).tobytes()
    last = table_of_people([{**ROWS[0], "job": "baker"}])
    field, words = refused(service, people, stream(pa.concat_tables([table, last]).combine_chunks(), 1000))
    assert field == "body.180000.job"
    assert re.search("Row 180001 has in the column 'job' a value that is none of the categories", words)


@pytest.mark.parametrize("kind", [STREAM, FILE])
@pytest.mark.parametrize("asked", ["", "?probabilities=true", "?top_k=2", "?top_k=9&probabilities=true&version=1"])
def test_answers_are_those_of_json(service: RunningService, numbers: str, kind: str, asked: str) -> None:
    body = stream(NUMBERS)
    expected = sent(service, numbers + asked, body).json()
    answer = sent(service, numbers + asked, body, accept=kind)
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    table = (pa.ipc.open_stream if kind == STREAM else pa.ipc.open_file)(answer.content).read_all()
    check_same(table, expected)


def check_same(table: pa.Table, expected: dict[str, Any]) -> None:
    columns = {name: table[name].to_pylist() for name in table.column_names}
    width = len(expected["outputs"][0])
    outputs = [columns.pop(f"output_{place}") for place in range(1, width + 1)]
    assert [*map(list, zip(*outputs, strict=True))] == expected["outputs"]
    assert columns.pop("label", None) == expected["labels"]
    if "probabilities" in expected:
        found = [columns.pop(f"probability_{name}") for name in ("a", "b", "c")]
        assert [*map(list, zip(*found, strict=True))] == expected["probabilities"]
    for place in range(len(expected.get("top", [[]])[0])):
        assert columns.pop(f"top_{place + 1}") == [row[place]["label"] for row in expected["top"]]
        assert columns.pop(f"top_{place + 1}_score") == [row[place]["score"] for row in expected["top"]]
    assert not columns


def test_an_arrow_answer_to_any_body(service: RunningService, numbers: str) -> None:
    expected = service.post(numbers, {"inputs": X[:10].tolist(), "top_k": 1})
    json = service.http.post(numbers, json={"inputs": X[:10].tolist(), "top_k": 1}, headers={"Accept": STREAM})
    check_same(pa.ipc.open_stream(json.content).read_all(), expected)
    array = io.BytesIO()
    np.save(array, X[:10])
    npy = sent(service, f"{numbers}?top_k=1", array.getvalue(), "application/x-npy", STREAM)
    check_same(pa.ipc.open_stream(npy.content).read_all(), expected)
    back = sent(service, numbers, stream(NUMBERS.slice(0, 10)), accept="application/x-npy")
    assert np.load(io.BytesIO(back.content)).tolist() == expected["outputs"]


def test_outputs_that_are_numbers(service: RunningService) -> None:
    network = scenarios.network(service, cost="quadratic", layers=[{"units": 2, "activation": "identity"}])["id"]
    path = f"/v1/networks/{network}/predictions"
    answer = sent(service, path, stream(pa.table({"a": [1, 2], "b": [3, 4]})), accept=STREAM)
    check_same(pa.ipc.open_stream(answer.content).read_all(), service.post(path, {"inputs": [[1, 3], [2, 4]]}))


def test_weights_of_a_running_job(service: RunningService) -> None:
    job = scenarios.endless(service, learning_rate=1e-30)
    scenarios.started(service, job["id"])
    path = f"/v1/jobs/{job['id']}/predictions"
    body = stream(pa.table({"a": [0, 0, 1, 1], "b": [0, 1, 0, 1]}))
    expected = service.post(path, {"inputs": scenarios.XOR_INPUTS, "top_k": 1})
    assert answered(service, f"{path}?top_k=1", body)["top"] == expected["top"]
    answer = sent(service, f"{path}?top_k=1", body, accept=STREAM)
    check_same(pa.ipc.open_stream(answer.content).read_all(), expected)
    assert sent(service, f"{path}?version=1", body).json()["errors"][0]["field"] == "version"
    service.post(f"/v1/jobs/{job['id']}/cancel")


def with_column(name: str, values: Any) -> bytes:
    """The people's table, with other values in a column."""
    table = table_of_people()
    return stream(table.set_column(table.column_names.index(name), name, pa.array(values)))


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        (stream(table_of_people().drop(["job"])), "body", "'job' is missing.*: age, job, member, since"),
        (stream(table_of_people().append_column("town", pa.array("abc"))), "body", "no column 'town'.*: age, job"),
        (with_column("age", ["31", "32", "33"]), "body", "'age' holds string; numbers are expected"),
        (with_column("age", [[1], [2], [3]]), "body", "'age' holds list<.*>; numbers"),
        (with_column("job", [{"a": 1}] * 3), "body", "'job' holds struct<.*>; text"),
        (with_column("job", [b"clerk"] * 3), "body", "'job' holds binary; text"),
        (with_column("member", [1, 0, 1]), "body", "holds int64; true and false"),
        (with_column("since", [1, 2, 3]), "body", "holds int64; dates"),
        (with_column("age", [1, np.inf, 3]), "body.1.age", "Row 2, column 'age': a finite number is expected, not inf"),
        (with_column("since", ["2024-01-01", "soon", None]), "body.1.since", "Row 2, column 'since': it holds 'soon'"),
        (with_column("since", [None] * 3), "body.0.since", "Row 1 has no value in the column 'since'"),
        (with_column("job", ["clerk", "smith", "baker"]), "body.2.job", "Row 3 .* 'job' a value that is none of"),
        (with_column("age", [1, 2, 1e300]), "body.2.age", "too large for float32"),
        (stream(table_of_people().slice(0, 0)), "body", "no rows"),
    ],
)
def test_tables_that_are_refused(service: RunningService, people: str, body: bytes, field: str, words: str) -> None:
    found, sentence = refused(service, people, body)
    assert found == field
    assert re.search(words, sentence), sentence


def test_names_of_any_length(service: RunningService, numbers: str, people: str) -> None:
    """They are cut in sentences, and are not in fields: what is said of a body is not as long as the body."""
    name = "x" * 10**6
    table = pa.table({**{key: [1.0, 2.0] for key in "abcd"}, name: [1.0, None]})
    field, words = refused(service, numbers, stream(table))
    assert (field, len(words) < 1000) == ("body.1.4", True)
    assert answered(service, numbers, stream(table.slice(0, 1)))["labels"]
    field, words = refused(service, people, stream(table_of_people().append_column(name, pa.array("abc"))))
    assert (field, len(words) < 1000) == ("body", True)
    nested = pa.array([{name: 1}] * 3)
    field, words = refused(service, people, stream(table_of_people().set_column(0, "age", nested)))
    assert (field, len(words) < 1000) == ("body", True)


def damaged(body: bytes) -> Iterator[bytes]:
    """Each with some bytes changed."""
    random = np.random.default_rng(1)
    for _ in range(60):
        changed = bytearray(body)
        for place in random.integers(0, len(body), 3):
            changed[place] = random.integers(0, 256)
        yield bytes(changed)


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        (stream(NUMBERS.select([0, 1])), "body", "has 2 columns; 5 are expected.*: x0, x1"),
        (stream(pa.table({name: ["a"] for name in "abcde"})), "body", "'a' holds string; numbers"),
        (stream(pa.table({name: [[1]] for name in "abcde"})), "body", "'a' holds list<.*>; numbers"),
        (stream(pa.table({name: [1, None] for name in "abcde"})), "body.1.0", "Row 2, column 'a': .* not null"),
        (stream(pa.table({name: [1, np.nan] for name in "abcde"})), "body.1.0", "Row 2, column 'a': .* not nan"),
        (stream(NUMBERS.rename_columns(list("abcda"))), "body", "more than one column called 'a'"),
        (stream(NUMBERS.slice(0, 0)), "body", "no rows"),
        (stream(pa.table({})), "body", "no columns"),
        (stream(NUMBERS)[:-100], "body", "damaged"),
        (file(NUMBERS)[:-100], "body", "damaged"),
        (stream(NUMBERS) * 2, "body", "More follows after the end"),
        (stream(NUMBERS) + b"1", "body", "More follows after the end"),
        (b"garbage", "body", "damaged"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f", "body", "damaged"),
        (b"ARROW1", "body", "damaged"),
        (b"", "body", "the body is empty"),
        (b'{"inputs": [[1, 2, 3, 4, 5]]}', "body", "damaged"),
    ],
)
def test_bodies_that_are_refused(service: RunningService, numbers: str, body: bytes, field: str, words: str) -> None:
    found, sentence = refused(service, numbers, body)
    assert found == field
    assert re.search(words, sentence), sentence


@pytest.mark.parametrize("body", [stream(NUMBERS.slice(0, 20)), file(NUMBERS.slice(0, 20))], ids=["stream", "file"])
def test_damage_is_answered_in_words(service: RunningService, numbers: str, body: bytes) -> None:
    for changed in damaged(body):
        assert sent(service, numbers, changed).status_code in (200, 422)
    assert len(answered(service, numbers, body)["outputs"]) == 20


def test_nothing_is_left_of_requests(service: RunningService, numbers: str) -> None:
    assert answered(service, numbers, stream(NUMBERS))
    assert refused(service, numbers, b"garbage")
    assert sent(service, numbers, stream(NUMBERS), accept=STREAM).status_code == 200
    assert [*(service.folder / "requests").iterdir()] == []


def test_parameters_are_in_the_query(service: RunningService, numbers: str) -> None:
    assert sent(service, f"{numbers}?colour=1", stream(NUMBERS)).json()["errors"][0]["field"] == "colour"
    assert sent(service, f"{numbers}?version=7", stream(NUMBERS)).status_code == 404
    assert sent(service, f"{numbers}?version=0", stream(NUMBERS)).status_code == 409
    assert sent(service, f"{numbers}?top_k=0", stream(NUMBERS)).json()["errors"][0]["field"] == "top_k"


def test_limits(start_service: StartService) -> None:
    service = start_service(max_upload_bytes="100000", max_pending_predictions="1")
    network = scenarios.network(service, inputs=5, layers=[{"units": 400, "activation": "identity"}], cost="quadratic")
    path = f"/v1/networks/{network['id']}/predictions"
    answer = sent(service, path, stream(pa.concat_tables([NUMBERS] * 10)))
    assert answer.status_code == 413
    assert "At most 100000 bytes are accepted in an upload" in answer.text
    names = [f"x{place}" for place in range(5)]
    zeros = pa.table({name: pa.DictionaryArray.from_arrays(np.zeros(10**4, np.int8), [0.0]) for name in names})
    unpacked = written(pa.ipc.new_stream, zeros, None, pa.ipc.IpcWriteOptions(compression="zstd"))
    assert len(unpacked) < 100_000
    assert "100000 bytes" in refused(service, path, unpacked, 413)[1]
    many = pa.table({name: pa.nulls(10**6) for name in names})
    field, words = refused(service, path, stream(many), 413)
    assert field == "body"
    assert "1000000 rows" in words
    assert answered(service, path, stream(NUMBERS.slice(0, 2)))["labels"] is None


def test_what_unpacks_to_more_than_there_is_memory(start_service: StartService) -> None:
    service = start_service(task_memory_limit=str(2**28))
    path = f"/v1/networks/{scenarios.network(service, inputs=5)['id']}/predictions"
    zeros = pa.array(np.zeros(10**7))
    large = pa.table(dict.fromkeys(NUMBERS.column_names, zeros))
    body = written(pa.ipc.new_stream, large, None, pa.ipc.IpcWriteOptions(compression="zstd"))
    assert len(body) < 2**20
    field, words = refused(service, path, body, 413)
    assert (field, "more memory than there is" in words) == ("body", True)
    assert len(answered(service, path, stream(NUMBERS))["outputs"]) == len(NUMBERS)


@contextmanager
def stopped(process: int) -> Iterator[None]:
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)


def test_a_process_that_dies_or_hangs(start_service: StartService) -> None:
    """It is replaced: the next one does what it was asked."""
    service = start_service(worker_timeout="2")
    network = scenarios.network(service)["id"]
    path = f"/v1/networks/{network}/predictions"
    body = stream(pa.table({"a": [0, 1], "b": [1, 0]}))
    expected = answered(service, path, body)
    (reader,) = service.readers()
    os.kill(reader, signal.SIGKILL)
    assert answered(service, path, body) == expected
    (reader,) = service.readers()
    with stopped(reader):
        assert answered(service, path, body) == expected
    assert reader not in service.readers()


def test_a_body_that_the_process_dies_of_each_time(start_service: StartService) -> None:
    service = start_service()
    path = f"/v1/networks/{scenarios.network(service)['id']}/predictions"
    body = stream(pa.table({"a": [0, 1], "b": [1, 0]}))
    expected = answered(service, path, body)
    (first,) = service.readers()
    with ThreadPoolExecutor(1) as pool:
        with stopped(first):
            asked = pool.submit(refused, service, path, body)
            wait_until(lambda: [*(service.folder / "requests").glob("*/body")] != [])
            os.kill(first, signal.SIGKILL)
        wait_until(lambda: {*service.readers()} - {first} != set())  # it has everything to load yet
        (second,) = {*service.readers()} - {first}
        os.kill(second, signal.SIGKILL)
        field, words = asked.result()
    assert field == "body"
    assert "by signal 9, 2 times. The table is damaged, or made in a way" in words
    assert answered(service, path, body) == expected


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline


def test_the_service_itself_does_not_load_arrow(start_service: StartService) -> None:
    service = start_service()
    path = f"/v1/networks/{scenarios.network(service)['id']}/predictions"
    assert sent(service, path, stream(pa.table({"a": [0], "b": [1]})), accept=STREAM).status_code == 200
    (reader,) = service.readers()
    assert "libarrow" in Path(f"/proc/{reader}/maps").read_text()
    assert "libarrow" not in Path(f"/proc/{service.process.pid}/maps").read_text()
