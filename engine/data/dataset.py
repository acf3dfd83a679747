"""A stored dataset: what is known of it, and how it is stored."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from nabla.engine import durable_files
from nabla.engine.data.examples import Examples
from nabla.engine.data.ingest_options import NO_ANSWERS, Answers, Content
from nabla.engine.data.preprocessing import PreprocessingConfig
from nabla.engine.data.schema import Column
from nabla.engine.errors import InvalidInput
from nabla.engine.nn.architecture import Architecture

Matrix = npt.NDArray[np.floating]

_NO_PREPROCESSING = PreprocessingConfig()


@dataclass(frozen=True, kw_only=True)
class Dataset(Content):
    """A stored dataset: what it holds, and what makes it one of many. `sha256`: see `content_digest`."""

    id: str
    name: str | None
    created_at: datetime
    sha256: str = ""

    @classmethod
    def of(cls, id: str, name: str | None, created_at: datetime, content: Content, folder: Path) -> "Dataset":
        """The dataset whose content is stored in `folder`."""
        digest = content_digest(folder, content.features, content.target_columns, content.classes)
        return cls(id=id, name=name, created_at=created_at, sha256=digest, **vars(content))

    def check_fits(
        self,
        architecture: Architecture,
        rule: PreprocessingConfig = _NO_PREPROCESSING,
        columns: tuple[Column, ...] | None = None,
    ) -> None:
        """Raises InvalidInput (field `dataset_id`) if the network cannot be trained on this, or be measured with it.
        `columns`: see `check_inputs`."""
        if self.unlabeled:
            raise InvalidInput(
                "dataset_id",
                "The dataset is unlabeled: its rows have no answers to be learned, or to be compared with. A dataset "
                "with targets or labels is needed here; of this one batch predictions can be made.",
            )
        self.check_inputs(architecture, rule, columns)
        self._check_outputs(architecture)
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

    def check_inputs(
        self,
        architecture: Architecture,
        rule: PreprocessingConfig = _NO_PREPROCESSING,
        columns: tuple[Column, ...] | None = None,
    ) -> None:
        """Raises InvalidInput (field `dataset_id`) if the network cannot predict these rows. `columns`: those of a
        table, as the network knows them: their categories may be others than the dataset's own."""
        columns = columns or self.features
        inputs = self.inputs if columns is None else sum(column.inputs for column in columns)
        if architecture.inputs != inputs:
            made_of = "" if columns is None else f": {_described(columns)}"
            raise InvalidInput(
                "dataset_id", f"The network has {architecture.inputs} inputs, the dataset {inputs}{made_of}."
            )
        if not rule.scales and self.magnitude > float(np.finfo(architecture.dtype).max):
            raise InvalidInput(
                "dataset_id",
                f"The dataset reaches to ±{self.magnitude:g}, beyond {architecture.dtype}; use a float64 network.",
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

    def _check_outputs(self, architecture: Architecture) -> None:
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


def _described(columns: tuple[Column, ...]) -> str:
    """What the inputs are made of."""
    shown = ", ".join(
        f"{column.name} ({column.inputs} categories)" if column.type == "category" else column.name
        for column in columns[:20]
    )
    return shown if len(columns) <= 20 else f"{shown}, … ({len(columns)} columns in all)"


def _listed(classes: tuple[str, ...]) -> str:
    shown = ", ".join(classes[:20])
    return shown if len(classes) <= 20 else f"{shown}, … ({len(classes)} in all)"


def store(folder: Path, found: Examples, *, id: str, name: str | None, created_at: datetime) -> Dataset:
    """Write examples durably into the new folder `folder`. Raises StorageFailed."""
    targets, answers = found.targets, _answers(found)
    with durable_files.new_folder(folder) as place:
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
        bytes=size,
        magnitude=max(_magnitude(found.inputs), answers.magnitude),
        created_at=created_at,
        weighted=found.weights is not None,
        sha256=content_digest(folder, None, (), found.classes),
        **vars(answers),
    )


def _answers(found: Examples) -> Answers:
    if found.classes is not None:
        return Answers.of_classes(found.classes)
    targets = found.targets
    if targets is None:
        return NO_ANSWERS
    return Answers(targets.shape[1], None, float(targets.min()), float(targets.max()), _are_distributions(targets))


def _magnitude(matrix: Matrix) -> float:
    return max(abs(float(matrix.min())), abs(float(matrix.max())))


def _are_distributions(targets: Matrix) -> bool:
    sums = targets.sum(axis=1, dtype=np.float64)
    return bool(targets.min() >= 0 and np.allclose(sums, 1, rtol=0, atol=1e-5))


def _write(path: Path, array: npt.NDArray[np.generic]) -> None:
    durable_files.write_file(path, lambda file: np.lib.format.write_array(file, array, allow_pickle=False))
