"""Files in requests and responses: uploads, as a body or in a form, and downloads."""

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import PurePath
from typing import Annotated, BinaryIO, get_args

from fastapi import Header, Request
from fastapi.responses import StreamingResponse
from pydantic import TypeAdapter, ValidationError
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from nabla.app.http.headers import ContentDigest, parse_media_type
from nabla.app.http.middleware import stream_body
from nabla.app.schemas.common import Name
from nabla.engine import durable_files
from nabla.engine.data.ingest_options import FieldName
from nabla.engine.errors import InvalidInput
from nabla.engine.literals import UploadKind
from nabla.engine.records.upload import Upload, UploadChunk
from nabla.engine.services.datasets import DatasetService

JSON = "application/json"
MULTIPART_FORM = "multipart/form-data"
OCTET_STREAM = "application/octet-stream"
FILE_CONTENT = {
    media_type: {"schema": {"type": "string", "format": "binary"}}
    for media_type in (
        "text/csv",
        "text/tab-separated-values",
        "application/x-ndjson",
        "application/vnd.apache.parquet",
        "application/vnd.apache.arrow.file",
        "application/vnd.apache.arrow.stream",
        OCTET_STREAM,
    )
}
"""OpenAPI content of a body that is a file. Its real format is detected from its first bytes."""
FILE_BODY = {"required": True, "content": FILE_CONTENT}
Digest = Annotated[
    str | None,
    Header(alias="Content-Digest", description="SHA-256 of the body (RFC 9530): sha-256=:BASE64:"),
]

_CHUNK_BYTES = 2**20
_MAX_FORM_FIELDS = 30
_MAX_FIELD_BYTES = 2**20
_FILE_FIELDS: dict[str, FieldName] = {name: name for name in get_args(FieldName)}
_NAME: TypeAdapter[str] = TypeAdapter(Name)


def require_content_type(request: Request, accepted: Sequence[str]) -> str:
    """Return the media type of the body.

    Raises:
        HTTPException: It is not one of the accepted ones (415).
    """
    return parse_media_type(request.headers.get("content-type", ""), tuple(accepted))


async def receive_file(request: Request, datasets: DatasetService, upload: Upload) -> UploadChunk:
    """Write the body to disk as a chunk of an upload.

    Raises:
        InvalidInput: The body is empty, or differs from its Content-Digest.
    """
    digest = ContentDigest(request)
    file = await run_in_threadpool(datasets.create_chunk_file, upload)
    try:
        async for part in _iter_verified(request, digest):
            await run_in_threadpool(file.write, part)
        if not file.bytes:
            raise InvalidInput("body", "There is no data: the body is empty.")
        chunk = UploadChunk(content_type=request.headers.get("content-type", ""))
        return await run_in_threadpool(datasets.store_chunk, upload, file, chunk)
    finally:
        await run_in_threadpool(file.close)


async def _iter_verified(request: Request, digest: ContentDigest) -> AsyncIterator[bytes]:
    async for part in rechunk(stream_body(request)):
        await digest.update(part)
        yield part
    digest.verify()


async def rechunk(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Join parts into chunks of at least 1 MiB, except the last: each chunk costs a thread switch."""
    buffer = bytearray()
    async for part in parts:
        buffer += part
        if len(buffer) >= _CHUNK_BYTES:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)


class UploadForm:
    """Parser of a multipart form that writes its files to disk as they arrive.

    Starlette's parser, to which FastAPI's `form_limits` apply, would write each file twice: first to a temporary file.

    Attributes:
        options: Names and values of the fields that are not files.
        chunks: The files, as chunks of the upload.
    """

    def __init__(self, datasets: DatasetService, upload: Upload, content_type: str) -> None:
        self.options: list[tuple[str, str]] = []
        self.chunks: list[UploadChunk] = []
        self._datasets = datasets
        self._upload = upload
        _, parameters = parse_options_header(content_type)
        boundary = parameters.get(b"boundary")
        if not boundary:
            raise HTTPException(400, "The Content-Type of the form has no boundary.")
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
            },
        )
        self._header_name, self._header_value = bytearray(), bytearray()
        self._disposition: dict[bytes, bytes] = {}
        self._content_type = ""
        self._file: durable_files.PendingFile | None = None
        self._value = bytearray()
        self._part_complete = True

    async def receive(self, request: Request) -> None:
        """Parse the whole body.

        Raises:
            InvalidInput: A field is unknown or too large, or the body differs from its Content-Digest.
            HTTPException: The body is not a valid form (400).
        """
        digest = ContentDigest(request)
        try:
            async for part in _iter_verified(request, digest):
                await run_in_threadpool(self._parser.write, part)
            self._parser.finalize()
        except MultipartParseError as error:
            raise HTTPException(400, f"The form is malformed: {error}.") from error
        finally:
            if self._file is not None:
                await run_in_threadpool(self._file.close)
        if not self._part_complete:
            raise HTTPException(400, "The form ends in the middle of a part.")

    def _on_part_begin(self) -> None:
        if len(self.options) + len(self.chunks) >= _MAX_FORM_FIELDS:
            raise InvalidInput("file", f"A form can have at most {_MAX_FORM_FIELDS} fields.")
        self._disposition, self._content_type, self._part_complete = {}, "", False
        self._value = bytearray()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        name, value = self._header_name.decode("latin-1").lower(), self._header_value.decode("latin-1")
        if name == "content-disposition":
            self._disposition = parse_options_header(value)[1]
        elif name == "content-type":
            self._content_type = value
        self._header_name, self._header_value = bytearray(), bytearray()

    def _on_headers_finished(self) -> None:
        if b"filename" in self._disposition:
            self._file = self._datasets.create_chunk_file(self._upload)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(memoryview(data)[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > _MAX_FIELD_BYTES:
            raise InvalidInput(
                self._field, f"A field can have at most {_MAX_FIELD_BYTES} bytes; files need a file name."
            )

    def _on_part_end(self) -> None:
        self._part_complete = True
        field = self._field
        if self._file is None and field in _FILE_FIELDS:
            raise InvalidInput(field, "This field contains no file; files need a file name.")
        if self._file is None:
            self.options.append((field, self._value.decode("utf-8", "replace")))
            return
        if field not in _FILE_FIELDS:
            raise InvalidInput(field, f"This is not a field for a file. Accepted: {', '.join(_FILE_FIELDS)}.")
        name = self._disposition[b"filename"].decode("utf-8", "replace")
        chunk = UploadChunk(len(self.chunks) + 1, name, self._content_type, _FILE_FIELDS[field])
        file, self._file = self._file, None
        try:
            self.chunks.append(self._datasets.store_chunk(self._upload, file, chunk))
        finally:
            file.close()

    @property
    def _field(self) -> str:
        return self._disposition.get(b"name", b"").decode("utf-8", "replace")


def reject_duplicate_options(options: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the options of a form and a query as a dictionary.

    Raises:
        InvalidInput: An option occurs twice.
    """
    unique: dict[str, str] = {}
    for name, value in options:
        if name in unique:
            raise InvalidInput(name, "This option is given twice; separate the items of a list with commas.")
        unique[name] = value
    return unique


def resolve_name(name: str | None, chunks: Sequence[UploadChunk]) -> str | None:
    """Return the requested name, or by default the stem of a single file's name if it is valid."""
    if name is not None or len(chunks) != 1:
        return name
    try:
        return _NAME.validate_python(PurePath(chunks[0].name).stem)
    except ValidationError:
        return None


@asynccontextmanager
async def open_upload(datasets: DatasetService, kind: UploadKind) -> AsyncIterator[Upload]:
    """Start an upload, and delete its files at the end of the block unless it was recorded."""
    upload = await run_in_threadpool(datasets.begin_upload, kind)
    try:
        yield upload
    finally:
        await run_in_threadpool(datasets.discard, upload)


def download_response(file: BinaryIO, name: str, media_type: str = OCTET_STREAM) -> StreamingResponse:
    """Return an open file as an attachment with this name; the file is closed at the end."""
    response = file_response(file, media_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def file_response(file: BinaryIO, media_type: str) -> StreamingResponse:
    """Return an open file as the body; the file is closed at the end."""
    headers = {"Content-Length": str(os.fstat(file.fileno()).st_size)}
    return StreamingResponse(_read_chunks(file), media_type=media_type, headers=headers)


def _read_chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
