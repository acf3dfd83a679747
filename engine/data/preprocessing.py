"""How raw inputs and targets become what a network is trained on, and outputs become answers: the same way in training,
predictions and evaluations.

A network says how. Each job finds out the rest on the rows that it trains on, and nowhere else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from nabla.engine.data.features import MISSING, UNSEEN, Array, Features, Raw, Rows
from nabla.engine.data.imputation import fills_of
from nabla.engine.data.scaling import Reals, Scaling, Vector, fit_scaling
from nabla.engine.data.schema import Column, difference
from nabla.engine.errors import InvalidInput
from nabla.engine.literals import ScalingWord

Field = Callable[[int, int], str]
"""The field of a problem, by the place of the row among those that are prepared and by that of the column."""

# They measure distances. All others look at probabilities or counts, which scaled targets are not.
_COSTS_OF_SCALED_TARGETS = ("quadratic", "mean_absolute", "huber")


@dataclass(frozen=True)
class PreprocessingConfig:
    """What a network is created with. `handle_unknown`: whether a category that is none of those learned is refused,
    or has no input of its own."""

    inputs: ScalingWord = "none"
    targets: ScalingWord = "none"
    handle_unknown: Literal["error", "ignore"] = "error"

    @property
    def scales(self) -> bool:
        """Whether there is something to find out, whatever the data."""
        return (self.inputs, self.targets) != ("none", "none")

    def check_cost(self, cost: str) -> None:
        """Raises InvalidInput if targets of a network with this cost are not to be scaled."""
        if self.targets != "none" and cost not in _COSTS_OF_SCALED_TARGETS:
            accepted = ", ".join(_COSTS_OF_SCALED_TARGETS)
            raise InvalidInput(
                "preprocessing.targets",
                f"The cost {cost} looks at probabilities or counts, which scaled targets are not. Accepted: none, or "
                f"one of the costs {accepted}.",
            )

    def check_classes(self, classes: tuple[str, ...] | None, field: str = "preprocessing.targets") -> None:
        """Raises InvalidInput if targets are to be scaled and there are none."""
        if self.targets != "none" and classes is not None:
            raise InvalidInput(
                field,
                f"The network scales its targets ({self.targets}), and the dataset has classes. It needs a dataset "
                "with numbers as targets, or the network to be created with none.",
            )


@dataclass(frozen=True, eq=False)
class Preprocessor:
    """What was found in the rows that a network was trained on.

    `columns`: those of a table; None for plain numbers. `fills`: what a row without a value gets, column by column: a
    number, or the code of a category; NaN where such a row is refused. `inputs`, `targets`: None where nothing is
    scaled.
    """

    rule: PreprocessingConfig
    columns: tuple[Column, ...] | None
    fills: Vector
    inputs: Scaling | None
    targets: Scaling | None

    @classmethod
    def plain(cls, rule: PreprocessingConfig | None = None) -> "Preprocessor":
        """Plain numbers, as they are."""
        return cls(rule or PreprocessingConfig(), None, np.zeros(0), None, None)

    @property
    def keeps_inputs(self) -> bool:
        """Whether inputs are left as they are."""
        return self.columns is None and self.inputs is None

    def prepare(self, raw: Raw, rows: Rows, field: Field) -> Reals:
        """The inputs (rows, inputs) of a network. `rows`: their numbers, from 0; sentences count from 1. Raises
        InvalidInput naming column and row."""
        x = self._encode(raw, rows, field)
        return x if self.inputs is None else self.inputs.apply(x)

    def prepare_targets(self, targets: npt.NDArray[np.floating]) -> Reals:
        y = np.asarray(targets, np.float64)
        return y if self.targets is None else self.targets.apply(y)

    def answers(self, outputs: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Outputs in the units of the targets."""
        return outputs if self.targets is None else self.targets.undo(outputs)

    def _encode(self, raw: Raw, rows: Rows, field: Field) -> Reals:
        if self.columns is None:
            assert not isinstance(raw, tuple)
            return np.asarray(raw, np.float64, order="C")
        assert isinstance(raw, tuple)
        x = np.zeros((len(rows), sum(column.inputs for column in self.columns)))
        at = 0
        for place, (column, values) in enumerate(zip(self.columns, raw, strict=True)):
            filled = self._fill(place, values, rows, field)
            if column.type == "category":
                self._check_seen(place, filled, rows, field)
                known = np.flatnonzero(filled != UNSEEN)
                x[known, at + filled[known]] = 1
            else:
                x[:, at] = filled
            at += column.inputs
        return x

    def _fill(self, place: int, values: Array, rows: Rows, field: Field) -> Array:
        assert self.columns is not None
        fill, name = self.fills[place], self.columns[place].name
        missing = values == MISSING if self.columns[place].type == "category" else np.isnan(values)
        if not missing.any():
            return values
        if np.isnan(fill):
            row = int(missing.argmax())
            raise InvalidInput(
                field(row, place),
                f"Row {rows[row] + 1} has no value in the column {name!r}, and nothing says what to fill it with.",
            )
        return np.where(missing, fill, values).astype(values.dtype)

    def _check_seen(self, place: int, codes: Array, rows: Rows, field: Field) -> None:
        unseen = codes == UNSEEN
        if self.rule.handle_unknown == "error" and unseen.any():
            assert self.columns is not None
            column, row = self.columns[place], int(unseen.argmax())
            raise InvalidInput(
                field(row, place),
                f"Row {rows[row] + 1} has in the column {column.name!r} a value that is none of the categories "
                f"learned: {_listed(column.categories)}.",
            )

    def check_columns(self, columns: tuple[Column, ...] | None) -> None:
        """Raises InvalidInput (field `dataset_id`), naming what differs, if a dataset of these columns cannot be
        prepared."""
        differs = difference(self.columns, columns)
        if differs is not None:
            raise InvalidInput(
                "dataset_id", f"The dataset is not of the columns that the network was trained on: {differs}."
            )


def fit(rule: PreprocessingConfig, features: Features, targets: Array | None, rows: Rows) -> Preprocessor:
    """Found in these rows, which ascend; `targets`: None where there are classes. Raises InvalidInput where a value is
    missing and nothing says what to fill it with, or numbers reach too far."""
    fills = np.zeros(0) if features.columns is None else fills_of(features, rows)
    found = Preprocessor(rule, features.columns, fills, None, None)
    inputs = None if rule.inputs == "none" else _fit_inputs(found, features, rows)
    answers = None
    if targets is not None and rule.targets != "none":
        width = targets.shape[1]
        answers = fit_scaling(rule.targets, lambda block: np.asarray(targets[block], np.float64), rows, width)
        _check_finite(answers, "targets", [str(column) for column in range(width)])
    return Preprocessor(rule, features.columns, fills, inputs, answers)


def _fit_inputs(found: Preprocessor, features: Features, rows: Rows) -> Scaling:
    """Numbers and dates of a table, one column after the other; plain numbers all at once. Missing values count as what
    they are filled with."""
    word = found.rule.inputs
    if features.columns is None:
        scaling = fit_scaling(
            word, lambda block: found.prepare(features.read(block), block, _no_field), rows, features.inputs
        )
        _check_finite(scaling, "inputs", [str(column) for column in range(features.inputs)])
        return scaling
    offsets, scales = np.zeros(features.inputs), np.ones(features.inputs)
    at = 0
    for place, column in enumerate(features.columns):
        if column.type in ("number", "date"):
            single = features.only(place)
            alone = Preprocessor(found.rule, (column,), found.fills[place : place + 1], None, None)

            def read(block: Rows, single: Features = single, alone: Preprocessor = alone) -> Reals:
                return alone.prepare(single.read(block), block, _no_field)

            scaling = fit_scaling(word, read, rows, 1)
            _check_finite(scaling, "inputs", [column.name])
            offsets[at], scales[at] = scaling.offsets[0], scaling.scales[0]
        at += column.inputs
    return Scaling(offsets, scales)


def _no_field(row: int, column: int) -> str:
    return "dataset_id"


def _check_finite(scaling: Scaling, what: str, names: list[str]) -> None:
    wrong = np.flatnonzero(~(np.isfinite(scaling.offsets) & np.isfinite(scaling.scales)))
    if wrong.size:
        raise InvalidInput(
            "dataset_id",
            f"The column {names[int(wrong[0])]} of the {what} reaches too far to be scaled; divide it by something "
            "before.",
        )


def _listed(categories: tuple[str, ...]) -> str:
    shown = ", ".join(categories[:20])
    return shown if len(categories) <= 20 else f"{shown}, … ({len(categories)} in all)"
