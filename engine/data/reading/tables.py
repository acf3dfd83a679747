"""Tables, brought into one shape and stored."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa

from engine import durable
from engine.data.reading import answers
from engine.data.reading.ahead import THREADS, abreast
from engine.data.reading.fillings import columns
from engine.data.reading.formats.schema import Types, TypesChanged
from engine.data.reading.inspection import Feature, Look
from engine.data.reading.meter import Meter
from engine.data.reading.missing import Missing, Rows, rows_missing
from engine.data.reading.observed import Classes
from engine.data.reading.places import in_column
from engine.data.reading.roles import Roles, roles
from engine.data.reading.shaping import Shape
from engine.data.sources import Content, Reading
from engine.data.writing import write_batches
from engine.errors import InvalidInput

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
        table = self._adopted(path) or durable.write_file(path, self._write)
        if not self._rows:
            raise InvalidInput("file", "There is no data: the table has no rows.")
        for missing in self._answers.values():
            if missing.count:
                raise InvalidInput("file", f"{missing.sentence} What is to be learned, and weights, must all be there.")
        features = columns(self._features, self._reading)
        found = answers.store_answers(table, self._rows, self._roles, self._reading, self._classes)
        return Content(
            rows=self._rows,
            inputs=sum(column.inputs for column in features),
            bytes=sum(file.stat().st_size for file in folder.iterdir()),
            magnitude=max(found.magnitude, *(feature.magnitude for feature in self._features)),
            weighted=self._roles.weight is not None,
            features=features,
            answers=self._roles.targets or ((self._roles.label,) if self._roles.label is not None else ()),
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
        return durable.adopt(file, path)

    def _write(self, sink: durable.Sink) -> None:
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
        for name, rows in found.missing.items():
            self._answers[name].add(rows, self._rows)
        if self._classes is not None and found.labels is not None:
            self._classes.add(found.labels)
        self._rows += len(found.batch)
        self._meter.add(len(found.batch))
