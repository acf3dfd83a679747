"""Uploads of datasets: every format, in one request or several, digests, errors, limits, crashes and shutdown."""

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
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from tests.conftest import StartService
from tests.support import scenarios
from tests.support.datasets import content_fields, has_received_bytes, list_uploads, post_dataset
from tests.support.service import TIMEOUT_SECONDS, RunningService

TABLE = pa.table({"age": [31, 52, 47, 28], "job": ["clerk", "smith", "smith", "clerk"], "pays": [1.5, 2.5, 3.5, 0.5]})
OPTIONS = {"target": "pays"}


def to_csv(delimiter: str = ",", table: pa.Table = TABLE) -> bytes:
    file = io.BytesIO()
    pyarrow.csv.write_csv(table, file, pyarrow.csv.WriteOptions(delimiter=delimiter))
    return file.getvalue()


def to_arrow(new_writer: Any) -> bytes:
    file = io.BytesIO()
    with new_writer(file, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return file.getvalue()


def to_parquet() -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(TABLE, file)
    return file.getvalue()


def to_ndjson() -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in TABLE.to_pylist())


FILES = {
    "csv": ("text/csv", to_csv()),
    "csv.gz": ("text/csv", gzip.compress(to_csv())),
    "csv.zst": ("text/csv", pa.compress(to_csv(), "zstd", asbytes=True)),
    "tsv": ("text/tab-separated-values", to_csv("\t")),
    "parquet": ("application/vnd.apache.parquet", to_parquet()),
    "arrow": ("application/vnd.apache.arrow.file", to_arrow(pa.ipc.new_file)),
    "arrows": ("application/vnd.apache.arrow.stream", to_arrow(pa.ipc.new_stream)),
    "ndjson": ("application/x-ndjson", to_ndjson()),
}


@pytest.mark.parametrize("suffix", FILES)
def test_table_in_every_format_as_body_or_form(service: RunningService, suffix: str) -> None:
    media_type, content = FILES[suffix]
    body = post_dataset(service, params=OPTIONS, content=content, headers={"Content-Type": media_type})
    form = post_dataset(service, files={"file": (f"people.{suffix}", content)}, data=OPTIONS)
    assert content_fields(body) == content_fields(form)
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


def test_rows_in_json(service: RunningService) -> None:
    dataset = post_dataset(service, json={"rows": TABLE.to_pylist(), **OPTIONS})
    assert content_fields(dataset) == content_fields(
        post_dataset(service, files={"file": ("a.csv", to_csv())}, data=OPTIONS)
    )


def to_idx(array: npt.NDArray[np.integer]) -> bytes:
    """Return the bytes of an IDX file, the format of MNIST: big-endian sizes, then bytes."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def test_idx_files(service: RunningService) -> None:
    images, labels = np.arange(3 * 4 * 4).reshape(3, 4, 4), np.array([7, 0, 7])
    files = {"inputs": gzip.compress(to_idx(images)), "labels": to_idx(labels)}
    dataset = post_dataset(service, files={field: (f"{field}-ubyte", content) for field, content in files.items()})
    assert (dataset["rows"], dataset["inputs"], dataset["classes"], dataset["columns"]) == (3, 16, [0, 7], None)


def test_rejected_upload_leaves_no_files(service: RunningService) -> None:
    incomplete = b"age,pays\n1,2\n,3\n4,5\n"
    before = service.get("/v1/datasets?limit=1")["data"]
    rejected = post_dataset(service, 422, files={"file": ("incomplete.csv", incomplete)}, data=OPTIONS)
    assert "row 2" in rejected["detail"]
    assert "column 'age'" in rejected["detail"]
    assert "imputation" in rejected["detail"]
    for options, field in (
        ({"target": "pay"}, "target"),
        ({"target": "pays", "types": '{"age": "text"}'}, "types.age"),
        ({"target": "pays", "types": "{"}, "types"),
        ({"target": "pays", "tagret": "pays"}, "tagret"),
        ({"target": "pays", "name": "ds_x"}, "name"),
    ):
        rejected = post_dataset(service, 422, files={"file": ("people.csv", to_csv())}, data=options)
        assert rejected["errors"][0]["field"] == field
    assert post_dataset(service, 415, content=b"x", headers={"Content-Type": "image/png"})["detail"].count("text/csv")
    assert post_dataset(service, 400, content=b"x", headers={"Content-Type": "multipart/form-data"})
    assert post_dataset(service, 400, content=b"--b\r\n", headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert service.get("/v1/datasets?limit=1")["data"] == before
    assert list_uploads(service) == []


def content_digest(content: bytes) -> dict[str, str]:
    return {"Content-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"}


def test_wrong_content_digest_is_rejected(service: RunningService) -> None:
    csv = {"Content-Type": "text/csv"}
    assert (
        post_dataset(service, params=OPTIONS, content=to_csv(), headers={**csv, **content_digest(to_csv())})["rows"]
        == 4
    )
    rejected = post_dataset(service, 422, params=OPTIONS, content=to_csv(), headers={**csv, **content_digest(b"else")})
    assert rejected["errors"][0]["field"] == "Content-Digest"
    assert list_uploads(service) == []


FORM = (
    b'--b\r\nContent-Disposition: form-data; name="target"\r\n\r\npays\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n' + to_csv() + b"\r\n--b--\r\n"
)
BODIES = {
    "text/csv": to_csv(),
    "multipart/form-data; boundary=b": FORM,
    "application/json": json.dumps({"inputs": [[1], [2]], "targets": [[1], [2]]}).encode(),
}


@pytest.mark.parametrize("media_type", BODIES)
def test_content_digest_is_verified_for_every_media_type(service: RunningService, media_type: str) -> None:
    def post(status: int, digest: dict[str, str]) -> dict[str, Any]:
        options = OPTIONS if media_type == "text/csv" else {}
        return post_dataset(
            service, status, params=options, content=BODIES[media_type], headers={"Content-Type": media_type, **digest}
        )

    right, wrong = content_digest(BODIES[media_type]), content_digest(b"else")
    post(201, right)
    post(201, {"Content-Digest": f"sha-512=:AAAA:, {right['Content-Digest']}"})
    for header in (wrong["Content-Digest"], "hello", "sha-512=:AAAA:", "sha-256=:AAAA:", "sha-256=:A:", "sha-256=abc"):
        rejected = post(422, {"Content-Digest": header})
        assert rejected["errors"][0]["field"] == "Content-Digest"
        assert "sha-256" in rejected["detail"].lower()
    assert list_uploads(service) == []


def wait_for_ingest(service: RunningService, dataset: str) -> dict[str, Any]:
    """Wait until the ingest of the dataset has succeeded or failed, and return the dataset."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (current := service.get(f"/v1/datasets/{dataset}"))["state"] == "reading":
        assert time.monotonic() < deadline
        time.sleep(0.02)  # there are no events for it, and polling takes the core that the ingest needs
    return current


def test_asynchronous_ingest(service: RunningService) -> None:
    headers = {"Prefer": "respond-async", "Idempotency-Key": "asynchronous"}
    request: dict[str, Any] = {"files": {"file": ("people.csv", to_csv())}, "data": OPTIONS, "headers": headers}
    accepted = post_dataset(service, 202, **request)
    assert (accepted["state"], accepted["rows"]) == ("reading", None)
    assert wait_for_ingest(service, accepted["id"])["rows"] == 4
    assert post_dataset(service, 202, **request)["id"] == accepted["id"]
    failed = post_dataset(
        service, 202, files={"file": ("people.csv", b"a,b\n1\n")}, data={"target": "b"}, headers={"Prefer": "wait=0"}
    )
    current = wait_for_ingest(service, failed["id"])
    assert current["state"] == "failed"
    while (service.data_dir / "uploads" / failed["id"]).exists():
        pass  # its files are deleted after the journal has recorded the failure
    assert "cells" in current["errors"][0]["message"] or "columns" in current["errors"][0]["message"]
    rejected = service.post(
        "/v1/jobs", {"network_id": scenarios.create_network(service)["id"], "dataset_id": failed["id"]}, 409
    )
    assert "could not be read" in rejected["detail"]
    assert service.http.delete(f"/v1/datasets/{failed['id']}").status_code == 204
    assert service.http.get(f"/v1/datasets/{failed['id']}").status_code == 404
    assert list_uploads(service) == []


def test_rows_are_appended_in_several_requests(service: RunningService) -> None:
    opened = post_dataset(service, json={"upload": "rows", **OPTIONS})
    path = f"/v1/datasets/{opened['id']}"
    assert service.post(f"{path}/close", status=409)["detail"].startswith("Nothing has been sent")
    for suffix in ("csv", "parquet", "ndjson"):
        media_type, content = FILES[suffix]
        headers = {"Content-Type": media_type, "Idempotency-Key": f"{opened['id']} {suffix}"}
        for _ in range(2):
            response = service.http.post(f"{path}/rows", content=content, headers=headers)
            assert response.status_code == 201, response.text
    assert [chunk["number"] for chunk in service.get(path)["chunks"]] == [1, 2, 3]
    assert service.http.put(f"{path}/chunks/1", content=b"x").status_code == 409
    closed = service.post(f"{path}/close")
    assert (closed["state"], closed["rows"], closed["inputs"]) == ("ready", 12, 3)
    assert service.post(f"{path}/close") == closed
    assert service.http.post(f"{path}/rows", content=to_csv(), headers={"Content-Type": "text/csv"}).status_code == 409
    assert list_uploads(service) == []


def test_rows_of_the_wrong_type_are_rejected_on_arrival(service: RunningService) -> None:
    opened = post_dataset(service, json={"upload": "rows", **OPTIONS})
    path = f"/v1/datasets/{opened['id']}"
    for wrong_type, content, status in (
        ("text/csv", b"", 422),
        ("multipart/form-data; boundary=b", FORM, 415),
        (None, to_csv(), 415),
        ("image/png", to_csv(), 415),
    ):
        headers = {"Content-Type": wrong_type} if wrong_type else {}
        response = service.http.post(f"{path}/rows", content=content, headers=headers)
        assert response.status_code == status, response.text
        assert "empty" in response.text or "text/csv" in response.text
    assert service.get(path)["chunks"] == []
    rows = json.dumps(TABLE.to_pylist()).encode()
    for media_type, content in (("text/csv", to_csv()), ("application/json", rows)):
        assert (
            service.http.post(f"{path}/rows", content=content, headers={"Content-Type": media_type}).status_code == 201
        )
    assert service.post(f"{path}/close")["rows"] == 8
    chunked = f"/v1/datasets/{post_dataset(service, json={'upload': 'file', **OPTIONS})['id']}"
    assert service.http.put(f"{chunked}/chunks/1", content=b"").status_code == 422
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    assert service.http.put(f"{chunked}/chunks/1", content=FORM, headers=form).status_code == 415
    assert service.http.delete(chunked).status_code == 204


def test_failed_close_names_the_file_and_leaves_no_files(service: RunningService) -> None:
    path = f"/v1/datasets/{post_dataset(service, json={'upload': 'rows', **OPTIONS})['id']}"
    for content in (to_csv(), b"age,job,pays\n1,clerk,2\n3,smith\n"):
        assert service.http.post(f"{path}/rows", content=content, headers={"Content-Type": "text/csv"}).is_success
    rejected = service.post(f"{path}/close", status=422)
    assert (
        rejected["detail"]
        == "File 2 of 2: Line 3 has 2 cells; the table has 3 columns. If it is not a row of the table, remove it."
    )
    failed = service.get(path)
    assert (failed["state"], failed["bytes"], failed["errors"][0]["message"]) == ("failed", 0, rejected["detail"])
    assert list_uploads(service) == []
    assert service.http.delete(path).status_code == 204


def test_error_names_the_file_of_a_form(service: RunningService) -> None:
    files = [("file", ("a.csv", to_csv())), ("file", ("b.csv", b"")), ("file", ("c.csv", to_csv()))]
    rejected = post_dataset(service, 422, files=files, data=OPTIONS)
    assert rejected["detail"] == "File 2 of 3 ('b.csv'): There is no data: the file is empty."


def test_open_uploads_have_their_own_limit(start_service: StartService) -> None:
    service = start_service(max_uploads="1", max_open_uploads="2")
    oldest, *_ = (post_dataset(service, json={"upload": kind, **OPTIONS}) for kind in ("rows", "file"))
    assert post_dataset(service, files={"file": ("people.csv", to_csv())}, data=OPTIONS)["state"] == "ready"
    rejected = post_dataset(service, 429, json={"upload": "rows", **OPTIONS})
    assert oldest["id"] in rejected["detail"]
    assert service.http.delete(f"/v1/datasets/{oldest['id']}").status_code == 204
    assert post_dataset(service, json={"upload": "rows", **OPTIONS})["state"] == "receiving"


def test_chunked_upload_continues_after_a_crash(start_service: StartService) -> None:
    service = start_service()
    content = to_csv(table=pa.concat_tables([TABLE] * 1000))
    third = len(content) // 3
    chunks = {1: content[:third], 2: content[third : 2 * third], 3: content[2 * third :]}
    path = f"/v1/datasets/{post_dataset(service, json={'upload': 'file', **OPTIONS})['id']}"

    def put_chunk(number: int, chunk: bytes) -> dict[str, Any]:
        response = service.http.put(f"{path}/chunks/{number}", content=chunk, headers=content_digest(chunk))
        assert response.status_code == 200, response.text
        return dict(response.json())

    put_chunk(3, b"something else")
    put_chunk(1, chunks[1])
    service.kill()
    service.start()
    digests = {chunk["number"]: chunk["sha256"] for chunk in service.get(path)["chunks"]}
    assert digests == {1: hashlib.sha256(chunks[1]).hexdigest(), 3: hashlib.sha256(b"something else").hexdigest()}
    assert service.post(f"{path}/close", status=409)["detail"] == "Chunks are missing: 2."
    put_chunk(3, chunks[3])
    put_chunk(2, chunks[2])
    closed = service.post(f"{path}/close")
    single = post_dataset(service, params=OPTIONS, content=content, headers={"Content-Type": "text/csv"})
    assert closed["rows"] == 4000
    assert closed["sha256"] == single["sha256"]
    assert list_uploads(service) == []


@functools.cache
def make_large_csv(rows: int = 400_000) -> bytes:
    """Return a file whose ingest takes some seconds."""
    numbers = np.arange(rows, dtype=np.float64) / 7
    table = pa.table({**{f"x{column}": numbers + column for column in range(8)}, "pays": numbers})
    return to_csv(table=table)


def test_crash_during_ingest(start_service: StartService) -> None:
    service = start_service()
    content = make_large_csv()
    accepted = post_dataset(
        service,
        202,
        params=OPTIONS,
        content=content,
        headers={"Content-Type": "text/csv", "Prefer": "respond-async", "Idempotency-Key": "x"},
    )
    service.kill()
    service.start()
    assert service.get(f"/v1/datasets/{accepted['id']}")["state"] in ("reading", "ready")
    current = wait_for_ingest(service, accepted["id"])
    assert (current["state"], current["rows"]) == ("ready", 400_000)
    assert service.terminate() == 0
    assert list_uploads(service) == []
    assert [path.name for path in (service.data_dir / "datasets").iterdir()] == [accepted["id"]]


def test_crashed_ingest_process_is_retried_once(start_service: StartService) -> None:
    service = start_service()
    accepted = post_dataset(
        service,
        202,
        params=OPTIONS,
        content=make_large_csv(),
        headers={"Content-Type": "text/csv", "Prefer": "respond-async"},
    )
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not [*(service.data_dir / "datasets").glob("**/.unfinished-*/.unfinished-*")]:
        assert time.monotonic() < deadline
    os.kill(wait_for_task_process(service), signal.SIGKILL)
    assert wait_for_ingest(service, accepted["id"])["state"] == "ready"
    assert {path.name.split(".")[0] for path in (service.data_dir / "datasets" / accepted["id"]).iterdir()} == {
        "table",
        "targets",
    }
    again = post_dataset(
        service,
        202,
        params=OPTIONS,
        content=make_large_csv(),
        headers={"Content-Type": "text/csv", "Prefer": "respond-async"},
    )
    killed: set[int] = set()
    while len(killed) < 2:
        pid = wait_for_task_process(service, exclude=killed)
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    failed = wait_for_ingest(service, again["id"])
    assert failed["state"] == "failed"
    assert "signal 9" in failed["errors"][0]["message"]
    assert post_dataset(service, files={"file": ("people.csv", to_csv())}, data=OPTIONS)["rows"] == 4


def wait_for_task_process(service: RunningService, exclude: Collection[int] = ()) -> int:
    """Wait until there is a task process other than these, and return its id."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not (pids := [pid for pid in service.task_pids() if pid not in exclude]):
        assert time.monotonic() < deadline
    return pids[0]


def test_deletion_during_ingest(start_service: StartService) -> None:
    service = start_service()
    headers = {"Content-Type": "text/csv", "Prefer": "respond-async"}
    accepted = post_dataset(service, 202, params=OPTIONS, content=make_large_csv(), headers=headers)
    assert service.http.delete(f"/v1/datasets/{accepted['id']}").status_code == 204
    assert service.http.get(f"/v1/datasets/{accepted['id']}").status_code == 404
    assert list_uploads(service) == []
    assert not list((service.data_dir / "datasets").iterdir())


def test_client_disconnect_is_logged_without_traceback(start_service: StartService) -> None:
    service = start_service()
    service.wait_until_ready()
    head = (
        "POST /v1/datasets?target=pays HTTP/1.1\r\nHost: [::]\r\nContent-Type: text/csv\r\nContent-Length: 900\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2]))) as connection:
        connection.sendall(head.encode() + b"a,pays\n")
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while "disconnected during the body of POST /v1/datasets" not in (log := service.log.read_text()):
        assert time.monotonic() < deadline, log
    service.terminate()
    assert "Traceback" not in service.log.read_text()


def test_repeated_option_is_rejected(service: RunningService) -> None:
    repeated = [("target", "age"), ("target", "pays")]
    for request in (
        {"params": repeated, "content": to_csv(), "headers": {"Content-Type": "text/csv"}},
        {"params": OPTIONS, "files": {"file": ("people.csv", to_csv())}, "data": OPTIONS},
        {"content": FORM.replace(b"--b--", FORM), "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
    ):
        rejected = post_dataset(service, 422, **request)
        assert (rejected["errors"][0]["field"], "twice" in rejected["detail"]) == ("target", True)
    assert list_uploads(service) == []


def test_interrupted_upload_leaves_no_files(service: RunningService) -> None:
    port = int(service.url.rpartition(":")[2])
    head = (
        "POST /v1/datasets?target=pays HTTP/1.1\r\nHost: [::]\r\n"
        "Content-Type: text/csv\r\nContent-Length: 9000000\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head.encode() + b"a,pays\n" + b"1,2\n" * 1_000_000)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not has_received_bytes(service):
            assert time.monotonic() < deadline
    while list_uploads(service):
        assert time.monotonic() < deadline


def test_uploads_beyond_the_limit_are_rejected(start_service: StartService) -> None:
    service = start_service(max_uploads="2")
    headers = {"Content-Type": "text/csv", "Prefer": "respond-async"}
    request: dict[str, Any] = {"params": OPTIONS, "content": make_large_csv(100_000), "headers": headers}
    accepted = [post_dataset(service, 202, **request) for _ in range(2)]
    rejected = post_dataset(service, 429, **request)
    assert "2 datasets and networks are being uploaded or read already, the maximum" in rejected["detail"]
    assert [wait_for_ingest(service, dataset["id"])["state"] for dataset in accepted] == ["ready", "ready"]


def test_ingest_with_limited_memory_rejects_long_lines_and_bombs(start_service: StartService) -> None:
    """A line longer than a block and a compression bomb are rejected, and the next file is ingested."""
    service = start_service(max_upload_bytes=str(64 * 2**20))
    for content in (b"a,pays\n" + b"1" * (60 * 2**20), gzip.compress(b"a,pays\n" + b"1,2\n" * (30 * 2**20))):
        response = service.http.post(
            "/v1/datasets", params=OPTIONS, content=content, headers={"Content-Type": "text/csv"}
        )
        assert response.status_code in (413, 422), response.text
    assert post_dataset(service, files={"file": ("people.csv", to_csv())}, data=OPTIONS)["rows"] == 4


def test_close_waiting_for_ingest_responds_unavailable_on_shutdown(start_service: StartService) -> None:
    service = start_service()
    rows: dict[str, Any] = {"content": b"x,y\n1,2\n3,4\n", "headers": {"Content-Type": "text/csv"}}
    assert service.http.post("/v1/datasets?target=y", **rows).status_code == 201
    (pid,) = service.task_pids()
    opened = service.post("/v1/datasets", {"upload": "rows", "target": "y"}, 201)["id"]
    service.http.post(f"/v1/datasets/{opened}/rows", **rows)
    os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        close = pool.submit(service.http.post, f"/v1/datasets/{opened}/close", headers={"Prefer": "wait=100"})
        while service.get(f"/v1/datasets/{opened}")["state"] != "reading":
            pass
        assert service.terminate() == 0
        response = close.result()
    assert (response.status_code, response.json()["type"]) == (503, "/problems/unavailable")
    assert "shutting down" in response.json()["detail"]
    assert "Traceback" not in service.log.read_text()


def test_json_in_gzip(service: RunningService) -> None:
    rows = {"rows": [{"a": 1, "y": 2}, {"a": 3, "y": 4}], "target": "y"}
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    body = gzip.compress(json.dumps(rows).encode())
    assert post_dataset(service, content=body, headers=headers)["rows"] == 2
    for content, detail in ((b"{}", "is not in gzip"), (body[:-9], "ends within its gzip stream")):
        response = service.http.post("/v1/datasets", content=content, headers=headers)
        assert (response.status_code, detail in response.json()["detail"]) == (400, True)


def test_bomb_in_gzip_is_rejected(service: RunningService) -> None:
    bomb = gzip.compress(b'{"rows": [' + b" " * 2**30)
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert service.http.post("/v1/datasets", content=bomb, headers=headers).status_code == 413
