"""Files as people have them, read into examples.

Nothing is ever unpickled, and sizes are checked before they are believed.
"""

import csv
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from engine.data.examples import Array, Examples, Label, examples
from engine.errors import InvalidInput, TooLarge

_ZIP_MAGIC = b"PK\x03\x04"
_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Reading:
    """How to read a file. `target` names the CSV columns to learn as numbers, `label` the one that holds classes,
    `weight` the one that says how much a row counts."""

    target: tuple[str, ...] = ()
    label: str | None = None
    weight: str | None = None
    classes: tuple[Label, ...] | None = None
    largest: int = 2**33
    """Bytes of one array, after unpacking."""


def read_file(file: BinaryIO, name: str, reading: Reading) -> Examples:
    """The examples in one open file called `name` by its sender. Raises InvalidInput naming the field."""
    readers: dict[str, Callable[[BinaryIO, Reading], Examples]] = {".npz": _read_npz, ".csv": _read_csv}
    suffix = Path(name).suffix.lower()
    if suffix not in readers:
        raise InvalidInput(
            "file",
            f"{name!r} is of no known kind. Accepted: .npz with arrays inputs and targets or labels, .csv with a "
            "header; .npy files come in fields of their own, inputs and targets or labels.",
        )
    return readers[suffix](file, reading)


def read_arrays(files: Mapping[str, BinaryIO], reading: Reading) -> Examples:
    """The examples in open .npy files, by what each holds: inputs; targets or labels; weights if there are any."""
    return _of_arrays({field: _read_npy(file, _size(file), field, reading) for field, file in files.items()}, reading)


def _of_arrays(arrays: Mapping[str, Array], reading: Reading) -> Examples:
    if reading.weight is not None:
        raise InvalidInput(
            "weight", "This names a column of a .csv file; with arrays the weights are an array called weights."
        )
    return examples(
        arrays["inputs"],
        targets=arrays.get("targets"),
        labels=arrays.get("labels"),
        classes=reading.classes,
        weights=arrays.get("weights"),
    )


def _size(file: BinaryIO) -> int:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size


def _read_npy(file: BinaryIO, size: int, field: str, reading: Reading) -> Array:
    """One array of at most `size` bytes including its header."""
    try:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read_header is None:
            raise InvalidInput(field, f"Version {version} of the .npy format is not known; 1.0 and 2.0 are.")
        shape, fortran_order, dtype = read_header(file)
        if any(dimension < 0 for dimension in shape):
            raise ValueError("a dimension below 0")
    except (ValueError, EOFError) as problem:
        raise InvalidInput(field, "This is not a .npy file: its header cannot be read.") from problem
    if dtype.kind not in "buifUS":
        raise InvalidInput(field, f"Arrays of type {dtype} are not accepted; numbers are, and text for labels.")
    if len(shape) not in (1, 2):
        raise InvalidInput(field, f"Expected 1 or 2 dimensions, got {len(shape)}; reshape to one row per example.")
    length = dtype.itemsize
    for dimension in shape:
        length *= dimension
    if length > reading.largest:
        raise TooLarge(field, f"The array has {length} bytes; at most {reading.largest} are accepted.")
    if length > size:
        raise InvalidInput(field, f"The header announces {length} bytes but the file has only {size}.")
    data = file.read(length)
    if len(data) != length:
        raise InvalidInput(field, f"The header announces {length} bytes but only {len(data)} follow.")
    array = np.frombuffer(data, dtype)
    return array.reshape(shape, order="F" if fortran_order else "C")


def _read_npz(file: BinaryIO, reading: Reading) -> Examples:
    if file.read(4) != _ZIP_MAGIC:
        raise InvalidInput("file", "The name ends in .npz but this is not an .npz archive.")
    arrays: dict[str, Array] = {}
    try:
        with zipfile.ZipFile(file) as archive:
            names = {Path(member.filename).stem: member for member in archive.infolist()}
            for field in ("inputs", "targets", "labels", "weights"):
                if field in names:
                    with archive.open(names[field]) as member:
                        arrays[field] = _read_npy(cast(BinaryIO, member), names[field].file_size, field, reading)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as problem:
        raise InvalidInput("file", "The .npz archive is damaged, or packed in a way that is not accepted.") from problem
    if "inputs" not in arrays:
        raise InvalidInput(
            "file",
            f"The archive has the arrays {', '.join(sorted(names)) or '(none)'}; expected inputs, and targets or "
            "labels.",
        )
    return _of_arrays(arrays, reading)


def _read_csv(file: BinaryIO, reading: Reading) -> Examples:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        return _read_table(text, reading)
    except UnicodeDecodeError as problem:
        raise InvalidInput("file", f"The file is not UTF-8 text (byte {problem.start}).") from problem
    except csv.Error as problem:
        raise InvalidInput("file", f"The file is not a CSV table: {problem}.") from problem
    finally:
        text.detach()  # the file stays its owner's to close


def _read_table(file: io.TextIOBase, reading: Reading) -> Examples:
    first = file.readline()
    if "\0" in first:
        raise InvalidInput("file", "The name ends in .csv but this is not text.")
    delimiter = max(_DELIMITERS, key=first.count)
    header = next(csv.reader([first], delimiter=delimiter), [])
    header = [column.strip() for column in header]
    if not any(header):
        raise InvalidInput("file", "There is no data: the first line names the columns.")
    answers = _answer_columns(header, reading)
    counts = _weight_column(header, answers, reading)
    features = [place for place in range(len(header)) if place not in (*answers, *counts)]
    if not features:
        raise InvalidInput("target", "No column is left for the inputs.")
    numbers: list[list[float]] = []
    labels: list[str] = []
    weights: list[float] = []
    numeric = features if reading.label else [*features, *answers]
    for line, row in _rows(file, delimiter, len(header)):
        numbers.append([_number(row[place], header[place], line) for place in numeric])
        if reading.label:
            labels.append(row[answers[0]].strip())
        weights += [_number(row[place], header[place], line, maybe_class=False) for place in counts]
    if not numbers:
        raise InvalidInput("file", "There is no data below the line that names the columns.")
    table = np.array(numbers, np.float64)
    inputs, targets = table[:, : len(features)], table[:, len(features) :]
    return examples(
        inputs,
        targets=None if reading.label else targets,
        labels=_as_whole_numbers(labels) if reading.label else None,
        classes=reading.classes,
        weights=np.array(weights) if counts else None,
    )


def _answer_columns(header: Sequence[str], reading: Reading) -> list[int]:
    wanted = reading.target or ((reading.label,) if reading.label else ())
    field = "target" if reading.target or not reading.label else "label"
    if not wanted or (reading.target and reading.label):
        raise InvalidInput(
            "target",
            "Name what to learn: target=COLUMN for numbers (several with commas), or label=COLUMN for classes. "
            f"The columns are: {', '.join(header)}.",
        )
    return [_place(name, header, field) for name in wanted]


def _weight_column(header: Sequence[str], answers: Sequence[int], reading: Reading) -> list[int]:
    """The place of the column that holds weights; none if none is named."""
    if reading.weight is None:
        return []
    place = _place(reading.weight, header, "weight")
    if place in answers:
        raise InvalidInput("weight", f"The column {reading.weight!r} is to be learned; weights are in another one.")
    return [place]


def _place(name: str, header: Sequence[str], field: str) -> int:
    if header.count(name) != 1:
        amount = "no column" if name not in header else "more than one column"
        raise InvalidInput(field, f"There is {amount} called {name!r}. The columns are: {', '.join(header)}.")
    return header.index(name)


def _rows(file: io.TextIOBase, delimiter: str, width: int) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of every row that is not empty."""
    for number, row in enumerate(csv.reader(file, delimiter=delimiter), start=2):
        if not row:
            continue
        if len(row) != width:
            raise InvalidInput("file", f"Line {number} has {len(row)} cells, the header has {width}.")
        yield number, row


def _number(cell: str, column: str, line: int, *, maybe_class: bool = True) -> float:
    try:
        return float(cell)
    except ValueError as problem:
        shown = cell if len(cell) <= 40 else f"{cell[:40]}…"
        what = "is empty" if not cell.strip() else f"holds {shown!r}"
        hint = f" (for classes: label={column})" if maybe_class else ""
        raise InvalidInput("file", f"Line {line}, column {column!r} {what}; a number is expected{hint}.") from problem


def _as_whole_numbers(labels: list[str]) -> list[str] | list[int]:
    """Labels that are all whole numbers sort as numbers: 2 before 10."""
    try:
        return [int(label) for label in labels]
    except ValueError:
        return labels
