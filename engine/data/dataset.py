"""Stored datasets: their record, checks that they fit a network, their files, and the values of their columns."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from nabla.engine import durable_files
from nabla.engine.data.examples import Examples, are_distributions
from nabla.engine.data.ingest_options import NO_TARGETS, DatasetContent, TargetSummary
from nabla.engine.data.preprocessing import PreprocessingConfig
from nabla.engine.data.schema import Classes, Column, StoredType, class_names, find_class_codes, format_names
from nabla.engine.errors import Damaged, InvalidInput
from nabla.engine.nn.architecture import Architecture
from nabla.engine.typing import AnyArray, Float64Array, FloatArray

_NO_PREPROCESSING = PreprocessingConfig()
# Maximum rows and numbers of a block: up to 32 MiB.
_BLOCK_ROWS, _BLOCK_NUMBERS = 2**14, 2**22


@dataclass(frozen=True, kw_only=True)
class Dataset(DatasetContent):
    """A stored dataset.

    Attributes:
        sha256: `content_digest` of the stored files and column roles.
        split_from: Id of the dataset that it is a part of.
        split_with: Ids of the other parts of the same split, which have no row in common with it.
    """

    id: str
    name: str | None
    created_at: datetime
    sha256: str = ""
    split_from: str | None = None
    split_with: tuple[str, ...] = ()

    @classmethod
    def from_content(
        cls, id: str, name: str | None, created_at: datetime, content: DatasetContent, directory: Path
    ) -> "Dataset":
        """Return the dataset for the content stored in `directory`."""
        digest = content_digest(directory, content.features, content.target_columns, content.classes)
        return cls(id=id, name=name, created_at=created_at, sha256=digest, **vars(content))

    @property
    def unlabeled(self) -> bool:
        """Whether the rows have no targets."""
        return self.targets == 0

    def check_fits(
        self,
        architecture: Architecture,
        preprocessing: PreprocessingConfig = _NO_PREPROCESSING,
        columns: tuple[Column, ...] | None = None,
        classes: Classes | None = None,
    ) -> None:
        """Check that a network can be trained or evaluated on the dataset.

        Args:
            architecture: Architecture of the network.
            preprocessing: Preprocessing of the network.
            columns: Columns that the network was trained on; see `check_inputs`.
            classes: Classes that the network was trained on; the dataset needs no others, in any order. None accepts
                those of the dataset.

        Raises:
            InvalidInput: Inputs, outputs, classes or cost do not match the dataset (field `dataset_id`).
        """
        if self.unlabeled:
            raise InvalidInput(
                "dataset_id",
                "The dataset is unlabeled: its rows have nothing to learn or to compare with. A dataset with "
                "targets or labels is needed here; an unlabeled one can only be used for batch predictions.",
            )
        self.check_inputs(architecture, preprocessing, columns)
        if classes is None:
            self._check_outputs(architecture)
        else:
            self._check_classes(classes)
        if architecture.cost == "binary_cross_entropy" and not 0 <= self.smallest <= self.largest <= 1:
            raise InvalidInput(
                "dataset_id",
                f"The cost binary_cross_entropy needs targets from 0 to 1; these range from {self.smallest:g} to "
                f"{self.largest:g}.",
            )
        if architecture.cost == "poisson" and self.smallest < 0:
            raise InvalidInput(
                "dataset_id", f"The cost poisson needs targets of at least 0; the smallest is {self.smallest:g}."
            )
        if architecture.cost == "categorical_cross_entropy" and not self.distributions:
            raise InvalidInput(
                "dataset_id",
                "The cost categorical_cross_entropy needs targets that are probabilities: in each row at least 0, "
                "with the sum 1. For classes, give labels instead of targets.",
            )

    def check_inputs(
        self,
        architecture: Architecture,
        preprocessing: PreprocessingConfig = _NO_PREPROCESSING,
        columns: tuple[Column, ...] | None = None,
    ) -> None:
        """Check that a network can predict the rows of the dataset.

        Args:
            architecture: Architecture of the network.
            preprocessing: Preprocessing of the network.
            columns: Columns that the network was trained on, whose categories may differ from those of the dataset.

        Raises:
            InvalidInput: The number or the magnitude of the inputs does not match (field `dataset_id`).
        """
        columns = columns or self.features
        inputs = self.inputs if columns is None else sum(column.inputs for column in columns)
        if architecture.inputs != inputs:
            composition = "" if columns is None else f": {_describe_inputs(columns)}"
            raise InvalidInput(
                "dataset_id", f"The network has {architecture.inputs} inputs, the dataset {inputs}{composition}."
            )
        if not preprocessing.has_scaling and self.magnitude > float(np.finfo(architecture.dtype).max):
            raise InvalidInput(
                "dataset_id",
                f"The dataset has values up to ±{self.magnitude:g}, beyond {architecture.dtype}; use a float64 "
                "network.",
            )

    def _check_classes(self, expected: Classes) -> None:
        if self.classes is None:
            actual, reason = "numbers as targets, and no classes", ""
        else:
            names, codes = class_names(self.classes), find_class_codes(expected, self.classes)
            unknown = [name for name, code in zip(names, codes, strict=True) if code is None]
            if not unknown:
                return
            actual = f"the classes {format_names(names)}"
            reason = f", of which the network does not know {format_names(unknown)}"
        raise InvalidInput(
            "dataset_id",
            f"The classes of the network are {format_names(class_names(expected))}; the dataset has {actual}{reason}. "
            "Accepted: some or all of the network's classes, in any order. For other classes train a new network.",
        )

    def _check_outputs(self, architecture: Architecture) -> None:
        binary = self.classes is not None and len(self.classes) == 2
        if architecture.outputs != self.targets and not (binary and architecture.outputs == 1):
            accepted = "1 or 2" if binary else str(self.targets)
            noun = "classes" if self.classes else "targets"
            raise InvalidInput(
                "dataset_id",
                f"The network has {architecture.outputs} outputs; a dataset of {self.targets} {noun} needs {accepted}.",
            )


def content_digest(
    directory: Path,
    features: tuple[Column, ...] | None,
    target_columns: tuple[str, ...],
    classes: Classes | None,
) -> str:
    """Return a SHA-256 digest that is the same for the same stored files with the same column roles.

    Stored files have a digest of their content in their names, so the names stand for the content.
    """
    names = sorted(path.name for path in directory.iterdir())
    columns = None if features is None else [_digest_fields(column) for column in features]
    return hashlib.sha256(msgspec.json.encode([names, columns, target_columns, classes])).hexdigest()


def store_examples(directory: Path, examples: Examples, *, id: str, name: str | None, created_at: datetime) -> Dataset:
    """Store examples durably in a new directory.

    Raises:
        StorageFailed: A file cannot be written; then the directory does not exist.
    """
    arrays = {
        "inputs": examples.inputs,
        "targets": examples.targets,
        "codes": examples.codes,
        "weights": examples.weights,
    }
    with durable_files.create_dir(directory) as unfinished:
        for array_name, array in arrays.items():
            if array is not None:
                write_npy(unfinished / f"{array_name}.npy", array.dtype, array.shape, iter((array,)))
        size = sum(file.stat().st_size for file in unfinished.iterdir())
    summary = _summarize_targets(examples)
    return Dataset(
        id=id,
        name=name,
        rows=len(examples.inputs),
        inputs=examples.inputs.shape[1],
        bytes=size,
        magnitude=max(_magnitude(examples.inputs), summary.magnitude),
        created_at=created_at,
        weighted=examples.weights is not None,
        sha256=content_digest(directory, None, (), examples.classes),
        **vars(summary),
    )


def find_stored_file(directory: Path, name: str) -> Path:
    """Return the file of an array or a table, whose name has a digest that is not known.

    Args:
        directory: The directory of the dataset.
        name: "table", "inputs", "targets", "codes" or "weights".

    Raises:
        Damaged: There is no such file.
    """
    path = next(directory.glob(f"{name}.*"), None)
    if path is None:
        raise Damaged(f"The stored file {directory.name}/{name} is missing.")
    return path


def rows_per_block(columns: int) -> int:
    """Return how many rows of a stored array with this number of columns are processed at a time."""
    return max(1, min(_BLOCK_ROWS, _BLOCK_NUMBERS // columns))


def write_npy(path: Path, dtype: np.dtype[np.generic], shape: tuple[int, ...], blocks: Iterator[AnyArray]) -> Path:
    """Write an array from its blocks of rows, of which only one is in memory at a time.

    Returns:
        The path of the file, whose name has a digest of the content; see `durable_files.write_file`.

    Raises:
        StorageFailed: The file cannot be written.
    """

    def write(file: durable_files.Sink) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype).data)

    return durable_files.write_file(path, write)


def _describe_inputs(columns: tuple[Column, ...]) -> str:
    return format_names(
        [
            f"{column.name} ({column.inputs} categories)" if column.type == "category" else column.name
            for column in columns
        ]
    )


def _digest_fields(column: Column) -> dict[str, object]:
    # Digests are stored and compared: these keys and their order must not change, even if the fields are renamed.
    return {
        "name": column.name,
        "type": column.type,
        "categories": column.categories,
        "missing": column.missing,
        "fill": column.imputation,
        "constant": column.constant,
    }


def _summarize_targets(examples: Examples) -> TargetSummary:
    if examples.classes is not None:
        return TargetSummary.from_classes(examples.classes)
    targets = examples.targets
    if targets is None:
        return NO_TARGETS
    return TargetSummary(targets.shape[1], None, float(targets.min()), float(targets.max()), are_distributions(targets))


def _magnitude(matrix: FloatArray) -> float:
    return max(abs(float(matrix.min())), abs(float(matrix.max())))


class ColumnValues(ABC):
    """The values of a column in a block of rows.

    Attributes:
        type: Their type.
    """

    type: StoredType

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows."""

    @abstractmethod
    def to_list(self) -> list[Any]:
        """Return the values as Python objects; None for missing ones."""

    @abstractmethod
    def to_float64(self) -> Float64Array:
        """Return numbers, booleans or dates (as days since 1970-01-01), with NaN for missing values."""

    @abstractmethod
    def present_numbers(self) -> AnyArray:
        """Return the numbers, booleans or dates that are not missing, in the precision in which they are stored."""

    @abstractmethod
    def count_texts(self) -> Iterable[tuple[str, int]]:
        """Return the distinct texts with their numbers of rows."""

    @abstractmethod
    def count_missing_texts(self) -> int:
        """Return the number of rows without a text."""

    @abstractmethod
    def text_buffers(self) -> Iterable[bytes | memoryview]:
        """Return buffers that are equal for equal texts and only for these."""

    @abstractmethod
    def distinct_pairs(self, other: "ColumnValues") -> Iterable[tuple[Any, Any]]:
        """Return the distinct pairs of these values with those of another column of the same kind of dataset."""
