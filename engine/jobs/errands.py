"""What passes between the service and the processes that read and write files for it: one JSON frame each."""

from typing import Literal

import msgspec

from engine.data.columns import ColumnType
from engine.data.dataset import Dataset
from engine.data.preparation import PreparationRule
from engine.data.profiles import Profile
from engine.data.shares import Share
from engine.data.sources import Content, Progress, Reading, Source
from engine.errors import Conflict, Damaged, InvalidInput, NablaError, StorageFailed, StorageFull, TooLarge
from engine.exchange.portable import FormatName, Hints
from engine.nn.architecture import Architecture

# To the reader.


class Read(msgspec.Struct, frozen=True, tag=True):
    """Read files and store what is in them in the empty folder `folder`. `check` first that each of them is what was
    written: the digest in its name tells."""

    sources: tuple[Source, ...]
    reading: Reading
    folder: str
    check: bool


class Look(msgspec.Struct, frozen=True, tag=True):
    """Make the profile of a stored dataset."""

    dataset: Dataset
    folder: str


class Divide(msgspec.Struct, frozen=True, tag=True):
    """Store parts of a stored dataset, each in an empty folder of its own."""

    dataset: Dataset
    folder: str
    parts: tuple[Share, ...]
    seed: int
    stratified: bool


class TakeIn(msgspec.Struct, frozen=True, tag=True):
    """Read a network, of at most so many parameters, and keep it as weights at `weights`."""

    path: str
    hints: Hints
    most_parameters: int
    weights: str


class CopyOut(msgspec.Struct, frozen=True, tag=True):
    """Write a version of a network to a file at `path`."""

    weights: str
    architecture: Architecture
    rule: PreparationRule
    classes: tuple[str, ...] | None
    format: FormatName
    path: str


Errand = Read | Look | Divide | TakeIn | CopyOut

# From the reader.


class Advanced(msgspec.Struct, frozen=True, tag=True):
    progress: Progress


class Stored(msgspec.Struct, frozen=True, tag=True):
    """What was read, or each part of what was divided."""

    contents: tuple[Content, ...]


class Looked(msgspec.Struct, frozen=True, tag=True):
    profile: Profile


class TakenIn(msgspec.Struct, frozen=True, tag=True):
    """The network that a file holds, and the name of the file that its weights are in now."""

    format: FormatName
    file: str
    architecture: Architecture
    rule: PreparationRule
    classes: tuple[str, ...] | None
    columns: tuple[tuple[str, ColumnType], ...] | None


class CopiedOut(msgspec.Struct, frozen=True, tag=True):
    pass


Result = Stored | Looked | TakenIn | CopiedOut


_Kind = Literal["invalid", "too_large", "conflict", "storage_full", "storage_failed", "damaged", "internal"]
_KINDS: dict[_Kind, type[NablaError]] = {
    "storage_full": StorageFull,
    "damaged": Damaged,
    "storage_failed": StorageFailed,
    "too_large": TooLarge,
    "invalid": InvalidInput,
    "conflict": Conflict,
    "internal": NablaError,
}


class Failed(msgspec.Struct, frozen=True, tag=True):
    """It could not be done. `problems`: fields and sentences, where it is the sender's fault."""

    kind: _Kind
    message: str
    problems: tuple[tuple[str, str], ...] = ()

    @classmethod
    def because_of(cls, error: NablaError) -> "Failed":
        kind = next(kind for kind, type_ in _KINDS.items() if isinstance(error, type_))
        return cls(kind, str(error), error.problems if isinstance(error, InvalidInput) else ())

    @property
    def error(self) -> NablaError:
        type_ = _KINDS[self.kind]
        if issubclass(type_, InvalidInput):
            first, *others = self.problems
            return type_(*first, *others)
        return type_(self.message)


FromReader = Advanced | Stored | Looked | TakenIn | CopiedOut | Failed
