"""Arrays, stored block by block as they are."""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nabla.engine import durable_files
from nabla.engine.data.examples import Array, check_answers
from nabla.engine.data.ingest.formats.npy import Announced
from nabla.engine.data.ingest.prefetch import ahead
from nabla.engine.data.ingest.progress import Meter
from nabla.engine.data.ingest.validation import Classes, Distributions, Numbers, Weights, in_array
from nabla.engine.data.ingest_options import NO_ANSWERS, Answers, Content, Reading
from nabla.engine.data.npy_io import write_array
from nabla.engine.errors import InvalidInput


@dataclass(frozen=True)
class Given:
    """An array that was handed in. `blocks` gives its rows, from the first on, as often as it is called; labels may
    come as Arrow has them. `file`: one of numbers that may be stored as it is."""

    announced: Announced
    blocks: Callable[[], Iterator[Array | pa.Array]]
    file: Path | None = None


def store_arrays(arrays: Mapping[str, Given], reading: Reading, folder: Path, meter: Meter) -> Content:
    """Write inputs, and targets or labels and weights, where there are some, into `folder`. Raises InvalidInput,
    StorageFailed."""
    _check(arrays, reading)
    rows = arrays["inputs"].announced.rows
    inputs, _ = _store_numbers("inputs", arrays["inputs"], folder, meter)
    if "weights" in arrays:
        _store_weights(arrays["weights"], folder)
    answers = _store_answers(arrays, reading, folder, meter)
    return Content(
        rows=rows,
        inputs=arrays["inputs"].announced.columns or 1,
        bytes=sum(file.stat().st_size for file in folder.iterdir()),
        magnitude=max(inputs.magnitude, answers.magnitude),
        weighted="weights" in arrays,
        **vars(answers),
    )


def _check(arrays: Mapping[str, Given], reading: Reading) -> None:
    """By what the headers announce. Raises InvalidInput."""
    check_answers([field for field in arrays if field != "inputs"], reading.unlabeled)
    if reading.weight is not None:
        raise InvalidInput(
            "weight", "This names a column of a table; with arrays the weights are an array called weights."
        )
    for option in ("target", "label", "features", "types", "imputation", "constants"):
        if getattr(reading, option):
            raise InvalidInput(option, "This is about the columns of a table; arrays have none.")
    if reading.classes is not None and "targets" in arrays:
        raise InvalidInput("classes", "Classes go with labels; these are targets.")
    rows = arrays["inputs"].announced.rows
    for field, given in arrays.items():
        found = given.announced
        if field != "labels" and found.dtype.kind not in "buif":
            raise InvalidInput(field, f"Expected numbers, got an array of type {found.dtype}.")
        if found.rows != rows:
            raise InvalidInput(field, f"There are {found.rows} {field} for {rows} rows of inputs.")
        if field in ("labels", "weights") and found.columns not in (None, 1):
            raise InvalidInput(
                field, f"Expected one {field[:-1]} per row, got an array of shape ({rows}, {found.columns})."
            )


def _store_answers(arrays: Mapping[str, Given], reading: Reading, folder: Path, meter: Meter) -> Answers:
    if reading.unlabeled:
        return NO_ANSWERS
    if "labels" in arrays:
        return Answers.of_classes(_store_codes(arrays["labels"], reading, folder))
    numbers, are_distributions = _store_numbers("targets", arrays["targets"], folder, meter)
    width = arrays["targets"].announced.columns or 1
    return Answers(width, None, numbers.smallest, numbers.largest, are_distributions)


def _store_numbers(field: str, given: Given, folder: Path, meter: Meter) -> tuple[Numbers, bool]:
    """In the type that they have; half precision becomes float32."""
    numbers = Numbers(lambda row, column, sentence: in_array(f"{field}.{row}")(column, sentence))
    distributions = Distributions()
    found = given.announced
    dtype = np.dtype(np.float32) if found.dtype == np.float16 else found.dtype.newbyteorder("=")

    def blocks() -> Iterator[Array]:
        first_row = 0
        for read in given.blocks():
            block = np.asarray(read, dtype).reshape(-1, found.columns or 1)
            numbers.see(block, first_row)
            if field == "targets":
                distributions.see(block)
            first_row += len(block)
            yield block

    def counted(blocks: Iterator[Array]) -> Iterator[Array]:
        for block in blocks:
            if field == "inputs":
                meter.add(len(block))
            yield block

    path = folder / f"{field}.npy"
    if given.file is None:
        write_array(path, dtype, (found.rows, found.columns or 1), counted(ahead(blocks())))
    else:
        for _ in counted(blocks()):  # nothing is written meanwhile
            pass
        durable_files.adopt(given.file, path)
    return numbers, distributions.are


def _store_codes(given: Given, reading: Reading, folder: Path) -> tuple[str, ...]:
    classes = Classes("labels", reading.classes, in_array("labels"))
    first_row = 0
    for block in given.blocks():
        classes.add(classes.look(_labels(block, first_row)))
        first_row += len(block)
    classes.settle()

    def codes() -> Iterator[Array]:
        first_row = 0
        for block in given.blocks():
            yield classes.codes(_labels(block, first_row), first_row)
            first_row += len(block)

    write_array(folder / "codes.npy", np.dtype(np.int32), (given.announced.rows,), codes())
    return classes.names


def _labels(block: Array | pa.Array, first_row: int) -> pa.Array:
    """As Arrow has them. Raises InvalidInput naming the first row of a text that is none."""
    if isinstance(block, pa.Array):
        return block
    column = block.reshape(-1)
    column = column.astype(column.dtype.newbyteorder("="), copy=False)
    if column.dtype.kind == "S":
        column = np.char.decode(column, "utf-8", "replace")  # type: ignore[arg-type]  # of bytes: kind S
    if column.dtype.kind == "U":
        letters = np.ascontiguousarray(column).view(np.uint32).reshape(len(column), -1)
        wrong = np.flatnonzero(((letters > sys.maxunicode) | ((letters >= 0xD800) & (letters <= 0xDFFF))).any(axis=1))
        if wrong.size:
            raise in_array("labels")(first_row + int(wrong[0]), "The text holds what is no letter of Unicode.")
    return pa.array(column.astype(np.float32) if column.dtype == np.float16 else column)


def _store_weights(given: Given, folder: Path) -> None:
    weights = Weights("weights", in_array("weights"))

    def blocks() -> Iterator[npt.NDArray[np.float64]]:
        first_row = 0
        for read in given.blocks():
            block = np.asarray(read, np.float64).reshape(-1)
            weights.see(block, first_row)
            first_row += len(block)
            yield block
        weights.end()

    write_array(folder / "weights.npy", np.dtype(np.float64), (given.announced.rows,), blocks())
