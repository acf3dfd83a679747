"""Files of datasets on their way: in every format, in one request or in several, through crashes."""

import base64
import functools
import gzip
import hashlib
import io
import json
import os
import signal
import socket
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from tests.conftest import StartService
from tests.support import scenarios
from tests.support.service import PATIENCE, RunningService

TABLE = pa.table({"age": [31, 52, 47, 28], "job": ["clerk", "smith", "smith", "clerk"], "pays": [1.5, 2.5, 3.5, 0.5]})
OPTIONS = {"target": "pays"}


def csv(delimiter: str = ",", table: pa.Table = TABLE) -> bytes:
    file = io.BytesIO()
    pyarrow.csv.write_csv(table, file, pyarrow.csv.WriteOptions(delimiter=delimiter))
    return file.getvalue()


def arrow(new: Any) -> bytes:
    file = io.BytesIO()
    with new(file, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return file.getvalue()


def parquet() -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(TABLE, file)
    return file.getvalue()


def ndjson() -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in TABLE.to_pylist())


FILES = {
    "csv": ("text/csv", csv()),
    "csv.gz": ("text/csv", gzip.compress(csv())),
    "csv.zst": ("text/csv", pa.compress(csv(), "zstd", asbytes=True)),
    "tsv": ("text/tab-separated-values", csv("\t")),
    "parquet": ("application/vnd.apache.parquet", parquet()),
    "arrow": ("application/vnd.apache.arrow.file", arrow(pa.ipc.new_file)),
    "arrows": ("application/vnd.apache.arrow.stream", arrow(pa.ipc.new_stream)),
    "ndjson": ("application/x-ndjson", ndjson()),
}


def what_it_is(view: dict[str, Any]) -> dict[str, Any]:
    """Whatever the file was."""
    return {name: view[name] for name in ("state", "rows", "inputs", "targets", "columns", "answers", "classes")}


def create(service: RunningService, status: int = 201, **request: Any) -> dict[str, Any]:
    answer = service.http.post("/v1/datasets", **request)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def left(service: RunningService) -> list[str]:
    return [path.name for path in (service.folder / "uploads").iterdir()]


@pytest.mark.parametrize("suffix", FILES)
def test_a_table_as_a_body_and_in_a_form(service: RunningService, suffix: str) -> None:
    kind, content = FILES[suffix]
    body = create(service, params=OPTIONS, content=content, headers={"Content-Type": kind})
    form = create(service, files={"file": (f"people.{suffix}", content)}, data=OPTIONS)
    assert what_it_is(body) == what_it_is(form)
    assert body["sha256"] == form["sha256"]
    assert (body["rows"], body["inputs"], body["target_columns"]) == (4, 3, ["pays"])
    assert [(column["name"], column["type"], column["inputs"]) for column in body["columns"]] == [
        ("age", "number", 1),
        ("job", "category", 2),
    ]
    assert body["columns"][1]["categories"] == ["clerk", "smith"]
    assert form["name"] == ("people" if "." not in suffix else None) or suffix != "csv"
    assert service.get(f"/v1/datasets/{form['id']}") == form
    assert service.get("/v1/datasets?limit=1")["data"] == [form]


def test_rows_with_names_in_json(service: RunningService) -> None:
    found = create(service, json={"rows": TABLE.to_pylist(), **OPTIONS})
    assert what_it_is(found) == what_it_is(create(service, files={"file": ("a.csv", csv())}, data=OPTIONS))


def idx(array: npt.NDArray[np.integer]) -> bytes:
    """The format of MNIST: big-endian sizes, then bytes."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def test_images_as_mnist_has_them(service: RunningService) -> None:
    images, labels = np.arange(3 * 4 * 4).reshape(3, 4, 4), np.array([7, 0, 7])
    files = {"inputs": gzip.compress(idx(images)), "labels": idx(labels)}
    found = create(service, files={field: (f"{field}-ubyte", content) for field, content in files.items()})
    assert (found["rows"], found["inputs"], found["classes"], found["columns"]) == (3, 16, ["0", "7"], None)


def test_what_is_wrong_is_answered_and_nothing_is_left(service: RunningService) -> None:
    holes = b"age,pays\n1,2\n,3\n4,5\n"
    before = service.get("/v1/datasets?limit=1")["data"]
    refused = create(service, 422, files={"file": ("holes.csv", holes)}, data=OPTIONS)
    assert "row 2" in refused["detail"]
    assert "missing" in refused["detail"]
    for options, field in (
        ({"target": "pay"}, "target"),
        ({"target": "pays", "types": '{"age": "text"}'}, "types.age"),
        ({"target": "pays", "types": "{"}, "types"),
        ({"target": "pays", "tagret": "pays"}, "tagret"),
        ({"target": "pays", "name": "ds_x"}, "name"),
    ):
        wrong = create(service, 422, files={"file": ("people.csv", csv())}, data=options)
        assert wrong["errors"][0]["field"] == field
    assert create(service, 415, content=b"x", headers={"Content-Type": "image/png"})["detail"].count("text/csv")
    assert create(service, 400, content=b"x", headers={"Content-Type": "multipart/form-data"})
    assert create(service, 400, content=b"--b\r\n", headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert service.get("/v1/datasets?limit=1")["data"] == before
    assert left(service) == []


def digest(content: bytes) -> dict[str, str]:
    return {"Content-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"}


def test_a_body_that_is_not_what_its_digest_says(service: RunningService) -> None:
    kind = {"Content-Type": "text/csv"}
    assert create(service, params=OPTIONS, content=csv(), headers={**kind, **digest(csv())})["rows"] == 4
    refused = create(service, 422, params=OPTIONS, content=csv(), headers={**kind, **digest(b"else")})
    assert refused["errors"][0]["field"] == "Content-Digest"
    assert left(service) == []


FORM = (
    b'--b\r\nContent-Disposition: form-data; name="target"\r\n\r\npays\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n' + csv() + b"\r\n--b--\r\n"
)
BODIES = {
    "text/csv": csv(),
    "multipart/form-data; boundary=b": FORM,
    "application/json": json.dumps({"inputs": [[1], [2]], "targets": [[1], [2]]}).encode(),
}


@pytest.mark.parametrize("kind", BODIES)
def test_every_body_is_held_against_its_digest(service: RunningService, kind: str) -> None:
    def ask(status: int, digest: dict[str, str]) -> dict[str, Any]:
        options = OPTIONS if kind == "text/csv" else {}
        return create(service, status, params=options, content=BODIES[kind], headers={"Content-Type": kind, **digest})

    right, wrong = digest(BODIES[kind]), digest(b"else")
    ask(201, right)
    ask(201, {"Content-Digest": f"sha-512=:AAAA:, {right['Content-Digest']}"})
    for given in (wrong["Content-Digest"], "hello", "sha-512=:AAAA:", "sha-256=:AAAA:", "sha-256=:A:", "sha-256=abc"):
        refused = ask(422, {"Content-Digest": given})
        assert refused["errors"][0]["field"] == "Content-Digest"
        assert "sha-256" in refused["detail"].lower()
    assert left(service) == []


def settled(service: RunningService, dataset: str) -> dict[str, Any]:
    """Wait until it is read, or failed."""
    deadline = time.monotonic() + PATIENCE
    while (now := service.get(f"/v1/datasets/{dataset}"))["state"] == "reading":
        assert time.monotonic() < deadline
        time.sleep(0.02)  # no event tells of it, and asking takes the core that reading needs
    return now


def test_without_waiting_for_it(service: RunningService) -> None:
    headers = {"Prefer": "respond-async", "Idempotency-Key": "without waiting"}
    request: dict[str, Any] = {"files": {"file": ("people.csv", csv())}, "data": OPTIONS, "headers": headers}
    taken = create(service, 202, **request)
    assert (taken["state"], taken["rows"]) == ("reading", None)
    assert settled(service, taken["id"])["rows"] == 4
    assert create(service, 202, **request) == taken
    failed = create(
        service, 202, files={"file": ("people.csv", b"a,b\n1\n")}, data={"target": "b"}, headers={"Prefer": "wait=0"}
    )
    now = settled(service, failed["id"])
    assert now["state"] == "failed"
    while (service.folder / "uploads" / failed["id"]).exists():
        pass  # its files go when the journal knows that it has failed
    assert "cells" in now["errors"][0]["message"] or "columns" in now["errors"][0]["message"]
    refused = service.post(
        "/v1/jobs", {"network_id": scenarios.network(service)["id"], "dataset_id": failed["id"]}, 409
    )
    assert "could not be read" in refused["detail"]
    assert service.http.delete(f"/v1/datasets/{failed['id']}").status_code == 204
    assert service.http.get(f"/v1/datasets/{failed['id']}").status_code == 404
    assert left(service) == []


def test_rows_in_several_requests(service: RunningService) -> None:
    opened = create(service, json={"upload": "rows", **OPTIONS})
    path = f"/v1/datasets/{opened['id']}"
    assert service.post(f"{path}/close", status=409)["detail"].startswith("Nothing has been sent")
    for suffix in ("csv", "parquet", "ndjson"):
        kind, content = FILES[suffix]
        headers = {"Content-Type": kind, "Idempotency-Key": f"{opened['id']} {suffix}"}
        for _ in range(2):
            answer = service.http.post(f"{path}/rows", content=content, headers=headers)
            assert answer.status_code == 201, answer.text
    assert [piece["number"] for piece in service.get(path)["chunks"]] == [1, 2, 3]
    assert service.http.put(f"{path}/chunks/1", content=b"x").status_code == 409
    closed = service.post(f"{path}/close")
    assert (closed["state"], closed["rows"], closed["inputs"]) == ("ready", 12, 3)
    assert service.post(f"{path}/close") == closed
    assert service.http.post(f"{path}/rows", content=csv(), headers={"Content-Type": "text/csv"}).status_code == 409
    assert left(service) == []


def test_rows_of_the_wrong_kind_are_refused_on_arrival(service: RunningService) -> None:
    opened = create(service, json={"upload": "rows", **OPTIONS})
    path = f"/v1/datasets/{opened['id']}"
    for kind, content, status in (
        ("text/csv", b"", 422),
        ("multipart/form-data; boundary=b", FORM, 415),
        (None, csv(), 415),
        ("image/png", csv(), 415),
    ):
        headers = {"Content-Type": kind} if kind else {}
        answer = service.http.post(f"{path}/rows", content=content, headers=headers)
        assert answer.status_code == status, answer.text
        assert "empty" in answer.text or "text/csv" in answer.text
    assert service.get(path)["chunks"] == []
    rows = json.dumps(TABLE.to_pylist()).encode()
    for kind, content in (("text/csv", csv()), ("application/json", rows)):
        assert service.http.post(f"{path}/rows", content=content, headers={"Content-Type": kind}).status_code == 201
    assert service.post(f"{path}/close")["rows"] == 8
    parts = f"/v1/datasets/{create(service, json={'upload': 'file', **OPTIONS})['id']}"
    assert service.http.put(f"{parts}/chunks/1", content=b"").status_code == 422
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    assert service.http.put(f"{parts}/chunks/1", content=FORM, headers=form).status_code == 415
    assert service.http.delete(parts).status_code == 204


def test_a_close_that_fails_names_the_file_and_leaves_no_files(service: RunningService) -> None:
    path = f"/v1/datasets/{create(service, json={'upload': 'rows', **OPTIONS})['id']}"
    for content in (csv(), b"age,job,pays\n1,clerk,2\n3,smith\n"):
        assert service.http.post(f"{path}/rows", content=content, headers={"Content-Type": "text/csv"}).is_success
    refused = service.post(f"{path}/close", status=422)
    assert refused["detail"] == "File 2 of 2: Line 3 has 2 cells; the table has 3 columns."
    failed = service.get(path)
    assert (failed["state"], failed["bytes"], failed["errors"][0]["message"]) == ("failed", 0, refused["detail"])
    assert left(service) == []
    assert service.http.delete(path).status_code == 204


def test_files_of_the_same_form_are_named(service: RunningService) -> None:
    files = [("file", ("a.csv", csv())), ("file", ("b.csv", b"")), ("file", ("c.csv", csv()))]
    refused = create(service, 422, files=files, data=OPTIONS)
    assert refused["detail"] == "File 2 of 3 ('b.csv'): There is no data: the file is empty."


def test_forgotten_open_ones_keep_nobody_out(start_service: StartService) -> None:
    service = start_service(max_uploads="1", max_open_uploads="2")
    oldest, *_ = (create(service, json={"upload": kind, **OPTIONS}) for kind in ("rows", "file"))
    assert create(service, files={"file": ("people.csv", csv())}, data=OPTIONS)["state"] == "ready"
    refused = create(service, 429, json={"upload": "rows", **OPTIONS})
    assert oldest["id"] in refused["detail"]
    assert service.http.delete(f"/v1/datasets/{oldest['id']}").status_code == 204
    assert create(service, json={"upload": "rows", **OPTIONS})["state"] == "receiving"


def test_a_file_in_parts_through_a_crash(start_service: StartService) -> None:
    service = start_service()
    content = csv(table=pa.concat_tables([TABLE] * 1000))
    third = len(content) // 3
    parts = {1: content[:third], 2: content[third : 2 * third], 3: content[2 * third :]}
    path = f"/v1/datasets/{create(service, json={'upload': 'file', **OPTIONS})['id']}"

    def put(number: int, part: bytes) -> dict[str, Any]:
        answer = service.http.put(f"{path}/chunks/{number}", content=part, headers=digest(part))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    put(3, b"something else")
    put(1, parts[1])
    service.kill()
    service.start()
    shown = {piece["number"]: piece["sha256"] for piece in service.get(path)["chunks"]}
    assert shown == {1: hashlib.sha256(parts[1]).hexdigest(), 3: hashlib.sha256(b"something else").hexdigest()}
    assert service.post(f"{path}/close", status=409)["detail"] == "Parts are missing: 2."
    put(3, parts[3])
    put(2, parts[2])
    closed = service.post(f"{path}/close")
    whole = create(service, params=OPTIONS, content=content, headers={"Content-Type": "text/csv"})
    assert closed["rows"] == 4000
    assert closed["sha256"] == whole["sha256"]
    assert left(service) == []


@functools.cache
def large(rows: int = 400_000) -> bytes:
    """Of some seconds."""
    numbers = np.arange(rows, dtype=np.float64) / 7
    table = pa.table({**{f"x{column}": numbers + column for column in range(8)}, "pays": numbers})
    return csv(table=table)


def test_a_crash_while_it_is_read(start_service: StartService) -> None:
    service = start_service()
    content = large()
    taken = create(
        service,
        202,
        params=OPTIONS,
        content=content,
        headers={"Content-Type": "text/csv", "Prefer": "respond-async", "Idempotency-Key": "x"},
    )
    service.kill()
    service.start()
    assert service.get(f"/v1/datasets/{taken['id']}")["state"] in ("reading", "ready")
    now = settled(service, taken["id"])
    assert (now["state"], now["rows"]) == ("ready", 400_000)
    assert service.terminate() == 0
    assert left(service) == []
    assert [path.name for path in (service.folder / "datasets").iterdir()] == [taken["id"]]


def test_a_reader_that_dies_is_replaced(start_service: StartService) -> None:
    service = start_service()
    taken = create(
        service,
        202,
        params=OPTIONS,
        content=large(),
        headers={"Content-Type": "text/csv", "Prefer": "respond-async"},
    )
    deadline = time.monotonic() + PATIENCE
    while not [*(service.folder / "datasets").glob("**/.unfinished-*/.unfinished-*")]:
        assert time.monotonic() < deadline
    os.kill(reader(service), signal.SIGKILL)
    assert settled(service, taken["id"])["state"] == "ready"
    assert {path.name.split(".")[0] for path in (service.folder / "datasets" / taken["id"]).iterdir()} == {
        "table",
        "targets",
    }
    again = create(
        service, 202, params=OPTIONS, content=large(), headers={"Content-Type": "text/csv", "Prefer": "respond-async"}
    )
    killed: set[int] = set()
    while len(killed) < 2:
        process = reader(service, but=killed)
        os.kill(process, signal.SIGKILL)
        killed.add(process)
    failed = settled(service, again["id"])
    assert failed["state"] == "failed"
    assert "signal 9" in failed["errors"][0]["message"]
    assert create(service, files={"file": ("people.csv", csv())}, data=OPTIONS)["rows"] == 4


def reader(service: RunningService, but: Collection[int] = ()) -> int:
    """The process that reads files, when it has begun."""
    deadline = time.monotonic() + PATIENCE
    while not (found := [process for process in service.readers() if process not in but]):
        assert time.monotonic() < deadline
    return found[0]


def test_deleted_while_it_is_read(start_service: StartService) -> None:
    service = start_service()
    headers = {"Content-Type": "text/csv", "Prefer": "respond-async"}
    taken = create(service, 202, params=OPTIONS, content=large(), headers=headers)
    assert service.http.delete(f"/v1/datasets/{taken['id']}").status_code == 204
    assert service.http.get(f"/v1/datasets/{taken['id']}").status_code == 404
    assert left(service) == []
    assert not list((service.folder / "datasets").iterdir())


def test_a_client_that_goes_away_is_a_line_in_the_log(start_service: StartService) -> None:
    service = start_service()
    service.ready()
    head = "POST /v1/datasets?target=pays HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 900\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2]))) as connection:
        connection.sendall(head.encode() + b"a,pays\n")
    deadline = time.monotonic() + PATIENCE
    while "POST /v1/datasets went away" not in (log := service.log.read_text()):
        assert time.monotonic() < deadline, log
    service.terminate()
    assert "Traceback" not in service.log.read_text()


def test_options_are_given_once(service: RunningService) -> None:
    twice = [("target", "age"), ("target", "pays")]
    for request in (
        {"params": twice, "content": csv(), "headers": {"Content-Type": "text/csv"}},
        {"params": OPTIONS, "files": {"file": ("people.csv", csv())}, "data": OPTIONS},
        {"content": FORM.replace(b"--b--", FORM), "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
    ):
        refused = create(service, 422, **request)
        assert (refused["errors"][0]["field"], "twice" in refused["detail"]) == ("target", True)
    assert left(service) == []


def arrived(service: RunningService) -> bool:
    """Whether anything of an upload is on disk; names change meanwhile."""
    with suppress(FileNotFoundError):
        return any(path.stat().st_size for path in (service.folder / "uploads").glob("ds_*/*"))
    return False


def test_an_upload_that_breaks_off_leaves_nothing(service: RunningService) -> None:
    port = int(service.url.rpartition(":")[2])
    head = (
        "POST /v1/datasets?target=pays HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 9000000\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head.encode() + b"a,pays\n" + b"1,2\n" * 1_000_000)
        deadline = time.monotonic() + PATIENCE
        while not arrived(service):
            assert time.monotonic() < deadline
    while left(service):
        assert time.monotonic() < deadline


def test_many_at_once_are_read_one_after_the_other(start_service: StartService) -> None:
    service = start_service(max_uploads="2")
    headers = {"Content-Type": "text/csv", "Prefer": "respond-async"}
    request: dict[str, Any] = {"params": OPTIONS, "content": large(100_000), "headers": headers}
    taken = [create(service, 202, **request) for _ in range(2)]
    refused = create(service, 429, **request)
    assert "as many as this service takes" in refused["detail"]
    assert [settled(service, one["id"])["state"] for one in taken] == ["ready", "ready"]


def test_memory_of_reading_is_bounded(start_service: StartService, tmp_path: Path) -> None:
    """A line of more than a block, and a bomb: refused in words, and the next file is read."""
    service = start_service(max_upload_bytes=str(64 * 2**20))
    for content in (b"a,pays\n" + b"1" * (60 * 2**20), gzip.compress(b"a,pays\n" + b"1,2\n" * (30 * 2**20))):
        answer = service.http.post(
            "/v1/datasets", params=OPTIONS, content=content, headers={"Content-Type": "text/csv"}
        )
        assert answer.status_code in (413, 422), answer.text
    assert create(service, files={"file": ("people.csv", csv())}, data=OPTIONS)["rows"] == 4


def test_who_waits_for_reading_is_told_that_the_service_ends(start_service: StartService) -> None:
    service = start_service()
    rows: dict[str, Any] = {"content": b"x,y\n1,2\n3,4\n", "headers": {"Content-Type": "text/csv"}}
    assert service.http.post("/v1/datasets?target=y", **rows).status_code == 201
    (reader,) = service.readers()
    opened = service.post("/v1/datasets", {"upload": "rows", "target": "y"}, 201)["id"]
    service.http.post(f"/v1/datasets/{opened}/rows", **rows)
    os.kill(reader, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        close = pool.submit(service.http.post, f"/v1/datasets/{opened}/close", headers={"Prefer": "wait=100"})
        while service.get(f"/v1/datasets/{opened}")["state"] != "reading":
            pass
        assert service.terminate() == 0
        answer = close.result()
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
    assert "ending" in answer.json()["detail"]
    assert "Traceback" not in service.log.read_text()
