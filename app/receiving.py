"""Bodies of requests that go to disk as they arrive: files of a dataset, as they are or in a form."""

from collections.abc import AsyncIterator
from typing import get_args

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from app.bodies import streamed
from app.digests import ContentDigest
from engine import durable
from engine.data.sources import FieldName
from engine.errors import InvalidInput
from engine.jobs.upload import Piece, Upload
from engine.jobs.uploads import Uploads

# What arrives is written so much at a time.
_BYTES_AT_ONCE = 2**20
_MOST_FIELDS = 30
_MOST_BYTES_OF_A_FIELD = 2**20
_FIELDS: dict[str, FieldName] = {name: name for name in get_args(FieldName)}
FORM = "multipart/form-data"


async def receive_file(request: Request, uploads: Uploads, upload: Upload) -> Piece:
    """The body as a piece of the upload. Raises InvalidInput if it is empty, or not what its `Content-Digest` says."""
    digest = ContentDigest(request)
    file = await run_in_threadpool(uploads.incoming, upload)
    try:
        async for part in _parts(request, digest):
            await run_in_threadpool(file.write, part)
        if not file.bytes:
            raise InvalidInput("body", "There is no data: the body is empty.")
        piece = Piece(content_type=request.headers.get("content-type", ""))
        return await run_in_threadpool(uploads.kept, upload, file, piece)
    finally:
        await run_in_threadpool(file.close)


async def _parts(request: Request, digest: ContentDigest) -> AsyncIterator[bytes]:
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
    """A form as it arrives: `options` are its fields; its files become pieces of the upload."""

    def __init__(self, uploads: Uploads, upload: Upload, content_type: str) -> None:
        self.options: list[tuple[str, str]] = []
        self.pieces: list[Piece] = []
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
        self._file: durable.Unfinished | None = None
        self._value = bytearray()
        self._ended = True

    async def receive(self, request: Request) -> None:
        """All of it. Raises InvalidInput; HTTPException if it is no form."""
        digest = ContentDigest(request)
        try:
            async for part in _parts(request, digest):
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
        if len(self.options) + len(self.pieces) >= _MOST_FIELDS:
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
        piece = Piece(len(self.pieces) + 1, name, self._kind, _FIELDS[self._name])
        file, self._file = self._file, None
        try:
            self.pieces.append(self._uploads.kept(self._upload, file, piece))
        finally:
            file.close()

    @property
    def _name(self) -> str:
        return self._disposition.get(b"name", b"").decode("utf-8", "replace")
