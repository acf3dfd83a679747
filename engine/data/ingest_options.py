"""What was handed in, how it is to be read, and what was found in it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nabla.engine.data.examples import Label, refuse_beside_unlabeled
from nabla.engine.data.schema import Column, ColumnType, ImputationStrategy
from nabla.engine.errors import InvalidInput
from nabla.engine.literals import DataFormat

FieldName = Literal["file", "inputs", "targets", "labels", "weights"]


@dataclass(frozen=True)
class Source:
    """A file that was handed in. `paths`: its pieces, in order, which are read as one file; `name` as its sender called
    it, or ""; `content_type`, or ""; `field`: what it holds."""

    paths: tuple[Path, ...]
    name: str = ""
    content_type: str = ""
    field: FieldName = "file"


@dataclass(frozen=True)
class Reading:
    """How files are to be read.

    `format`: None finds out. `header`: whether the first line of CSV names the columns; None finds out. `target` names
    the columns to learn as numbers, `label` the one of classes, `weight` the one that says how much a row counts,
    `features` the inputs: by default all other columns. `classes`: their order, where it is not that of their names.
    `types`: what columns are, where that is not what they look like. `imputation`: what rows without a value get; where
    it says nothing they are refused. `constants`: the values for the filling `constant`. `unlabeled`: the rows have
    nothing to be learned, and are there to be predicted; what is missing stays so, until a network fills it. `largest`:
    bytes, once unpacked.

    Raises InvalidInput if it says one thing and its opposite.
    """

    format: DataFormat | None = None
    header: bool | None = None
    target: tuple[str, ...] = ()
    label: str | None = None
    weight: str | None = None
    features: tuple[str, ...] | None = None
    classes: tuple[Label, ...] | None = None
    types: dict[str, ColumnType] = field(default_factory=dict)
    imputation: ImputationStrategy | dict[str, ImputationStrategy] | None = None
    constants: dict[str, float | str] = field(default_factory=dict)
    largest: int = 2**33
    unlabeled: bool = False

    def __post_init__(self) -> None:
        if not self.unlabeled:
            return
        refuse_beside_unlabeled(option for option in ("target", "label", "classes", "weight") if getattr(self, option))
        for option in ("imputation", "constants"):
            if getattr(self, option):
                raise InvalidInput(
                    option,
                    "What rows without a value get is up to the network that predicts them; leave this out where "
                    "unlabeled is true.",
                )


@dataclass(frozen=True)
class Progress:
    """How far reading has come: bytes as they were handed in, and rows."""

    bytes_read: int
    bytes_total: int
    rows: int


@dataclass(frozen=True)
class Answers:
    """What the rows of a dataset are to be answered with: numbers, classes, or nothing. The fields are those of
    `Content`."""

    targets: int
    classes: tuple[str, ...] | None
    smallest: float
    largest: float
    distributions: bool

    @classmethod
    def of_classes(cls, names: tuple[str, ...]) -> "Answers":
        return cls(len(names), names, 0.0, 1.0, True)

    @property
    def magnitude(self) -> float:
        return max(abs(self.smallest), abs(self.largest))


NO_ANSWERS = Answers(0, None, 0.0, 0.0, False)


@dataclass(frozen=True)
class Content:
    """What a stored dataset holds.

    `inputs` counts those of a network; `targets` the columns of the answers: for labels it is the number of classes,
    and 0 where the rows have no answers. `features`: the columns behind the inputs, where it came as a table; None for
    plain numbers. `target_columns`, `weight`: the names of the columns to learn, and of the one of weights, where they
    have names.

    `smallest`, `largest`: over all targets; `distributions`: each row of targets is ≥ 0 and sums to 1;
    `magnitude`: the largest absolute value of all inputs and targets; `weighted`: each row has a weight.
    """

    rows: int
    inputs: int
    targets: int
    classes: tuple[str, ...] | None
    bytes: int
    smallest: float
    largest: float
    distributions: bool
    magnitude: float
    weighted: bool = False
    features: tuple[Column, ...] | None = None
    target_columns: tuple[str, ...] = ()
    weight: str | None = None

    @property
    def unlabeled(self) -> bool:
        return self.targets == 0


@dataclass(frozen=True)
class Share:
    """A part to be: `share` of the rows, stored in the empty folder `folder`."""

    share: float
    folder: Path
