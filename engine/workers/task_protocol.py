"""What passes between the service and its processes that carry out errands: one JSON frame each."""

from pathlib import Path
from typing import Literal

import msgspec

from nabla.engine.data.dataset import Dataset
from nabla.engine.data.export import ArrowForm
from nabla.engine.data.ingest_options import Content, Progress, Reading, Share, Source
from nabla.engine.data.preprocessing import PreprocessingConfig
from nabla.engine.data.profile_schema import Profile
from nabla.engine.data.schema import Column, ColumnType
from nabla.engine.errors import Conflict, Damaged, InvalidInput, NablaError, StorageFailed, StorageFull, TooLarge
from nabla.engine.literals import FileFormat, NetworkFormat
from nabla.engine.model_io.bundle import Hints
from nabla.engine.nn.architecture import Architecture

# To the process. `folders` of an errand are those that it fills.


class Read(msgspec.Struct, frozen=True, tag=True):
    """Read files and store what is in them in the empty folder `folder`. `check` first that each of them is what was
    written: the digest in its name tells."""

    sources: tuple[Source, ...]
    reading: Reading
    folder: str
    check: bool

    @property
    def folders(self) -> tuple[Path, ...]:
        return (Path(self.folder),)


class Look(msgspec.Struct, frozen=True, tag=True):
    """Make the profile of a stored dataset."""

    dataset: Dataset
    folder: str

    @property
    def folders(self) -> tuple[Path, ...]:
        return ()


class Divide(msgspec.Struct, frozen=True, tag=True):
    """Store parts of a stored dataset, each in an empty folder of its own."""

    dataset: Dataset
    folder: str
    parts: tuple[Share, ...]
    seed: int
    stratified: bool

    @property
    def folders(self) -> tuple[Path, ...]:
        return tuple(part.folder for part in self.parts)


class TakeIn(msgspec.Struct, frozen=True, tag=True):
    """Read a network, of at most so many parameters, and keep it as weights at `weights`."""

    path: str
    hints: Hints
    most_parameters: int
    weights: str

    @property
    def folders(self) -> tuple[Path, ...]:
        return (Path(self.weights).parent,)


class CopyOut(msgspec.Struct, frozen=True, tag=True):
    """Write a version of a network to a file at `path`."""

    weights: str
    architecture: Architecture
    rule: PreprocessingConfig
    classes: tuple[str, ...] | None
    format: NetworkFormat
    path: str

    @property
    def folders(self) -> tuple[Path, ...]:
        return ()


class Predict(msgspec.Struct, frozen=True, tag=True):
    """Work a stored dataset through the network with these `weights`, into a file of this format in the empty folder
    `folder`. `rule`: how data are prepared where nothing was fitted; `classes`: those of the version."""

    dataset: Dataset
    dataset_folder: str
    architecture: Architecture
    weights: str
    rule: PreprocessingConfig
    classes: tuple[str, ...] | None
    format: FileFormat
    probabilities: bool
    folder: str

    @property
    def folders(self) -> tuple[Path, ...]:
        return (Path(self.folder),)


class ReadRows(msgspec.Struct, frozen=True, tag=True):
    """Read an Arrow table of at most `most_rows` rows, that are to be predicted, into a file in `folder`: see
    `engine.data.reading.raw_rows`. `largest`: bytes of what is read, and of the file."""

    path: str
    columns: tuple[Column, ...] | None
    inputs: int
    most_rows: int
    largest: int
    folder: str

    @property
    def folders(self) -> tuple[Path, ...]:
        return (Path(self.folder),)


class WriteAnswers(msgspec.Struct, frozen=True, tag=True):
    """Make an Arrow table in `folder` of the outputs in a .npy file: see `engine.training.predicting`."""

    outputs: str
    classes: tuple[str, ...] | None
    probabilities: bool
    top_k: int | None
    form: ArrowForm
    folder: str

    @property
    def folders(self) -> tuple[Path, ...]:
        return (Path(self.folder),)


Errand = Read | Look | Divide | TakeIn | CopyOut | Predict | ReadRows | WriteAnswers

# From the process.


class Advanced(msgspec.Struct, frozen=True, tag=True):
    progress: Progress


class Stored(msgspec.Struct, frozen=True, tag=True):
    """What was read, or each part of what was divided."""

    contents: tuple[Content, ...]


class Looked(msgspec.Struct, frozen=True, tag=True):
    profile: Profile


class Predicted(msgspec.Struct, frozen=True, tag=True):
    """The name of the file, and its size."""

    file: str
    bytes: int


class TakenIn(msgspec.Struct, frozen=True, tag=True):
    """The network that a file holds, and the name of the file that its weights are in now."""

    format: NetworkFormat
    file: str
    architecture: Architecture
    rule: PreprocessingConfig
    classes: tuple[str, ...] | None
    columns: tuple[tuple[str, ColumnType], ...] | None


class CopiedOut(msgspec.Struct, frozen=True, tag=True):
    pass


class RowsRead(msgspec.Struct, frozen=True, tag=True):
    """So many rows, in a file of this name."""

    file: str
    rows: int


class AnswersWritten(msgspec.Struct, frozen=True, tag=True):
    """The name of the file."""

    file: str


Result = Stored | Looked | TakenIn | CopiedOut | Predicted | RowsRead | AnswersWritten


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


# Characters of a sentence, which may speak of what a file says at any length.
_LONGEST_SENTENCE = 4000


def _cut(sentence: str) -> str:
    return sentence if len(sentence) <= _LONGEST_SENTENCE else f"{sentence[:_LONGEST_SENTENCE]}…"


class Failed(msgspec.Struct, frozen=True, tag=True):
    """It could not be done. `problems`: fields and sentences, where it is the sender's fault."""

    kind: _Kind
    message: str
    problems: tuple[tuple[str, str], ...] = ()

    @classmethod
    def because_of(cls, error: NablaError) -> "Failed":
        kind = next(kind for kind, type_ in _KINDS.items() if isinstance(error, type_))
        problems = error.problems if isinstance(error, InvalidInput) else ()
        return cls(kind, _cut(str(error)), tuple((field, _cut(sentence)) for field, sentence in problems))

    @property
    def error(self) -> NablaError:
        type_ = _KINDS[self.kind]
        if issubclass(type_, InvalidInput):
            first, *others = self.problems
            return type_(*first, *others)
        return type_(self.message)


FromChild = Advanced | Stored | Looked | TakenIn | CopiedOut | Predicted | RowsRead | AnswersWritten | Failed
