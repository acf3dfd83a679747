"""Profile of a stored dataset: statistics of each column, and warnings about data that may impair training."""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nabla.engine.data.dataset import ColumnValues, Dataset, find_stored_file
from nabla.engine.data.dataset_reader import open_reader
from nabla.engine.data.ingest_options import Progress
from nabla.engine.data.profile_warnings import LeakageDetector, iter_warnings
from nabla.engine.data.schema import (
    HISTOGRAM_BINS,
    MAX_DISTINCT,
    MAX_DISTINCT_TOTAL,
    ColumnHeader,
    ColumnProfile,
    Profile,
    StoredType,
    class_names,
)
from nabla.engine.errors import InvalidInput
from nabla.engine.typing import Float64Array

_MAX_COLUMNS = 100_000
# Most frequent texts in a profile, and names in a warning.
_MAX_LISTED = 10
# Characters of a text that are kept.
_MAX_TEXT_LENGTH = 100


def profile_dataset(dataset: Dataset, directory: Path, on_progress: Callable[[Progress], None]) -> Profile:
    """Compute the statistics of all columns in two passes over the dataset.

    Args:
        dataset: The dataset.
        directory: The directory in which it is stored.
        on_progress: Called after each column of each block.

    Raises:
        InvalidInput: The dataset has more than 100,000 columns.
        Damaged: A stored file does not match its digest.
    """
    with open_reader(dataset, directory) as reader:
        width = len(reader.columns)
        if width > _MAX_COLUMNS:
            raise InvalidInput(
                "dataset_id", f"The dataset has {width} columns; at most {_MAX_COLUMNS} can be profiled."
            )
        max_distinct = min(MAX_DISTINCT, MAX_DISTINCT_TOTAL // width)
        profilers = [_ColumnProfiler(column, max_distinct) for column in reader.columns]

        def iter_columns(rows_before: int) -> Iterator[tuple[_ColumnProfiler, ColumnValues]]:
            rows = 0
            for block in reader.iter_blocks(0, dataset.rows):
                rows += len(block[0])
                progress = Progress(rows_before + rows, 2 * dataset.rows, rows)
                for pair in zip(profilers, block, strict=True):
                    yield pair
                    on_progress(progress)  # a block with many columns takes long

        for profiler, values in iter_columns(0):
            profiler.scan(values)
        leakage = LeakageDetector([profiler.build_profile() for profiler in profilers])
        for profiler, values in iter_columns(dataset.rows):
            profiler.measure(values)
            leakage.add(profiler.name, values)
    columns = _mark_duplicates([(profiler.build_profile(), profiler.digest) for profiler in profilers])
    classes = _count_classes(dataset, directory)
    # Unlabeled rows are never trained on.
    warnings = () if dataset.unlabeled else tuple(iter_warnings(dataset, columns, classes, leakage.names))
    return Profile(dataset.rows, columns, classes, warnings)


class _ColumnProfiler:
    """Collects the statistics of a column: `scan` gets all blocks first, then `measure` gets them again."""

    def __init__(self, column: ColumnHeader, max_distinct: int) -> None:
        self._column = column
        self._type: StoredType = "number"
        self._missing = 0
        self._numbers, self._texts = _DistinctNumbers(max_distinct), _DistinctTexts(max_distinct)
        self._distribution = Distribution()
        self._hash = hashlib.blake2b()

    def scan(self, values: ColumnValues) -> None:
        """Count missing and distinct values, and find the range."""
        self._type = values.type
        if self._type == "text":
            self._missing += values.count_missing_texts()
            for buffer in values.text_buffers():
                self._hash.update(buffer)
            self._texts.add(values)
            return
        numbers = values.to_float64()
        self._missing += int(np.count_nonzero(np.isnan(numbers)))
        self._hash.update(numbers.data)
        if not self._numbers.overflowed:
            self._numbers.add(values.present_numbers())
        self._distribution.scan(numbers)

    def measure(self, values: ColumnValues) -> None:
        """Accumulate the moments and the histogram."""
        if not self._distribution.is_empty:
            self._distribution.measure(values.to_float64())

    @property
    def name(self) -> str:
        """Name of the column."""
        return self._column.name

    @property
    def digest(self) -> bytes:
        """Equal for columns with equal values."""
        return self._hash.digest()

    def build_profile(self) -> ColumnProfile:
        profile = ColumnProfile(self._column.name, self._column.role, self._type, self._missing, self._numbers.count)
        if self._type == "text":
            return replace(profile, distinct=self._texts.count, frequent=self._texts.most_common(_MAX_LISTED))
        if self._distribution.is_empty:
            return profile
        return replace(
            profile,
            smallest=self._distribution.smallest,
            largest=self._distribution.largest,
            mean=self._distribution.mean,
            deviation=self._distribution.deviation,
            histogram=self._distribution.histogram,
        )


class Distribution:
    """Range, mean, standard deviation and histogram of the finite numbers of a column.

    All blocks are first passed to `scan`, then all of them to `measure`.

    Numbers are measured in units of a power of two above the largest magnitude, which changes no digit and keeps sums
    and squares within the range of float64. They are measured from the smallest number, so that the differences of
    close numbers far from 0 are not lost.
    """

    def __init__(self) -> None:
        self.smallest, self.largest = math.inf, -math.inf
        self._exponent, self._origin = 0, 0.0
        self._edges: Float64Array | None = None
        self._rows, self._mean, self._squares = 0, 0.0, 0.0
        self._histogram = np.zeros(HISTOGRAM_BINS, np.int64)

    @property
    def is_empty(self) -> bool:
        """Whether there was no finite number."""
        return self.smallest > self.largest

    @property
    def mean(self) -> float:
        """Mean, within the range despite rounding."""
        return min(max(_scale_by_power(self._origin + self._mean, self._exponent), self.smallest), self.largest)

    @property
    def deviation(self) -> float:
        """Standard deviation of the population; 0 before the numbers are measured."""
        return _scale_by_power(math.sqrt(self._squares / max(1, self._rows)), self._exponent)

    @property
    def histogram(self) -> tuple[int, ...]:
        """Number of values in each of HISTOGRAM_BINS equal intervals; all in the middle one if they are all equal."""
        return tuple(self._histogram.tolist())

    def scan(self, numbers: Float64Array) -> None:
        """Extend the range."""
        numbers = _keep_finite(numbers)
        if len(numbers):
            self.smallest = min(self.smallest, float(numbers.min()))
            self.largest = max(self.largest, float(numbers.max()))

    def measure(self, numbers: Float64Array) -> None:
        """Merge the moments of a block (Chan, Golub and LeVeque, 1979) and count its histogram."""
        if self._edges is None:
            self._exponent = math.frexp(max(abs(self.smallest), abs(self.largest)))[1]
            self._origin, last = (_scale_by_power(end, -self._exponent) for end in (self.smallest, self.largest))
            # Between close numbers several edges round to the smallest, which belongs to the first interval.
            edges = np.linspace(self._origin, last, HISTOGRAM_BINS + 1)[1:-1]
            self._edges = np.maximum(edges, math.nextafter(self._origin, 2))
        numbers = np.ldexp(_keep_finite(numbers), -self._exponent)
        rows = len(numbers)
        if not rows:
            return
        if self.smallest == self.largest:
            self._histogram[HISTOGRAM_BINS // 2] += rows
        else:
            self._histogram += np.bincount(np.searchsorted(self._edges, numbers, "right"), minlength=HISTOGRAM_BINS)
        numbers -= self._origin
        mean = float(numbers.mean())
        delta, total = mean - self._mean, self._rows + rows
        self._squares += float(np.square(numbers - mean).sum()) + delta * delta * self._rows * rows / total
        self._mean += delta * rows / total
        self._rows = total


def _keep_finite(numbers: Float64Array) -> Float64Array:
    if not len(numbers) or (np.isfinite(numbers.min()) and np.isfinite(numbers.max())):
        return numbers
    return numbers[np.isfinite(numbers)]


def _scale_by_power(number: float, exponent: int) -> float:
    """Return number · 2^exponent, or the largest float64 if rounding made it too large."""
    try:
        return math.ldexp(number, exponent)
    except OverflowError:
        return math.copysign(np.finfo(np.float64).max, number)


class _DistinctNumbers:
    """Counts distinct numbers up to a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: npt.NDArray[np.generic] | None = None
        self.overflowed = False

    @property
    def count(self) -> int | None:
        """Number of distinct values; None above the limit."""
        if self.overflowed:
            return None
        return 0 if self._values is None else len(self._values)

    def add(self, values: npt.NDArray[np.generic]) -> None:
        """Add a block without NaN; all blocks have the same dtype."""
        if not self.overflowed:
            self._values = np.unique(values if self._values is None else np.concatenate((self._values, values)))
            if len(self._values) > self._limit:
                self.overflowed, self._values = True, None


class _DistinctTexts:
    """Counts distinct texts up to a limit; of long texts only the beginning and a digest are kept."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: Counter[tuple[str, bytes]] | None = Counter()

    @property
    def count(self) -> int | None:
        """Number of distinct texts; None above the limit."""
        return None if self._counts is None else len(self._counts)

    def add(self, values: ColumnValues) -> None:
        """Add the texts of a block."""
        if self._counts is None:
            return
        for text, count in values.count_texts():
            self._counts[_abbreviate(text)] += count
        if len(self._counts) > self._limit:
            self._counts = None

    def most_common(self, limit: int) -> tuple[tuple[str, int], ...] | None:
        """Return the most frequent texts with their counts, long ones cut; None if they were too many to count."""
        if self._counts is None:
            return None
        return tuple(
            (f"{text}…" if digest else text, count) for (text, digest), count in self._counts.most_common(limit)
        )


def _abbreviate(text: str) -> tuple[str, bytes]:
    """Return the beginning of a text, and a digest if it is longer."""
    if len(text) <= _MAX_TEXT_LENGTH:
        return text, b""
    return text[:_MAX_TEXT_LENGTH], hashlib.blake2b(text.encode(), digest_size=16).digest()


def _mark_duplicates(columns: Sequence[tuple[ColumnProfile, bytes]]) -> tuple[ColumnProfile, ...]:
    """Set `same_as` for columns with the digest and the type of an earlier one."""
    first_names: dict[tuple[bytes, str], str] = {}
    marked = []
    for column, digest in columns:
        first_name = first_names.setdefault((digest, column.type), column.name)
        marked.append(replace(column, same_as=None if first_name == column.name else first_name))
    return tuple(marked)


def _count_classes(dataset: Dataset, directory: Path) -> dict[str, int] | None:
    if dataset.classes is None:
        return None
    codes = np.load(find_stored_file(directory, "codes"), mmap_mode="r")
    counts = np.bincount(codes, minlength=len(dataset.classes))
    return dict(zip(class_names(dataset.classes), counts.tolist(), strict=True))
