"""Requests that create datasets: how files are parsed, and small data in the request itself."""

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from nabla.app.schemas.common import FIRST_ERROR, Name, Reference, RequestModel, VersionReference
from nabla.engine.data.schema import Column, ColumnType, ImputationStrategy
from nabla.engine.data.text_formats import is_text_encoding
from nabla.engine.errors import InvalidInput
from nabla.engine.literals import DataFormat

if TYPE_CHECKING:
    from nabla.engine.data.ingest_options import IngestOptions

EXAMPLE = {
    "name": "xor",
    "inputs": [[0, 0], [0, 1], [1, 0], [1, 1]],
    "labels": ["no", "yes", "yes", "no"],
}
_UNLABELED = (
    "The rows have no targets and are for batch predictions only: target, label, targets, labels, classes, weight and "
    "weights must be left out. Missing values are allowed: the network fills them with the values fitted in training."
)


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"Not valid JSON: {error}") from error


def parse_list(value: Any) -> Any:
    """Convert a form or query value, either names separated by commas or a JSON array, to a tuple.

    Raises:
        ValueError: The text starts with `[` and is not valid JSON.
    """
    if isinstance(value, str):
        value = _parse_json(value) if value.lstrip().startswith("[") else [part.strip() for part in value.split(",")]
    return tuple(value) if isinstance(value, list) else value


def _parse_names(value: Any) -> Any:
    """Convert a form or query value with names of columns: a JSON array, or a text that is split when they are known.

    A single name may contain commas and brackets.
    """
    if isinstance(value, str):
        with suppress(ValueError):
            if isinstance(names := json.loads(value), list):
                return tuple(names)
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _parse_object(value: Any) -> Any:
    return _parse_json(value) if isinstance(value, str) and value.lstrip().startswith("{") else value


def _parse_bool(value: Any) -> Any:
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def _parse_int(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


def _check_label(value: Any) -> Any:
    # Without this check pydantic would report one error for each member of the union.
    if not isinstance(value, bool | int | str):
        raise ValueError("A label is an integer, a boolean or a string")
    return value


def _check_encoding(name: str) -> str:
    if not is_text_encoding(name):
        raise ValueError("Unknown encoding; accepted are those of Python, such as utf-8, cp1252 and latin-1")
    return name


Encoding = Annotated[str, AfterValidator(_check_encoding)]
Label = Annotated[bool | int | str, Field(union_mode="left_to_right"), BeforeValidator(_check_label)]
Rows = Annotated[list[Annotated[list[float], Field(min_length=1), FIRST_ERROR]], Field(min_length=1), FIRST_ERROR]
Cell = bool | int | float | str | None
_ColumnNames = Annotated[tuple[str, ...], BeforeValidator(_parse_names)]
_Texts = Annotated[tuple[str, ...], BeforeValidator(parse_list)]
_FileField = Annotated[str | None, Field(json_schema_extra={"format": "binary"})]


# Fields that are no options of the ingest themselves.
_RESOLVED_FIELDS = ("name", "thousands", "network_id", "version")


class IngestFields(RequestModel):
    """How to parse files.

    In forms and queries, lists are separated by commas or are JSON arrays, and objects are JSON. The name of a column
    is not split at its commas.
    """

    name: Name | None = None
    format: Annotated[DataFormat | None, Field(description="Format of the files; detected by default.")] = None
    header: Annotated[
        bool | None,
        BeforeValidator(_parse_bool),
        Field(description="CSV, TSV: whether the first line names the columns; detected by default."),
    ] = None
    delimiter: Annotated[
        str | None,
        Field(min_length=1, max_length=1, description="CSV: the character between cells; detected by default."),
    ] = None
    skip_rows: Annotated[
        int | None,
        BeforeValidator(_parse_int),
        Field(
            ge=0,
            description="CSV, TSV: how many lines precede the table, such as those of a title. By default none; with "
            "`cleaning` they are detected.",
        ),
    ] = None
    comment: Annotated[
        str | None,
        Field(min_length=1, max_length=1, description="CSV, TSV: the character that begins a line of comment."),
    ] = None
    encoding: Annotated[
        Encoding | None,
        Field(description="Encoding of text, such as cp1252; by default UTF-8, or UTF-16 with a byte order mark."),
    ] = None
    decimal: Annotated[
        Literal[".", ","] | None,
        Field(
            description="Decimal separator of numbers in text, of which some, such as 1,234, can be read in two ways. "
            "Detected by default."
        ),
    ] = None
    thousands: Annotated[
        Literal[",", ".", " ", "'"] | None,
        Field(
            description="Thousands separator of numbers in text, where `decimal` is not set: a comma implies a decimal "
            "point, and a point a decimal comma."
        ),
    ] = None
    null_values: Annotated[
        _Texts,
        Field(
            description="Texts that stand for a missing value, in addition to the usual ones: empty cells, and among "
            "numbers spellings such as ?, -, n.a., None and #DIV/0!."
        ),
    ] = ()
    drop_rows: Annotated[
        Annotated[tuple[Annotated[int, Field(ge=1), BeforeValidator(_parse_int)], ...], BeforeValidator(parse_list)],
        Field(description="Numbers of rows to leave out, from 1, such as those of units or totals."),
    ] = ()
    cleaning: Annotated[
        Literal["none", "auto"],
        Field(
            description="auto: leave out row numbers, free text, columns with one value, and rows of units, of totals "
            "and without a target; fill missing values, and infinite numbers; read other texts among numbers as "
            "missing; join rare categories; give dates their positions in the year, the week and the day. `notes` of "
            "the dataset say what was done. none: reject a file that needs cleaning."
        ),
    ] = "none"
    target: Annotated[_ColumnNames, Field(description="Columns to learn as numbers (regression).")] = ()
    label: Annotated[
        str | None, Field(description="Column to learn as classes (classification), instead of target.")
    ] = None
    task: Annotated[
        Literal["regression", "classification", "auto"] | None,
        Field(
            description="Whether a single target is learned as numbers or as classes. auto: as classes if it has text, "
            "true and false, two values, or few whole numbers; `notes` of the dataset say so. By default regression."
        ),
    ] = None
    weight: Annotated[str | None, Field(description="Column with the sample weights.")] = None
    features: Annotated[_ColumnNames | None, Field(description="Columns to learn from; by default all others.")] = None
    exclude: Annotated[_ColumnNames, Field(description="Columns not to learn from.")] = ()
    classes: Annotated[
        tuple[Label, ...] | None,
        BeforeValidator(parse_list),
        Field(description="All classes in order; by default those that occur, sorted."),
    ] = None
    types: Annotated[
        dict[str, ColumnType],
        BeforeValidator(_parse_object),
        Field(
            default_factory=dict,
            description='Types of columns for which the inferred type is wrong: {"zip": "category"}.',
        ),
    ]
    imputation: Annotated[
        ImputationStrategy | dict[str, ImputationStrategy] | None,
        BeforeValidator(_parse_object),
        Field(
            description="How to fill missing values: one strategy for all columns (categories and booleans then get "
            "their most frequent value), or one for each column. The values are computed from the training rows. By "
            "default, rows with missing values are rejected."
        ),
    ] = None
    constants: Annotated[
        dict[str, float | str],
        BeforeValidator(_parse_object),
        Field(default_factory=dict, description='Fill values of the columns with the imputation "constant".'),
    ]
    unlabeled: Annotated[bool, BeforeValidator(_parse_bool), Field(description=_UNLABELED)] = False
    network_id: Annotated[
        Reference | None,
        Field(
            description="Id or name of a network that is to predict the rows or to be evaluated on them: its columns "
            "are the features, and are read with the types and in the formats of its training data."
        ),
    ] = None
    version: Annotated[
        VersionReference | None,
        BeforeValidator(_parse_int),
        Field(description="Number or tag of the version of `network_id`; by default the current one."),
    ] = None

    def ingest_options(self, max_bytes: int, columns: tuple[Column, ...] = ()) -> "IngestOptions":
        """Return the options for the ingest.

        Args:
            max_bytes: Limit on the decompressed size of the data, in bytes.
            columns: The columns of the network.

        Raises:
            InvalidInput: Two options contradict each other.
        """
        from nabla.engine.data.ingest_options import IngestOptions

        options = {name: getattr(self, name) for name in IngestFields.model_fields if name not in _RESOLVED_FIELDS}
        changed = {"drop_rows": frozenset(self.drop_rows), "decimal": self._decimal_separator()}
        return IngestOptions(**{**options, **changed}, largest=max_bytes, columns=columns)

    def _decimal_separator(self) -> str | None:
        if self.thousands is not None and self.thousands == self.decimal:
            raise InvalidInput("thousands", f"{self.thousands!r} is already the decimal separator; set another one.")
        return self.decimal or {",": ".", ".": ","}.get(self.thousands or "")


class NewDataset(RequestModel):
    """Small data in the request itself: inputs with targets or labels, or inputs alone if `unlabeled`."""

    name: Name | None = None
    inputs: Annotated[Rows, Field(description="One row of numbers per example, all of the same length.")]
    targets: Annotated[Rows | None, Field(description="Target outputs, one row per example (regression).")] = None
    labels: Annotated[
        Annotated[list[Label], FIRST_ERROR] | None,
        Field(
            min_length=1,
            description="Class of each example (classification), instead of targets. Encoded as one-hot targets over "
            "the sorted classes (0 and 1 for a network with one output); predictions return the labels.",
        ),
    ] = None
    classes: Annotated[
        Annotated[list[Label], FIRST_ERROR] | None,
        Field(min_length=2, description="All classes in order; by default those that occur, sorted."),
    ] = None
    weights: Annotated[
        Annotated[list[float], FIRST_ERROR] | None,
        Field(description="Sample weight of each row, at least 0; by default all rows weigh the same."),
    ] = None
    unlabeled: Annotated[bool, Field(description=_UNLABELED)] = False


class NewTable(IngestFields):
    """Small data in the request itself: rows with named values."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "rows": [{"age": 31, "job": "clerk", "pays": "yes"}, {"age": 52, "job": "smith", "pays": "no"}],
                    "label": "pays",
                }
            ]
        }
    )

    rows: Annotated[list[dict[str, Cell]], Field(min_length=1, description="One object per example."), FIRST_ERROR]


class NewUpload(IngestFields):
    """A dataset that is uploaded in several requests and then closed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "large", "upload": "rows", "target": "y"}]})

    upload: Annotated[
        Literal["rows", "file"],
        Field(
            description="rows: files with rows, one after the other (`/rows`); file: one file in chunks (`/chunks`)."
        ),
    ]


class DatasetFile(IngestFields):
    """A table or .npz archive in `file`, or arrays (.npy, IDX) in one field each.

    Arrays: `inputs` with `targets` or `labels`, and optionally `weights`; or `inputs` alone if `unlabeled`.
    """

    file: _FileField = None
    inputs: _FileField = None
    targets: _FileField = None
    labels: _FileField = None
    weights: _FileField = None
