"""Input, progress and result of an ingest: the files and how to parse them, and the content of the stored dataset."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nabla.engine.data.examples import reject_with_unlabeled
from nabla.engine.data.schema import Cell, Classes, ClassLabel, Column, ColumnType, ImputationStrategy
from nabla.engine.errors import InvalidInput, TooLarge
from nabla.engine.literals import DataFormat

Decimal = Literal[".", ","]
Cleaning = Literal["none", "auto"]
Task = Literal["regression", "classification", "auto"]
FieldName = Literal["file", "inputs", "targets", "labels", "weights"]


@dataclass(frozen=True)
class SourceFile:
    """An uploaded file.

    Attributes:
        paths: Its chunks in order, which are read as one file.
        name: File name that the client sent, or "".
        content_type: Media type that the client sent, or "".
        field: The array that it holds; "file" for a whole table or archive.
    """

    paths: tuple[Path, ...]
    name: str = ""
    content_type: str = ""
    field: FieldName = "file"


@dataclass(frozen=True)
class IngestOptions:
    """How to parse files, and the role of each column.

    Attributes:
        format: Format of the files; None detects it.
        header: Whether the first line of a CSV file names the columns; None detects it.
        delimiter: The character between the cells of a CSV file; None detects it.
        skip_rows: Number of lines before the table in a CSV file; None detects it if `cleaning` is "auto".
        comment: The character at the beginning of lines of a CSV file that are comments.
        target: Names of the columns to learn as numbers.
        label: Name of the column of classes to learn.
        weight: Name of the column of sample weights.
        features: Names of the input columns; None takes all columns without another role.
        classes: The classes in their order; None sorts those that occur.
        types: Types of columns for which the inferred type is wrong.
        imputation: Strategy for missing values, for all columns or by name; rows with a missing value that no strategy
            covers are rejected.
        constants: Values for the imputation "constant", by column name.
        largest: Limit on the decompressed size, in bytes.
        unlabeled: The rows have no targets and can only be predicted; missing values stay missing until a network's
            preprocessor imputes them.
        decimal: The decimal separator of numbers that are text; None detects it.
        encoding: Encoding of text; None stands for UTF-8, and for UTF-16 with a byte order mark.
        null_values: Texts that stand for a missing value, in addition to the usual ones.
        drop_rows: Numbers of rows to leave out, from 1.
        exclude: Columns that are not features.
        task: Whether a single `target` is learned as numbers or as classes; "auto" decides by its values. None learns a
            `target` as numbers.
        columns: Columns of the network that the rows are for; they are the features, and are read with its types and
            formats.
        cleaning: "auto" leaves out identifiers, free text, constant columns, and rows of units, of totals and without a
            target; imputes missing values, reads texts among numbers as missing, gives dates periods, and joins rare
            categories.

    Raises:
        InvalidInput: `unlabeled` is combined with an option that only labeled data have.
    """

    format: DataFormat | None = None
    header: bool | None = None
    delimiter: str | None = None
    skip_rows: int | None = None
    comment: str | None = None
    target: tuple[str, ...] = ()
    label: str | None = None
    weight: str | None = None
    features: tuple[str, ...] | None = None
    classes: tuple[ClassLabel, ...] | None = None
    types: dict[str, ColumnType] = field(default_factory=dict)
    imputation: ImputationStrategy | dict[str, ImputationStrategy] | None = None
    constants: dict[str, float | str] = field(default_factory=dict)
    largest: int = 2**33
    unlabeled: bool = False
    decimal: Decimal | None = None
    encoding: str | None = None
    null_values: tuple[str, ...] = ()
    drop_rows: frozenset[int] = frozenset()
    exclude: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    cleaning: Cleaning = "none"
    task: Task | None = None

    def __post_init__(self) -> None:
        """Take over the network's columns, and reject options that contradict `unlabeled`."""
        if self.columns:
            types = {column.name: column.type for column in self.columns}
            object.__setattr__(self, "types", {**types, **self.types})
            if self.features is None:
                object.__setattr__(self, "features", tuple(types))
        if not self.unlabeled:
            return
        reject_with_unlabeled(option for option in ("target", "label", "classes", "weight") if getattr(self, option))
        for option in ("imputation", "constants"):
            if getattr(self, option):
                raise InvalidInput(
                    option,
                    "The network that predicts the rows imputes their missing values; leave this out if unlabeled is "
                    "true.",
                )


@dataclass(frozen=True)
class Progress:
    """Progress of reading: bytes as uploaded, and rows."""

    bytes_read: int
    bytes_total: int
    rows: int


class ProgressTracker:
    """Counts the bytes and rows of all sources, and rejects more than `max_bytes` once decompressed.

    Attributes:
        bytes_read: Bytes that were read, of the files as uploaded.
        bytes_total: Bytes of all files.
        rows: Rows that are done.
    """

    def __init__(self, sources: Sequence[SourceFile], max_bytes: int, on_progress: Callable[[Progress], None]) -> None:
        self.bytes_total = sum(path.stat().st_size for source in sources for path in source.paths)
        self._max_bytes = max_bytes
        self._on_progress = on_progress
        self.reset()

    def reset(self) -> None:
        """Start again at 0, before the sources are read from the beginning again."""
        self.bytes_read = self.rows = self._decompressed = 0

    def add_decompressed(self, size: int, field: str) -> None:
        """Count decompressed bytes. Raises TooLarge beyond the limit."""
        self._decompressed += size
        if self._decompressed > self._max_bytes:
            raise TooLarge(
                field, f"Decompressed, this is more than the accepted {self._max_bytes} bytes; send less at once."
            )

    def check_array_size(self, size: int, field: str) -> None:
        """Raise TooLarge if an array has more bytes than the limit."""
        if size > self._max_bytes:
            raise TooLarge(field, f"The array has {size} bytes; at most {self._max_bytes} are accepted.")

    def add_rows(self, rows: int) -> None:
        """Count rows that are done, and report the progress."""
        self.rows += rows
        self._on_progress(Progress(min(self.bytes_read, self.bytes_total), self.bytes_total, self.rows))


@dataclass(frozen=True)
class TargetSummary:
    """Summary of the targets of a dataset; the fields are those of `DatasetContent`."""

    targets: int
    classes: Classes | None
    smallest: float
    largest: float
    distributions: bool

    @classmethod
    def from_classes(cls, names: Classes) -> "TargetSummary":
        """Return the summary for labels of these classes, as one-hot targets."""
        return cls(len(names), names, 0.0, 1.0, True)

    @property
    def magnitude(self) -> float:
        """Largest absolute value of the targets."""
        return max(abs(self.smallest), abs(self.largest))


NO_TARGETS = TargetSummary(0, None, 0.0, 0.0, False)


@dataclass(frozen=True)
class DatasetContent:
    """Contents of a stored dataset.

    Attributes:
        inputs: Number of network inputs that a row becomes.
        targets: Number of target columns; the number of classes for labels, 0 for unlabeled rows.
        classes: Names of the classes in the order of their codes; None for numeric targets.
        bytes: Size of the stored files.
        smallest: Smallest target.
        largest: Largest target.
        distributions: Whether each row of targets is at least 0 and sums to 1.
        magnitude: Largest absolute value of all inputs and targets.
        weighted: Whether each row has a sample weight.
        features: Feature columns of a table; None for a numeric matrix.
        target_columns: Names of the columns to learn, if they have names.
        weight: Name of the column of sample weights, if it has one.
        notes: Sentences about how the data were read.
    """

    rows: int
    inputs: int
    targets: int
    classes: Classes | None
    bytes: int
    smallest: float
    largest: float
    distributions: bool
    magnitude: float
    weighted: bool = False
    features: tuple[Column, ...] | None = None
    target_columns: tuple[str, ...] = ()
    weight: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CsvFormat:
    """How the text of a CSV or TSV file is divided into cells.

    Attributes:
        delimiter: The character between cells; None detects it.
        header: Whether the first line of the table names the columns; None detects it.
        skip_rows: Number of lines before the table.
        comment: The character at the beginning of lines that are comments.
    """

    delimiter: str | None = None
    header: bool | None = None
    skip_rows: int = 0
    comment: str | None = None


@dataclass(frozen=True)
class TablePreview:
    """How a table, or its beginning, would be read.

    Attributes:
        format: Its format.
        csv: How its text is divided into cells; None for other formats.
        encoding: Its encoding; None for UTF-8 and for binary formats.
        names: The names of its columns; none if it has no columns, such as an array.
        rows: Its first rows as they are in the file.
        target: The column to learn: the one that the options name, or the likely one.
        content: What its dataset would contain; None if it would be rejected.
        problems: Why it would be rejected: pairs of a field and a sentence.
    """

    format: DataFormat
    csv: CsvFormat | None = None
    encoding: str | None = None
    names: tuple[str, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()
    target: str | None = None
    content: DatasetContent | None = None
    problems: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class SplitSpec:
    """A split to store: its share of the rows, from 0 to 1, and the empty directory for its files."""

    share: float
    directory: Path
