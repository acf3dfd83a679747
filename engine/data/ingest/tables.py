"""Tables, brought into one shape and stored."""

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc

from nabla.engine import durable_files
from nabla.engine.data.arrow_io import write_batches
from nabla.engine.data.examples import Array
from nabla.engine.data.ingest.formats.arrow import mapped
from nabla.engine.data.ingest.formats.types import Types, TypesChanged, shown
from nabla.engine.data.ingest.prefetch import THREADS, abreast
from nabla.engine.data.ingest.progress import Meter
from nabla.engine.data.ingest.type_inference import Roles, Shape, roles
from nabla.engine.data.ingest.validation import (
    Classes,
    Distributions,
    Feature,
    Look,
    Missing,
    Numbers,
    Rows,
    Weights,
    as_numpy,
    in_column,
    rows_missing,
)
from nabla.engine.data.ingest_options import NO_ANSWERS, Answers, Content, Reading
from nabla.engine.data.npy_io import write_array
from nabla.engine.data.schema import Column, ColumnType, ImputationStrategy, in_order, name
from nabla.engine.errors import InvalidInput

_COLUMNS_NAMED = 20
_OF_NUMBERS: tuple[ColumnType, ...] = ("number", "date")


def columns(features: Sequence[Feature], reading: Reading) -> tuple[Column, ...]:
    """Raises InvalidInput if a value is missing and nothing says what it gets, or what does not go with its column. Of
    rows that are only predicted the network says it."""
    fillings = {feature.name: _filling(feature, reading) for feature in features}
    refused = [feature for feature in features if feature.missing.count and fillings[feature.name] is None]
    if refused and not reading.unlabeled:
        first, *others = [("file", feature.missing.sentence) for feature in refused[:_COLUMNS_NAMED]]
        what = "Say with imputation what they get (mean, median, most_frequent, constant), or leave the column out."
        raise InvalidInput(first[0], f"{first[1]} {what}", *others)
    for constant in reading.constants:
        if fillings.get(constant) != "constant":
            raise InvalidInput(
                f"constants.{constant}",
                f"Constants go with the filling constant; {shown(constant)} has another or none.",
            )
    return tuple(_column(feature, fillings[feature.name], reading) for feature in features)


def _filling(feature: Feature, reading: Reading) -> ImputationStrategy | None:
    of_numbers = feature.type in _OF_NUMBERS
    if isinstance(reading.imputation, dict):
        filling = reading.imputation.get(feature.name)
        if filling in ("mean", "median") and not of_numbers:
            raise InvalidInput(
                f"imputation.{feature.name}",
                f"The column {shown(feature.name)} is a {feature.type} and has no {filling}; accepted: "
                "most_frequent, constant.",
            )
        return filling
    if reading.imputation is None:
        return None
    if reading.imputation == "constant":
        if feature.name in reading.constants:
            return "constant"
        return None if of_numbers else "most_frequent"
    if not of_numbers:
        return "constant" if feature.name in reading.constants else "most_frequent"
    return reading.imputation


def _column(feature: Feature, filling: ImputationStrategy | None, reading: Reading) -> Column:
    constant = _constant(feature, reading) if filling == "constant" else None
    categories = feature.categories
    if feature.type == "category":
        if isinstance(constant, str) and constant not in categories:
            categories = in_order((*categories, constant))
        if not categories and not reading.unlabeled:
            raise InvalidInput("file", f"The column {shown(feature.name)} has no value in any row; leave it out.")
    return Column(feature.name, feature.type, categories, feature.missing.count, filling, constant)


def _constant(feature: Feature, reading: Reading) -> float | str:
    field = f"constants.{feature.name}"
    if feature.name not in reading.constants:
        raise InvalidInput(field, f"Say which constant the missing values of {shown(feature.name)} get.")
    value = reading.constants[feature.name]
    match feature.type:
        case "number" if isinstance(value, str) or not math.isfinite(value):
            raise InvalidInput(
                field, f"The column {shown(feature.name)} holds numbers; the constant is {shown(value)}."
            )
        case "number":
            return float(value)
        case "boolean" if name(value) not in ("true", "false"):
            raise InvalidInput(field, f"The column {shown(feature.name)} holds true and false; got {shown(value)}.")
        case "date":
            try:
                return date.fromisoformat(str(value)).isoformat()
            except ValueError:
                raise InvalidInput(field, f"Expected a date such as 2026-01-31, got {shown(value)}.") from None
    return name(value)


def store_answers(table: Path, rows: int, roles: Roles, reading: Reading, classes: Classes | None) -> Answers:
    """Write what a table of so many rows says besides its inputs, beside it. `classes`: of its labels, if it has
    any, all of which were looked at. Raises InvalidInput, StorageFailed."""
    with pa.OSFile(str(table)) as file:
        names = pa.ipc.open_file(file).schema.names
    wanted = (*roles.targets, roles.label, roles.weight)
    batches = partial(_batches, table, [place for place, name in enumerate(names) if name in wanted])
    if roles.weight is not None:
        _store_weights(table.parent, rows, roles.weight, batches)
    if reading.unlabeled:
        return NO_ANSWERS
    if roles.label is not None:
        assert classes is not None
        return _store_codes(table.parent, rows, roles.label, classes, batches)
    return _store_targets(table.parent, rows, roles.targets, batches)


_Batches = Callable[[], Iterator[tuple[int, pa.RecordBatch]]]


def _batches(table: Path, columns: Sequence[int]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Some columns of the batches of a table, each with the number of its first row."""
    first_row = 0
    for batch in mapped(table, columns):
        yield first_row, batch
        first_row += len(batch)


def _store_targets(folder: Path, rows: int, names: tuple[str, ...], batches: _Batches) -> Answers:
    numbers = Numbers(lambda row, column, sentence: in_column(names[column])(row, sentence))
    distributions = Distributions()

    def blocks() -> Iterator[Array]:
        for first_row, batch in batches():
            block = np.column_stack([_numbers(batch, name) for name in names])
            numbers.see(block, first_row)
            distributions.see(block)
            yield block

    write_array(folder / "targets.npy", np.dtype(np.float64), (rows, len(names)), blocks())
    return Answers(len(names), None, numbers.smallest, numbers.largest, distributions.are)


def _store_codes(folder: Path, rows: int, name: str, classes: Classes, batches: _Batches) -> Answers:
    classes.settle()
    codes = (classes.codes(batch.column(name), first_row) for first_row, batch in batches())
    write_array(folder / "codes.npy", np.dtype(np.int32), (rows,), codes)
    return Answers.of_classes(classes.names)


def _store_weights(folder: Path, rows: int, name: str, batches: _Batches) -> None:
    weights = Weights("weight", in_column(name))

    def blocks() -> Iterator[Array]:
        for first_row, batch in batches():
            block = _numbers(batch, name)
            weights.see(block, first_row)
            yield block
        weights.end()

    write_array(folder / "weights.npy", np.dtype(np.float64), (rows,), blocks())


def _numbers(batch: pa.RecordBatch, name: str) -> npt.NDArray[np.float64]:
    numbers: npt.NDArray[np.float64] = as_numpy(batch.column(name)).astype(np.float64, copy=False)
    return numbers


# How often reading begins anew because a column is not what it looked like.
_ATTEMPTS = 10


@dataclass(frozen=True)
class Part:
    """A source that holds rows. `batches` reads it, and takes what columns are where that is known. `stays`: a file,
    and its schema, that may be stored as it is, where its columns need no change."""

    field: str
    batches: Callable[[Types], Iterator[pa.RecordBatch]]
    stays: tuple[Path, pa.Schema] | None = None


def store_table(parts: Sequence[Part], reading: Reading, folder: Path, meter: Meter) -> Content:
    """Write the rows of all parts, one after the other, into `folder`. Raises InvalidInput, TooLarge, StorageFailed."""
    known: dict[str, pa.DataType] = {}
    for _ in range(_ATTEMPTS):
        meter.restart()
        try:
            return _Attempt(parts, reading, meter, known).store(folder)
        except TypesChanged as changed:
            known |= changed.types
    raise InvalidInput(
        "file", f"What the columns {', '.join(list(known)[:20])} hold changes too often; say it with types."
    )


@dataclass(frozen=True)
class _Taken:
    """A batch as it was read, and where it belongs."""

    batch: pa.RecordBatch
    field: str
    shape: Shape
    first_row: int


@dataclass(frozen=True)
class _Looked:
    """A batch in the shape of its table, and what it shows. `labels`: the different ones."""

    batch: pa.RecordBatch
    features: Sequence[Look]
    missing: Mapping[str, Rows]
    labels: pa.Array | None


class _Attempt:
    """All parts read from their beginning, with what is known of the types of their columns."""

    def __init__(self, parts: Sequence[Part], reading: Reading, meter: Meter, known: Types) -> None:
        self._parts, self._reading, self._meter, self._known = parts, reading, meter, known
        self._roles: Roles
        self._features: list[Feature] = []
        self._answers: dict[str, Missing] = {}
        self._classes: Classes | None = None
        self._rows = 0

    def store(self, folder: Path) -> Content:
        path = folder / "table.arrow"
        table = self._adopted(path) or durable_files.write_file(path, self._write)
        if not self._rows:
            raise InvalidInput("file", "There is no data: the table has no rows.")
        for missing in self._answers.values():
            if missing.count:
                raise InvalidInput("file", f"{missing.sentence} What is to be learned, and weights, must all be there.")
        features = columns(self._features, self._reading)
        found = store_answers(table, self._rows, self._roles, self._reading, self._classes)
        return Content(
            rows=self._rows,
            inputs=sum(column.inputs for column in features),
            bytes=sum(file.stat().st_size for file in folder.iterdir()),
            magnitude=max(found.magnitude, *(feature.magnitude for feature in self._features)),
            weighted=self._roles.weight is not None,
            features=features,
            target_columns=self._roles.targets or ((self._roles.label,) if self._roles.label is not None else ()),
            weight=self._roles.weight,
            **vars(found),
        )

    def _adopted(self, path: Path) -> Path | None:
        """Where the only file has got another name; None if it must be written anew."""
        part, *others = self._parts
        if part.stays is None or others:
            return None
        file, schema = part.stays
        if not self._begin(schema, part.field).schema.equals(schema):
            return None
        for _ in self._seen():
            pass
        return durable_files.adopt(file, path)

    def _write(self, sink: durable_files.Sink) -> None:
        with closing(self._seen()) as batches:
            first = next(batches, None)
            if first is not None:
                write_batches(sink, first.schema, chain((first,), batches))

    def _seen(self) -> Generator[pa.RecordBatch]:
        """What is to be stored. It is read and looked at before, so that hashing and writing need not wait for it."""
        with closing(abreast(self._look, self._taken(), THREADS)) as looked:
            for found in looked:
                self._add(found)
                yield found.batch

    def _taken(self) -> Iterator[_Taken]:
        shape: Shape | None = None
        first_row = 0
        for part in self._parts:
            for batch in part.batches(self._known):
                shape = shape or self._begin(batch.schema, part.field)
                yield _Taken(batch, part.field, shape, first_row)
                first_row += len(batch)

    def _begin(self, found: pa.Schema, field: str) -> Shape:
        self._roles = roles(found.names, self._reading)
        shape = Shape(found, field, self._roles, self._known)
        types = self._reading.types
        self._features = [Feature(shape.schema.field(name), types.get(name)) for name in self._roles.features]
        wanted = (*self._roles.targets, self._roles.label, self._roles.weight)
        self._answers = {name: Missing(name) for name in wanted if name is not None}
        if self._roles.label is not None:
            self._classes = Classes("label", self._reading.classes, in_column(self._roles.label))
        return shape

    def _look(self, taken: _Taken) -> _Looked:
        batch = taken.shape.conform(taken.batch, taken.field, taken.first_row)
        features = [feature.look(batch.column(feature.name), taken.first_row) for feature in self._features]
        missing = {name: rows_missing(batch.column(name)) for name in self._answers}
        labels = None
        if self._classes is not None:
            # Where something is missing that is what is told.
            given = batch.column(self._roles.label)
            labels = None if any(map(len, missing.values())) else self._classes.look(given)
        return _Looked(batch, features, missing, labels)

    def _add(self, found: _Looked) -> None:
        for feature, look in zip(self._features, found.features, strict=True):
            feature.add(look, self._rows)
        for column, rows in found.missing.items():
            self._answers[column].add(rows, self._rows)
        if self._classes is not None and found.labels is not None:
            self._classes.add(found.labels)
        self._rows += len(found.batch)
        self._meter.add(len(found.batch))
