"""A dataset on its way: what has come of it, and what it did not become."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from nabla.engine.data.ingest_options import FieldName, Reading, Source
from nabla.engine.literals import UploadKind, UploadState


@dataclass(frozen=True)
class UploadChunk:
    """A file as it came, called `name` by its sender, and `file` in the upload's folder. Numbers begin at 1."""

    number: int = 1
    name: str = ""
    content_type: str = ""
    field: FieldName = "file"
    file: str = ""
    bytes: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class Upload:
    """`chunks` are in the order of their numbers. `problems`: why it failed, as fields and sentences."""

    id: str
    kind: UploadKind
    created_at: datetime
    name: str | None = None
    reading: Reading = field(default_factory=Reading)
    state: UploadState = "receiving"
    chunks: tuple[UploadChunk, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()

    @property
    def bytes(self) -> int:
        return sum(chunk.bytes for chunk in self.chunks)

    def chunk(self, number: int) -> UploadChunk | None:
        return next((chunk for chunk in self.chunks if chunk.number == number), None)

    def sources(self, folder: Path) -> tuple[Source, ...]:
        """What there is to read; `folder` has the chunks."""
        if self.kind == "file":
            first = self.chunks[0]
            paths = tuple(folder / chunk.file for chunk in self.chunks)
            return (Source(paths, first.name, first.content_type),)
        return tuple(
            Source((folder / chunk.file,), chunk.name, chunk.content_type, chunk.field) for chunk in self.chunks
        )
