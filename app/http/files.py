"""Bodies of requests that go to disk as they arrive: files of a dataset, as they are or in a form."""

import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import PurePath
from typing import Annotated, Any, BinaryIO, get_args

from anyio import to_thread
from fastapi import Header, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import TypeAdapter, ValidationError
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from nabla.app.dependencies import Context
from nabla.app.http.body_limits import streamed
from nabla.app.http.headers import ContentDigest
from nabla.app.http.idempotency import Once
from nabla.app.schemas.common import Name
from nabla.app.schemas.datasets import DatasetView
from nabla.engine import durable_files
from nabla.engine.data.dataset import Dataset
from nabla.engine.data.ingest_options import FieldName
from nabla.engine.errors import InvalidInput
from nabla.engine.literals import UploadKind
from nabla.engine.records.upload import Upload, UploadChunk
from nabla.engine.services.datasets import Uploads
from nabla.engine.storage.registry import Receipt

# What arrives is written so much at a time.
_BYTES_AT_ONCE = 2**20
_MOST_FIELDS = 30
_MOST_BYTES_OF_A_FIELD = 2**20
_FIELDS: dict[str, FieldName] = {name: name for name in get_args(FieldName)}
FORM = "multipart/form-data"


async def receive_file(request: Request, uploads: Uploads, upload: Upload) -> UploadChunk:
    """The body as a chunk of the upload. Raises InvalidInput if it is empty, or not what its `Content-Digest` says."""
    digest = ContentDigest(request)
    file = await run_in_threadpool(uploads.incoming, upload)
    try:
        async for part in _iter_parts(request, digest):
            await run_in_threadpool(file.write, part)
        if not file.bytes:
            raise InvalidInput("body", "There is no data: the body is empty.")
        chunk = UploadChunk(content_type=request.headers.get("content-type", ""))
        return await run_in_threadpool(uploads.kept, upload, file, chunk)
    finally:
        await run_in_threadpool(file.close)


async def _iter_parts(request: Request, digest: ContentDigest) -> AsyncIterator[bytes]:
    """The body. Raises InvalidInput at its end if it is not what was announced."""
    async for part in large(streamed(request)):
        await digest.see(part)
        yield part
    digest.check()


async def large(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """In larger parts than they arrive in."""
    gathered = bytearray()
    async for part in parts:
        gathered += part
        if len(gathered) >= _BYTES_AT_ONCE:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)


class Form:
    """A form as it arrives: `options` are its fields; its files become chunks of the upload."""

    def __init__(self, uploads: Uploads, upload: Upload, content_type: str) -> None:
        self.options: list[tuple[str, str]] = []
        self.chunks: list[UploadChunk] = []
        self._uploads = uploads
        self._upload = upload
        _, parameters = parse_options_header(content_type)
        boundary = parameters.get(b"boundary")
        if not boundary:
            raise HTTPException(400, "The Content-Type of a form names its boundary; this one does not.")
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
            },
        )
        self._header = [bytearray(), bytearray()]
        self._disposition: dict[bytes, bytes] = {}
        self._kind = ""
        self._file: durable_files.Unfinished | None = None
        self._value = bytearray()
        self._ended = True

    async def receive(self, request: Request) -> None:
        """All of it. Raises InvalidInput; HTTPException if it is no form."""
        digest = ContentDigest(request)
        try:
            async for part in _iter_parts(request, digest):
                await run_in_threadpool(self._parser.write, part)
            self._parser.finalize()
        except MultipartParseError as problem:
            raise HTTPException(400, f"The form cannot be read: {problem}.") from problem
        finally:
            if self._file is not None:
                await run_in_threadpool(self._file.close)
        if not self._ended:
            raise HTTPException(400, "The form ends in the middle of a part.")

    def _part_begin(self) -> None:
        if len(self.options) + len(self.chunks) >= _MOST_FIELDS:
            raise InvalidInput("file", f"A form has at most {_MOST_FIELDS} fields.")
        self._disposition, self._kind, self._ended = {}, "", False
        self._value = bytearray()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def _header_end(self) -> None:
        name, value = (part.decode("latin-1") for part in self._header)
        if name.lower() == "content-disposition":
            self._disposition = parse_options_header(value)[1]
        elif name.lower() == "content-type":
            self._kind = value
        self._header = [bytearray(), bytearray()]

    def _headers_finished(self) -> None:
        if b"filename" in self._disposition:
            self._file = self._uploads.incoming(self._upload)

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(memoryview(data)[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > _MOST_BYTES_OF_A_FIELD:
            raise InvalidInput(
                self._name, f"A field has at most {_MOST_BYTES_OF_A_FIELD} bytes; files have a file name."
            )

    def _part_end(self) -> None:
        self._ended = True
        if self._file is None and self._name in _FIELDS:
            raise InvalidInput(self._name, "There is no file in this field; one comes with a file name.")
        if self._file is None:
            self.options.append((self._name, self._value.decode("utf-8", "replace")))
            return
        if self._name not in _FIELDS:
            accepted = ", ".join(_FIELDS)
            raise InvalidInput(self._name, f"There is no such field for a file. Accepted: {accepted}.")
        name = self._disposition[b"filename"].decode("utf-8", "replace")
        chunk = UploadChunk(len(self.chunks) + 1, name, self._kind, _FIELDS[self._name])
        file, self._file = self._file, None
        try:
            self.chunks.append(self._uploads.kept(self._upload, file, chunk))
        finally:
            file.close()

    @property
    def _name(self) -> str:
        return self._disposition.get(b"name", b"").decode("utf-8", "replace")


# Kinds of files as a body of their own. What it really is, its first bytes tell.
FILES = {
    kind: {"schema": {"type": "string", "format": "binary"}}
    for kind in (
        "text/csv",
        "text/tab-separated-values",
        "application/x-ndjson",
        "application/vnd.apache.parquet",
        "application/vnd.apache.arrow.file",
        "application/vnd.apache.arrow.stream",
        "application/octet-stream",
    )
}
JSON = "application/json"
_NAME: TypeAdapter[str] = TypeAdapter(Name)
FILE = {"required": True, "content": FILES}
TAKEN: dict[int | str, dict[str, Any]] = {202: {"model": DatasetView, "description": "It is being read."}}

Digest = Annotated[
    str | None,
    Header(alias="Content-Digest", description="SHA-256 of the body, as RFC 9530 has it: sha-256=:BASE64:"),
]


def checked_kind(request: Request, accepted: Sequence[str]) -> str:
    """What the body is, as its Content-Type has it. Raises HTTPException unless it is one of these."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in accepted:
        raise HTTPException(415, f"The body is {kind or 'of no stated kind'}; accepted: {', '.join(accepted)}.")
    return kind


async def created(
    here: Context, once: Once, content: bytes, make: Callable[[Receipt | None], Dataset | Upload]
) -> Response:
    """What waits for reading does not keep other requests from being carried out."""

    def create() -> Response:
        return once.create(lambda: content, make, partial(view, here), lambda found: f"/v1/datasets/{found.id}", status)

    return await to_thread.run_sync(create, limiter=here.waiting)


@asynccontextmanager
async def arriving(here: Context, kind: UploadKind) -> AsyncIterator[Upload]:
    """A new upload; nothing is left of it unless it is known when the block ends."""
    upload = await run_in_threadpool(here.uploads.begin, kind)
    try:
        yield upload
    finally:
        await run_in_threadpool(here.uploads.discard, upload)


def each_once(options: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Raises InvalidInput if one is there twice, in the form or in the query."""
    found: dict[str, str] = {}
    for name, value in options:
        if name in found:
            raise InvalidInput(name, "This option is there twice; lists have commas between their items.")
        found[name] = value
    return found


def name_for(name: str | None, chunks: Sequence[UploadChunk]) -> str | None:
    """As asked for; or that of the file, where it can be one."""
    if name is not None or len(chunks) != 1:
        return name
    try:
        return _NAME.validate_python(PurePath(chunks[0].name).stem)
    except ValidationError:
        return None


def status(found: Dataset | Upload) -> int:
    """202: it was taken, and is not ready."""
    return 202 if isinstance(found, Upload) and found.state == "reading" else 201


def view(here: Context, found: Dataset | Upload) -> DatasetView:
    return DatasetView.of(found, here.uploads.progress(found) if isinstance(found, Upload) else None)


BYTES = "application/octet-stream"


def download(file: BinaryIO, name: str, kind: str = BYTES) -> StreamingResponse:
    """All of an open file, which is closed then, to be saved under this name."""
    response = sent(file, kind)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def sent(file: BinaryIO, kind: str) -> StreamingResponse:
    """All of an open file, which is closed then."""
    headers = {"Content-Length": str(os.fstat(file.fileno()).st_size)}
    return StreamingResponse(_read_chunks(file), media_type=kind, headers=headers)


def _read_chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while part := file.read(_BYTES_AT_ONCE):
            yield part
