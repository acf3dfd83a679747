"""A dataset on its way: what has come of it, and what it did not become."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from nabla.engine.data.ingest_options import FieldName, Reading, Source
from nabla.engine.literals import UploadKind, UploadState


@dataclass(frozen=True)
class Piece:
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
    """`pieces` are in the order of their numbers. `problems`: why it failed, as fields and sentences."""

    id: str
    kind: UploadKind
    created_at: datetime
    name: str | None = None
    reading: Reading = field(default_factory=Reading)
    state: UploadState = "receiving"
    pieces: tuple[Piece, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()

    @property
    def bytes(self) -> int:
        return sum(piece.bytes for piece in self.pieces)

    def piece(self, number: int) -> Piece | None:
        return next((piece for piece in self.pieces if piece.number == number), None)

    def sources(self, folder: Path) -> tuple[Source, ...]:
        """What there is to read; `folder` has the pieces."""
        if self.kind == "file":
            first = self.pieces[0]
            paths = tuple(folder / piece.file for piece in self.pieces)
            return (Source(paths, first.name, first.content_type),)
        return tuple(
            Source((folder / piece.file,), piece.name, piece.content_type, piece.field) for piece in self.pieces
        )
