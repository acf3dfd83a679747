"""Tables, brought into one shape and stored."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa

from engine import durable
from engine.data.reading import answers
from engine.data.reading.ahead import ahead
from engine.data.reading.fillings import columns
from engine.data.reading.formats.schema import Types, TypesChanged
from engine.data.reading.inspection import Feature
from engine.data.reading.meter import Meter
from engine.data.reading.missing import Missing
from engine.data.reading.roles import Roles, roles
from engine.data.reading.shaping import Shape
from engine.data.sources import Content, Reading
from engine.data.writing import write_batches
from engine.errors import InvalidInput

# How often reading begins anew because a column is not what it looked like.
_ATTEMPTS = 10


@dataclass(frozen=True)
class Part:
    """A source that holds rows. `batches` reads it, and takes what columns are where that is known. `file`: one that
    may be stored as it is, where its columns need no change."""

    field: str
    batches: Callable[[Types], Iterator[pa.RecordBatch]]
    file: Path | None = None


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


class _Attempt:
    """All parts read from their beginning, with what is known of the types of their columns."""

    def __init__(self, parts: Sequence[Part], reading: Reading, meter: Meter, known: Types) -> None:
        self._parts, self._reading, self._meter, self._known = parts, reading, meter, known
        self._roles: Roles
        self._features: list[Feature] = []
        self._answers: dict[str, Missing] = {}
        self._rows = 0
        self._beside: ThreadPoolExecutor

    def store(self, folder: Path) -> Content:
        path = folder / "table.arrow"
        with ThreadPoolExecutor(1, "seeing") as self._beside:
            table = self._adopted(path) or durable.write_file(path, self._write)
        if not self._rows:
            raise InvalidInput("file", "There is no data: the table has no rows.")
        for missing in self._answers.values():
            if missing.count:
                raise InvalidInput("file", f"{missing.sentence} What is to be learned, and weights, must all be there.")
        features = columns(self._features, self._reading)
        found = answers.store_answers(table, self._rows, self._roles, self._reading)
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
        """Where the only file has got another name; None if it must be written anew, and then nothing was seen."""
        part, *others = self._parts
        if part.file is None or others:
            return None
        shape: Shape | None = None
        for batch in part.batches(self._known):
            shape = shape or self._begin(batch.schema, part.field)
            if not batch.schema.equals(shape.schema):
                self._rows = 0
                self._meter.restart()
                return None
            shape.check_dates(batch, self._rows)
            self._see(batch)
        return durable.adopt(part.file, path)

    def _write(self, sink: durable.Sink) -> None:
        with closing(ahead(self._seen())) as batches:
            first = next(batches, None)
            if first is not None:
                write_batches(sink, first.schema, chain((first,), batches))

    def _seen(self) -> Iterator[pa.RecordBatch]:
        """What is to be written, looked at before, so that hashing and writing need not wait for it."""
        shape: Shape | None = None
        for part in self._parts:
            for batch in part.batches(self._known):
                shape = shape or self._begin(batch.schema, part.field)
                conforming = shape.conform(batch, part.field, self._rows)
                self._see(conforming)
                yield conforming

    def _begin(self, found: pa.Schema, field: str) -> Shape:
        self._roles = roles(found.names, self._reading)
        shape = Shape(found, field, self._roles, self._known)
        types = self._reading.types
        self._features = [Feature(shape.schema.field(name), types.get(name)) for name in self._roles.features]
        wanted = (*self._roles.targets, self._roles.label, self._roles.weight)
        self._answers = {name: Missing(name) for name in wanted if name is not None}
        return shape

    def _see(self, batch: pa.RecordBatch) -> None:
        half = len(self._features) // 2
        others = self._beside.submit(self._see_features, self._features[half:], batch)
        try:
            self._see_features(self._features[:half], batch)
        finally:
            wait((others,))  # what is wrong with the first columns is told first
        others.result()
        for name, missing in self._answers.items():
            missing.see(batch.column(name), self._rows)
        self._rows += len(batch)
        self._meter.add(len(batch))

    def _see_features(self, features: Sequence[Feature], batch: pa.RecordBatch) -> None:
        for feature in features:
            feature.see(batch.column(feature.name), self._rows)
