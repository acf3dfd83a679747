"""Whether what a file says of preparation and classes goes with its network."""

from collections.abc import Sequence

import numpy as np

from engine.data.columns import Column
from engine.data.preparation import Preparation, PreparationRule
from engine.data.scaling import Scaling
from engine.errors import InvalidInput
from engine.exchange.tensors import refused, shortened
from engine.names import ScalingWord
from engine.nn.architecture import Architecture
from engine.training.checkpoint import Classes

# As tables may have.
_MOST_COLUMNS = 100_000
# Characters of a name.
_LONGEST = 1_000


def check_classes(classes: Classes, architecture: Architecture, rule: PreparationRule) -> None:
    """Raises InvalidInput (field `classes`) unless there is one for each output, or two for a single one."""
    if classes is None:
        return
    wanted = max(2, architecture.outputs)
    if len(classes) != wanted:
        raise InvalidInput(
            "classes",
            f"There are {len(classes)} classes; a network with {architecture.outputs} outputs tells {wanted} apart.",
        )
    again = _twice(classes)
    if again is not None:
        raise InvalidInput("classes", f"The class {shortened(again)!r} is there twice.")
    if any(len(name) > _LONGEST for name in classes):
        raise InvalidInput("classes", f"The name of a class has at most {_LONGEST} characters.")
    rule.check_classes(classes)


def check_preparation(preparation: Preparation, architecture: Architecture, rule: PreparationRule) -> None:
    """Raises InvalidInput."""
    if preparation.rule != rule:
        raise refused("What the file says under preparation and under rule differs; both are how data are prepared.")
    if preparation.columns is not None:
        _check_columns(preparation.columns, architecture)
        for fill, column in zip(preparation.fills, preparation.columns, strict=True):
            _check_fill(float(fill), column)
    _check_scaling(rule.inputs, preparation.inputs, architecture.inputs, "inputs")
    _check_scaling(rule.targets, preparation.targets, architecture.outputs, "targets")


def _check_columns(columns: Sequence[Column], architecture: Architecture) -> None:
    inputs = sum(column.inputs for column in columns)
    if inputs != architecture.inputs:
        raise refused(f"The columns take {inputs} inputs; the network has {architecture.inputs}.")
    if len(columns) > _MOST_COLUMNS:
        raise refused(f"The network has {len(columns)} columns; at most {_MOST_COLUMNS} are accepted.")
    again = _twice([column.name for column in columns])
    if again is not None:
        raise refused(f"There are two columns called {shortened(again)!r}; each has a name of its own.")
    for column in columns:
        if not column.name or max(map(len, (column.name, *column.categories))) > _LONGEST:
            raise refused(f"Columns have names, and these and those of categories at most {_LONGEST} characters.")
        if bool(column.categories) != (column.type == "category") or _twice(column.categories) is not None:
            raise refused(
                f"The column {shortened(column.name)!r} is a {column.type}; a category has the names of its "
                "categories, each once, and nothing else has any."
            )


def _check_fill(fill: float, column: Column) -> None:
    """A row without a value gets a finite number, or the code of a category."""
    codes = range(len(column.categories))
    if not np.isnan(fill) and not (fill in codes if column.type == "category" else np.isfinite(fill)):
        raise refused(f"Rows without a value in {shortened(column.name)!r} cannot be filled with {fill:g}.")


def _check_scaling(word: ScalingWord, scaling: Scaling | None, width: int, what: str) -> None:
    if (scaling is None) != (word == "none"):
        raise refused(f"The rule for {what} is {word}; what they are scaled by has to be there, and only then.")
    if scaling is None:
        return
    if len(scaling.offsets) != width or len(scaling.scales) != width:
        raise refused(f"There are {width} {what}; as many offsets and scales are expected.")
    with np.errstate(divide="ignore", over="ignore"):
        if not np.isfinite(1 / scaling.scales).all():
            raise refused(f"A scale of the {what} cannot be divided by; scales are finite and not 0.")


def _twice(names: Sequence[str]) -> str | None:
    """A name that is there more than once."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
