"""What is in a dataset, column by column: to be looked at before anything is trained."""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nabla.engine.data.dataset import Dataset
from nabla.engine.data.ingest.formats.types import is_date, is_text
from nabla.engine.data.ingest_options import Progress
from nabla.engine.data.preview import viewed
from nabla.engine.data.profile_schema import (
    BINS,
    MOST_COUNTED,
    MOST_COUNTED_IN_ALL,
    ColumnProfile,
    Kind,
    Named,
    Profile,
)
from nabla.engine.data.table_features import days
from nabla.engine.errors import InvalidInput

Reals = npt.NDArray[np.float64]


class Spread:
    """What is not finite is passed over. All blocks are first given to `see`, then all of them to `measure`.

    Numbers are measured in units of a power of two beyond the largest of them, which changes no digit: no sum or square
    of numbers that float64 holds leaves it. And they are measured from the smallest on, so that those side by side, far
    from 0, keep what is between them.
    """

    def __init__(self) -> None:
        self.smallest, self.largest = math.inf, -math.inf
        self._unit, self._first = 0, 0.0
        self._edges: Reals | None = None
        self._rows, self._mean, self._squares = 0, 0.0, 0.0
        self._histogram = np.zeros(BINS, np.int64)

    @property
    def is_known(self) -> bool:
        """Whether there was any number."""
        return self.smallest <= self.largest

    @property
    def mean(self) -> float:
        return min(max(_scaled(self._first + self._mean, self._unit), self.smallest), self.largest)

    @property
    def deviation(self) -> float:
        """That of all, not of a sample."""
        return _scaled(math.sqrt(self._squares / self._rows), self._unit)

    @property
    def histogram(self) -> tuple[int, ...]:
        """How many there are in each of BINS equal parts of the range; all in the middle if it is a single number."""
        return tuple(self._histogram.tolist())

    def see(self, numbers: Reals) -> None:
        numbers = _finite(numbers)
        if len(numbers):
            self.smallest = min(self.smallest, float(numbers.min()))
            self.largest = max(self.largest, float(numbers.max()))

    def measure(self, numbers: Reals) -> None:
        """Mean and squares of deviations of both parts together: Chan, Golub and LeVeque, 1979."""
        if self._edges is None:
            self._unit = math.frexp(max(abs(self.smallest), abs(self.largest)))[1]
            self._first, last = (_scaled(end, -self._unit) for end in (self.smallest, self.largest))
            # Of numbers side by side several edges fall onto the smallest, which is in the first part all the same.
            self._edges = np.maximum(np.linspace(self._first, last, BINS + 1)[1:-1], math.nextafter(self._first, 2))
        numbers = np.ldexp(_finite(numbers), -self._unit)
        rows = len(numbers)
        if not rows:
            return
        if self.smallest == self.largest:
            self._histogram[BINS // 2] += rows
        else:
            self._histogram += np.bincount(np.searchsorted(self._edges, numbers, "right"), minlength=BINS)
        numbers -= self._first
        mean = float(numbers.mean())
        apart, total = mean - self._mean, self._rows + rows
        self._squares += float(np.square(numbers - mean).sum()) + apart * apart * self._rows * rows / total
        self._mean += apart * rows / total
        self._rows = total


def _finite(numbers: Reals) -> Reals:
    if not len(numbers) or (np.isfinite(numbers.min()) and np.isfinite(numbers.max())):
        return numbers
    return numbers[np.isfinite(numbers)]


def _scaled(number: float, power: int) -> float:
    """Times two to that power; where rounding has made it too large, the largest number that there is."""
    try:
        return math.ldexp(number, power)
    except OverflowError:
        return math.copysign(np.finfo(np.float64).max, number)


# Characters of a text that are kept of it.
_KEPT = 100


class DifferentNumbers:
    """`most`: beyond it they are not counted."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: npt.NDArray[np.generic] | None = None
        self.are_too_many = False

    @property
    def count(self) -> int | None:
        if self.are_too_many:
            return None
        return 0 if self._known is None else len(self._known)

    def see(self, values: npt.NDArray[np.generic]) -> None:
        """No NaN; all blocks of one type."""
        if not self.are_too_many:
            self._known = np.unique(values if self._known is None else np.concatenate((self._known, values)))
            if len(self._known) > self._most:
                self.are_too_many, self._known = True, None


class DifferentTexts:
    """`most`: beyond it they are not counted. Of long texts only the beginning and a digest are kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: Counter[tuple[str, bytes]] | None = Counter()

    @property
    def count(self) -> int | None:
        return None if self._counts is None else len(self._counts)

    def see(self, values: pa.Array) -> None:
        """No nulls."""
        if self._counts is None:
            return
        found = pc.value_counts(values)
        for text, count in zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True):
            self._counts[_key(text)] += count
        if len(self._counts) > self._most:
            self._counts = None

    def frequent(self, most: int) -> tuple[tuple[str, int], ...] | None:
        """The most frequent ones with their counts, long ones cut."""
        if self._counts is None:
            return None
        return tuple(
            (f"{text}…" if digest else text, count) for (text, digest), count in self._counts.most_common(most)
        )


def _key(text: str) -> tuple[str, bytes]:
    if len(text) <= _KEPT:
        return text, b""
    return text[:_KEPT], hashlib.blake2b(text.encode(), digest_size=16).digest()


# Of values, of names in a sentence; and of columns of which there is a profile.
_MOST_SHOWN, _MOST_COLUMNS = 10, 100_000
# What is worth a word: a share of rows without a value, a class so much rarer than the most frequent one, numbers so
# far from 0.
_MANY_MISSING, _RARE, _FAR = 0.2, 100, 1_000.0


def profile(dataset: Dataset, folder: Path, advanced: Callable[[Progress], None]) -> Profile:
    """Look at all of it, twice. Raises InvalidInput if it is too wide, Damaged."""
    with viewed(dataset, folder) as view:
        width = len(view.columns)
        if width > _MOST_COLUMNS:
            raise InvalidInput(
                "dataset_id", f"The dataset has {width} columns; a profile is made of at most {_MOST_COLUMNS}."
            )
        most = min(MOST_COUNTED, MOST_COUNTED_IN_ALL // width)
        seen = [_Seen(column, most) for column in view.columns]

        def blocks(before: int) -> Iterator[tuple[_Seen, pa.Array]]:
            rows = 0
            for block in view.blocks(0, dataset.rows):
                rows += len(block[0])
                now = Progress(before + rows, 2 * dataset.rows, rows)
                for pair in zip(seen, block, strict=True):
                    yield pair
                    advanced(now)  # a block of many columns takes long

        for column, values in blocks(0):
            column.see(values)
        for column, values in blocks(dataset.rows):
            column.measure(values)
    columns = _marking_doubles([column.profile() for column in seen], [column.digest for column in seen])
    classes = _class_balance(dataset, folder)
    # Nothing is trained on rows without answers.
    warnings = () if dataset.unlabeled else tuple(_warnings(dataset, columns, classes))
    return Profile(dataset.rows, columns, classes, warnings)


class _Seen:
    """A column as its blocks go by. Different values are counted up to `most`."""

    def __init__(self, column: Named, most: int) -> None:
        self._column = column
        self._type: Kind = "number"
        self._missing = 0
        self._numbers, self._texts = DifferentNumbers(most), DifferentTexts(most)
        self._spread = Spread()
        self._hash = hashlib.blake2b()

    def see(self, values: pa.Array) -> None:
        self._type = _kind(values.type)
        if self._type == "text":
            self._missing += values.null_count
            _hash_texts(self._hash, values)
            self._texts.see(values.drop_null())
            return
        numbers = _as_numbers(values)
        self._missing += int(np.count_nonzero(np.isnan(numbers)))
        self._hash.update(numbers.data)
        if not self._numbers.are_too_many:
            self._numbers.see(_to_count(values))
        self._spread.see(numbers)

    def measure(self, values: pa.Array) -> None:
        """The second look."""
        if self._spread.is_known:
            self._spread.measure(_as_numbers(values))

    @property
    def digest(self) -> bytes:
        """The same for columns of the same values."""
        return self._hash.digest()

    def profile(self) -> ColumnProfile:
        found = ColumnProfile(self._column.name, self._column.role, self._type, self._missing, self._numbers.count)
        if self._type == "text":
            return replace(found, distinct=self._texts.count, frequent=self._texts.frequent(_MOST_SHOWN))
        if not self._spread.is_known:
            return found
        return replace(
            found,
            smallest=self._spread.smallest,
            largest=self._spread.largest,
            mean=self._spread.mean,
            deviation=self._spread.deviation,
            histogram=self._spread.histogram,
        )


def _kind(type_: pa.DataType) -> Kind:
    if is_text(type_):
        return "text"
    if is_date(type_):
        return "date"
    return "boolean" if pa.types.is_boolean(type_) else "number"


def _hash_texts(digest: "hashlib.blake2b", values: pa.Array) -> None:
    """Lengths, of which -1 says that there is no text; then the texts."""
    digest.update(pc.fill_null(pc.binary_length(values).cast(pa.int64()), -1).to_numpy(zero_copy_only=False))
    filled = values.fill_null("").cast(pa.large_string())
    places = np.frombuffer(filled.buffers()[1], np.int64)[filled.offset : filled.offset + len(filled) + 1]
    if places[-1] > places[0]:
        digest.update(memoryview(filled.buffers()[2])[places[0] : places[-1]])


def _to_count(values: pa.Array) -> npt.NDArray[np.generic]:
    """Those that there are, as exactly as they are stored."""
    present = values.drop_null()
    if is_date(present.type):
        present = present.cast(pa.int32() if pa.types.is_date32(present.type) else pa.int64())
    found: npt.NDArray[np.generic] = present.to_numpy(zero_copy_only=False)
    return found[~np.isnan(found)] if pa.types.is_floating(present.type) else found


def _as_numbers(values: pa.Array) -> npt.NDArray[np.float64]:
    """NaN where there is none."""
    numbers = days(values) if is_date(values.type) else values.cast(pa.float64(), safe=False)
    return np.asarray(numbers.to_numpy(zero_copy_only=False))


def _marking_doubles(columns: Sequence[ColumnProfile], digests: Sequence[bytes]) -> tuple[ColumnProfile, ...]:
    first: dict[tuple[bytes, str], str] = {}
    found = []
    for column, digest in zip(columns, digests, strict=True):
        earlier = first.setdefault((digest, column.type), column.name)
        found.append(replace(column, same_as=None if earlier == column.name else earlier))
    return tuple(found)


def _class_balance(dataset: Dataset, folder: Path) -> dict[str, int] | None:
    if dataset.classes is None:
        return None
    codes = np.load(next(folder.glob("codes.*.npy")), mmap_mode="r")
    counts = np.bincount(codes, minlength=len(dataset.classes))
    return dict(zip(dataset.classes, counts.tolist(), strict=True))


def _warnings(dataset: Dataset, columns: Sequence[ColumnProfile], classes: dict[str, int] | None) -> Iterator[str]:
    features = [column for column in columns if column.role == "feature"]
    constant = [column.name for column in features if column.distinct == 1 and not column.missing]
    if constant:
        yield f"The same value in every row teaches nothing: {_listed(constant)}."
    doubles = [f"{column.name} (as {column.same_as})" for column in features if column.same_as is not None]
    doubles = [double for double in doubles if double.split(" (")[0] not in constant]
    if doubles:
        yield f"These columns have the values of another one: {_listed(doubles)}."
    answers = {column.same_as for column in columns if column.role in ("target", "label")}
    told = [column.name for column in features if column.same_as is None and column.name in answers]
    if told:
        yield f"These columns are what is to be learned, under another name: {_listed(told)}."
    holes = [column.name for column in features if column.missing > _MANY_MISSING * dataset.rows]
    if holes:
        yield f"More than {_MANY_MISSING:.0%} of the rows have no value in {_listed(holes)}."
    far = [column.name for column in features if column.type != "boolean" and _reach(column) > _FAR]
    if far:
        yield f"Numbers beyond ±{_FAR:g} train badly as they are; prepare the inputs: {_listed(far)}."
    most = max((classes or {}).values(), default=0)
    rare = [name for name, count in (classes or {}).items() if count * _RARE < most]
    if rare:
        yield f"These classes are rare beside the most frequent one; give them weights: {_listed(rare)}."


def _reach(column: ColumnProfile) -> float:
    return max(abs(column.smallest or 0.0), abs(column.largest or 0.0))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_SHOWN])
    return shown if len(names) <= _MOST_SHOWN else f"{shown}, … ({len(names)} in all)"
