"""A stored dataset: what is known of it, and its files opened for training."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from engine import durable
from engine.data.columns import Column
from engine.data.examples import Examples
from engine.errors import Damaged, InvalidInput
from engine.nn.architecture import Architecture

Matrix = npt.NDArray[np.floating]

# So many numbers are converted at a time.
_NUMBERS_AT_ONCE = 2**22


@dataclass(frozen=True)
class Dataset:
    """`inputs` counts those of a network; `targets` the columns of the answers; for labels it is the number of classes.

    `features`: the columns behind the inputs, where it came as a table; None for plain numbers. `answers`: the names of
    the columns to learn, where they have any. `sha256`: of its content, see `content_digest`.

    `smallest`, `largest`: over all targets; `distributions`: each row of targets is ≥ 0 and sums to 1;
    `magnitude`: the largest absolute value of all inputs and targets; `weighted`: each row has a weight.
    """

    id: str
    name: str | None
    rows: int
    inputs: int
    targets: int
    classes: tuple[str, ...] | None
    bytes: int
    smallest: float
    largest: float
    distributions: bool
    magnitude: float
    created_at: datetime
    weighted: bool = False
    features: tuple[Column, ...] | None = None
    answers: tuple[str, ...] = ()
    sha256: str = ""

    def check_fits(self, architecture: Architecture) -> None:
        """Raises InvalidInput (field `dataset_id`) if the network cannot be trained on this."""
        self._check_width(architecture)
        if self.magnitude > float(np.finfo(architecture.dtype).max):
            raise InvalidInput(
                "dataset_id",
                f"The dataset reaches to ±{self.magnitude:g}, beyond {architecture.dtype}; use a float64 network.",
            )
        if architecture.cost == "binary_cross_entropy" and not 0 <= self.smallest <= self.largest <= 1:
            raise InvalidInput(
                "dataset_id",
                f"The cost binary_cross_entropy needs targets from 0 to 1; these reach from {self.smallest:g} to "
                f"{self.largest:g}.",
            )
        if architecture.cost == "poisson" and self.smallest < 0:
            raise InvalidInput(
                "dataset_id", f"The cost poisson needs targets of at least 0; these begin at {self.smallest:g}."
            )
        if architecture.cost == "categorical_cross_entropy" and not self.distributions:
            raise InvalidInput(
                "dataset_id",
                "The cost categorical_cross_entropy needs targets that are probabilities: in each row at least 0, "
                "with the sum 1. For classes give labels instead of targets.",
            )

    def check_classes(self, expected: tuple[str, ...]) -> None:
        """Raises InvalidInput (field `dataset_id`) if these are not the dataset's classes, in this order."""
        if self.classes == expected:
            return
        has = "numbers as targets, and no classes" if self.classes is None else f"the classes {_listed(self.classes)}"
        raise InvalidInput(
            "dataset_id",
            f"The network was trained to tell apart {_listed(expected)}; it needs a dataset of these classes in this "
            f"order. This one has {has}.",
        )

    def _check_width(self, architecture: Architecture) -> None:
        if architecture.inputs != self.inputs:
            raise InvalidInput(
                "dataset_id",
                f"The network has {architecture.inputs} inputs, the dataset {self.inputs}.",
            )
        two_classes = self.classes is not None and len(self.classes) == 2
        if architecture.outputs != self.targets and not (two_classes and architecture.outputs == 1):
            accepted = "1 or 2" if two_classes else str(self.targets)
            what = "classes" if self.classes else "targets"
            raise InvalidInput(
                "dataset_id",
                f"The network has {architecture.outputs} outputs; a dataset of {self.targets} {what} needs {accepted}.",
            )


def content_digest(folder: Path, *roles: object) -> str:
    """The same for the same stored files, whose names have digests of their content, and the same roles of columns."""
    names = sorted(path.name for path in folder.iterdir())
    return hashlib.sha256(msgspec.json.encode([names, *roles])).hexdigest()


def _listed(classes: tuple[str, ...]) -> str:
    shown = ", ".join(classes[:20])
    return shown if len(classes) <= 20 else f"{shown}, … ({len(classes)} in all)"


def store(folder: Path, found: Examples, *, id: str, name: str | None, created_at: datetime) -> Dataset:
    """Write examples durably into the new folder `folder`. Raises StorageFailed."""
    targets = found.targets
    with durable.new_folder(folder) as place:
        _write(place / "inputs.npy", found.inputs)
        if targets is not None:
            _write(place / "targets.npy", targets)
        if found.codes is not None:
            _write(place / "codes.npy", found.codes)
        if found.weights is not None:
            _write(place / "weights.npy", found.weights)
        size = sum(file.stat().st_size for file in place.iterdir())
    return Dataset(
        id=id,
        name=name,
        rows=len(found.inputs),
        inputs=found.inputs.shape[1],
        targets=len(found.classes or ()) if targets is None else targets.shape[1],
        classes=found.classes,
        bytes=size,
        smallest=0.0 if targets is None else float(targets.min()),
        largest=1.0 if targets is None else float(targets.max()),
        distributions=targets is None or _are_distributions(targets),
        magnitude=max(_magnitude(found.inputs), 1.0 if targets is None else _magnitude(targets)),
        created_at=created_at,
        weighted=found.weights is not None,
        sha256=content_digest(folder, None, (), found.classes),
    )


def _magnitude(matrix: Matrix) -> float:
    return max(abs(float(matrix.min())), abs(float(matrix.max())))


def _are_distributions(targets: Matrix) -> bool:
    sums = targets.sum(axis=1, dtype=np.float64)
    return bool(targets.min() >= 0 and np.allclose(sums, 1, rtol=0, atol=1e-5))


def _write(path: Path, array: npt.NDArray[np.generic]) -> None:
    durable.write_file(path, lambda file: np.lib.format.write_array(file, array, allow_pickle=False))


@dataclass(frozen=True)
class OpenDataset:
    """Inputs x (rows, inputs) and targets y (rows, outputs) in the dtype asked for; `codes` (rows) of the classes, or
    None; `weights` (rows), or None where all rows count the same. All are mapped from disk and read-only."""

    x: Matrix
    y: Matrix
    codes: npt.NDArray[np.int32] | None = None
    weights: npt.NDArray[np.float64] | None = None


def open_for_training(dataset: Dataset, folder: Path, outputs: int, dtype: str) -> OpenDataset:
    """The dataset stored in `folder`, for a network of so many outputs. Raises StorageFailed; Damaged if any byte of it
    is not what was written.

    What is stored otherwise is converted once and kept beside the original. Labels become one-hot targets, or 0
    and 1 for a single output.
    """
    weights = _load(_find(folder, "weights")) if dataset.weighted else None
    inputs = _in(dtype, folder, "inputs")
    if dataset.classes is None:
        return OpenDataset(inputs, _in(dtype, folder, "targets"), None, weights)
    codes = _load(_find(folder, "codes"))
    name = f"targets-{outputs}-{dtype}"
    targets = _converted(folder, name, lambda: codes, lambda part: _one_hot(part, outputs, dtype))
    return OpenDataset(inputs, targets, codes, weights)


def _find(folder: Path, name: str) -> Path:
    """The file of this name, whatever its digest. Raises Damaged if there is none."""
    found = next(folder.glob(f"{name}.*.npy"), None)
    if found is None:
        raise Damaged(f"The stored file {folder.name}/{name} is missing.")
    return found


def _in(dtype: str, folder: Path, name: str) -> Matrix:
    path = _find(folder, name)
    if _map(path).dtype == dtype:
        return _load(path)
    return _converted(folder, f"{name}-{dtype}", lambda: _load(path), lambda part: part.astype(dtype))


def _one_hot(codes: npt.NDArray[np.int32], outputs: int, dtype: str) -> Matrix:
    if outputs == 1:
        return codes.reshape(-1, 1).astype(dtype)
    targets = np.zeros((len(codes), outputs), dtype)
    targets[np.arange(len(codes)), codes] = 1
    return targets


def _converted(
    folder: Path,
    name: str,
    original: Callable[[], npt.NDArray[Any]],
    convert: Callable[[npt.NDArray[Any]], Matrix],
) -> Matrix:
    """What `convert` makes of the rows of `original()`, kept under `name`, and made anew where it is damaged."""
    for kept in folder.glob(f"{name}.*.npy"):
        with suppress(Damaged):
            return _load(kept)
        kept.unlink(missing_ok=True)
    whole = original()

    def write(file: durable.Sink) -> None:
        """In parts: it may not fit into memory."""
        first = convert(whole[:1])
        header = np.lib.format.header_data_from_array_1_0(first)
        np.lib.format.write_array_header_1_0(file, {**header, "shape": (len(whole), first.shape[1])})
        at_once = max(1, _NUMBERS_AT_ONCE // first.shape[1])
        for start in range(0, len(whole), at_once):
            file.write(convert(whole[start : start + at_once]).data)

    return _map(durable.write_file(folder / f"{name}.npy", write))


def _load(path: Path) -> npt.NDArray[Any]:
    durable.check(path)
    return _map(path)


def _map(path: Path) -> npt.NDArray[Any]:
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except Exception as problem:  # of a damaged header NumPy makes errors of every kind
        raise Damaged(f"The stored file {path.parent.name}/{path.name} cannot be read.") from problem
