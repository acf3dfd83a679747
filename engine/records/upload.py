"""Uploads: datasets that are not ready, or that could not be read."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from nabla.engine.data.ingest_options import FieldName, IngestOptions, SourceFile
from nabla.engine.literals import UploadKind, UploadState


@dataclass(frozen=True)
class UploadChunk:
    """A received file: all of an upload, or a part of it.

    Attributes:
        number: Its position in the upload, from 1.
        name: The file name that the client sent.
        content_type: The media type that the client sent.
        field: The field of the form that it was in.
        file: Its name in the directory of the upload.
        bytes: Its size.
        sha256: Its digest, in hexadecimal digits.
    """

    number: int = 1
    name: str = ""
    content_type: str = ""
    field: FieldName = "file"
    file: str = ""
    bytes: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class Upload:
    """An upload, which becomes a dataset with the same id.

    Attributes:
        id: The id.
        kind: What the chunks are.
        created_at: When it was created.
        name: Name of the dataset.
        reading: How to read the files.
        state: Receiving chunks, being read, or failed.
        chunks: The received chunks, in the order of their numbers.
        problems: Why it failed: pairs of a field and a message.
    """

    id: str
    kind: UploadKind
    created_at: datetime
    name: str | None = None
    reading: IngestOptions = field(default_factory=IngestOptions)
    state: UploadState = "receiving"
    chunks: tuple[UploadChunk, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()

    @property
    def bytes(self) -> int:
        """Size of all chunks."""
        return sum(chunk.bytes for chunk in self.chunks)

    def chunk(self, number: int) -> UploadChunk | None:
        """Return the chunk with a number, or None."""
        return next((chunk for chunk in self.chunks if chunk.number == number), None)

    def sources(self, directory: Path) -> tuple[SourceFile, ...]:
        """Return the files to ingest. `directory`: where the chunks are."""
        if self.kind == "file":
            first = self.chunks[0]
            paths = tuple(directory / chunk.file for chunk in self.chunks)
            return (SourceFile(paths, first.name, first.content_type),)
        return tuple(
            SourceFile((directory / chunk.file,), chunk.name, chunk.content_type, chunk.field) for chunk in self.chunks
        )
