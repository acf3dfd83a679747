"""Ingest of arrays: inputs with targets or labels and weights, validated and stored block by block."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nabla.engine import durable_files
from nabla.engine.data.dataset import write_npy
from nabla.engine.data.examples import validate_targets
from nabla.engine.data.ingest.formats.npy import ArrayHeader
from nabla.engine.data.ingest.prefetch import prefetch
from nabla.engine.data.ingest.validation import (
    DistributionDetector,
    LabelBlock,
    LabelEncoder,
    NumberValidator,
    WeightValidator,
    array_row_error,
)
from nabla.engine.data.ingest_options import NO_TARGETS, DatasetContent, IngestOptions, ProgressTracker, TargetSummary
from nabla.engine.data.schema import Classes
from nabla.engine.errors import InvalidInput
from nabla.engine.typing import AnyArray, Float64Array


@dataclass(frozen=True)
class ArraySource:
    """An array to store.

    Attributes:
        read_blocks: Yields the rows from the first on, each time it is called; labels may be lists.
        zero_copy_path: A .npy file that can be linked instead of copied.
        has_typed_text: Whether labels that are text are known to be text, and not the names of numbers.
    """

    header: ArrayHeader
    read_blocks: Callable[[], Iterator[AnyArray | list[str]]]
    zero_copy_path: Path | None = None
    has_typed_text: bool = True


def store_arrays(
    arrays: Mapping[str, ArraySource], options: IngestOptions, directory: Path, tracker: ProgressTracker
) -> DatasetContent:
    """Store arrays by field (inputs, targets or labels, weights) in `directory`. Raises InvalidInput, StorageFailed."""
    _check_headers(arrays, options)
    header = arrays["inputs"].header
    inputs, _ = _store_numbers("inputs", arrays["inputs"], directory, tracker)
    if "weights" in arrays:
        _store_weights(arrays["weights"], directory)
    targets = _store_targets(arrays, options, directory, tracker)
    return DatasetContent(
        rows=header.rows,
        inputs=header.columns or 1,
        bytes=sum(file.stat().st_size for file in directory.iterdir()),
        magnitude=max(inputs.magnitude, targets.magnitude),
        weighted="weights" in arrays,
        **vars(targets),
    )


def _check_headers(arrays: Mapping[str, ArraySource], options: IngestOptions) -> None:
    """Raise InvalidInput if the arrays do not fit each other or the options."""
    validate_targets([field for field in arrays if field != "inputs"], options.unlabeled)
    if options.weight is not None:
        raise InvalidInput(
            "weight", "This names a column of a table; for arrays, send the weights as an array called weights."
        )
    for option in ("target", "label", "features", "types", "imputation", "constants"):
        if getattr(options, option):
            raise InvalidInput(option, "This option is for the columns of a table; arrays have none.")
    if options.classes is not None and "targets" in arrays:
        raise InvalidInput("classes", "Classes go with labels, but these are targets.")
    rows = arrays["inputs"].header.rows
    for field, array in arrays.items():
        header = array.header
        if field != "labels" and header.dtype.kind not in "buif":
            raise InvalidInput(field, f"Expected numbers, got an array of type {header.dtype}.")
        if header.rows != rows:
            raise InvalidInput(field, f"There are {header.rows} {field} for {rows} rows of inputs.")
        if field in ("labels", "weights") and header.columns not in (None, 1):
            raise InvalidInput(
                field, f"Expected one {field[:-1]} per row, got an array of shape ({rows}, {header.columns})."
            )


def _store_targets(
    arrays: Mapping[str, ArraySource], options: IngestOptions, directory: Path, tracker: ProgressTracker
) -> TargetSummary:
    if options.unlabeled:
        return NO_TARGETS
    if "labels" in arrays:
        return TargetSummary.from_classes(_store_codes(arrays["labels"], options, directory))
    numbers, all_distributions = _store_numbers("targets", arrays["targets"], directory, tracker)
    columns = arrays["targets"].header.columns or 1
    return TargetSummary(columns, None, numbers.smallest, numbers.largest, all_distributions)


def _store_numbers(
    field: str, array: ArraySource, directory: Path, tracker: ProgressTracker
) -> tuple[NumberValidator, bool]:
    """Store numbers in their own type, but float16 as float32.

    Returns:
        The validator of the numbers, and whether all rows are probability distributions.
    """
    numbers = NumberValidator(lambda row, column, message: array_row_error(f"{field}.{row}")(column, message))
    detector = DistributionDetector()
    header = array.header
    dtype = np.dtype(np.float32) if header.dtype == np.float16 else header.dtype.newbyteorder("=")

    def iter_blocks() -> Iterator[AnyArray]:
        first_row = 0
        for source_block in array.read_blocks():
            block = np.asarray(source_block, dtype).reshape(-1, header.columns or 1)
            numbers.add(block, first_row)
            if field == "targets":
                detector.add(block)
            first_row += len(block)
            yield block

    def track(blocks: Iterator[AnyArray]) -> Iterator[AnyArray]:
        for block in blocks:
            if field == "inputs":
                tracker.add_rows(len(block))
            yield block

    path = directory / f"{field}.npy"
    if array.zero_copy_path is None:
        with closing(prefetch(iter_blocks())) as blocks:
            write_npy(path, dtype, (header.rows, header.columns or 1), track(blocks))
    else:
        for _ in track(iter_blocks()):  # nothing is written meanwhile, so there is nothing to read ahead of
            pass
        durable_files.link_with_digest(array.zero_copy_path, path)
    return numbers, detector.all_distributions


def _store_codes(array: ArraySource, options: IngestOptions, directory: Path) -> Classes:
    encoder = LabelEncoder("labels", options.classes, array_row_error("labels"), has_typed_text=array.has_typed_text)
    for _, labels in _iter_labels(array):
        encoder.add(labels)
    encoder.finish()
    codes = (encoder.encode(labels, first_row) for first_row, labels in _iter_labels(array))
    write_npy(directory / "codes.npy", np.dtype(np.int32), (array.header.rows,), codes)
    return encoder.classes


def _iter_labels(array: ArraySource) -> Iterator[tuple[int, LabelBlock]]:
    """Yield the labels in blocks, each with the number of its first row."""
    first_row = 0
    for block in array.read_blocks():
        yield first_row, _read_labels(block, first_row)
        first_row += len(block)


def _read_labels(block: AnyArray | list[str], first_row: int) -> LabelBlock:
    """Return labels. Raises InvalidInput, naming the first row whose text is not valid Unicode."""
    if isinstance(block, list):
        return _read_texts(block)
    column = block.reshape(-1)
    if column.dtype.kind == "S":
        column = np.char.decode(column, "utf-8", "replace")
    if column.dtype.kind != "U":
        values = np.unique(column)
        return LabelBlock(values.tolist(), np.searchsorted(values, column), is_text=False)
    code_points = np.ascontiguousarray(column, column.dtype.newbyteorder("=")).view(np.uint32).reshape(len(column), -1)
    is_surrogate = (code_points >= 0xD800) & (code_points <= 0xDFFF)
    invalid = np.flatnonzero(((code_points > sys.maxunicode) | is_surrogate).any(axis=1))
    if invalid.size:
        raise array_row_error("labels")(first_row + int(invalid[0]), "The text is not valid Unicode.")
    return _read_texts(column.tolist())


def _read_texts(labels: list[str]) -> LabelBlock:
    # np.unique sorts, which takes ten times as long for text.
    index: dict[str, int] = {}
    indices = np.fromiter((index.setdefault(label, len(index)) for label in labels), np.int64, len(labels))
    return LabelBlock(list(index), indices, is_text=True)


def _store_weights(array: ArraySource, directory: Path) -> None:
    validator = WeightValidator("weights", array_row_error("weights"))

    def iter_blocks() -> Iterator[Float64Array]:
        first_row = 0
        for source_block in array.read_blocks():
            block = np.asarray(source_block, np.float64).reshape(-1)
            validator.add(block, first_row)
            first_row += len(block)
            yield block
        validator.finish()

    write_npy(directory / "weights.npy", np.dtype(np.float64), (array.header.rows,), iter_blocks())
