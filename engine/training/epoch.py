"""What an epoch measures and reports."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Measures:
    """Means over the rows of a part; None where they do not fit the task. `mae` and `rmse` are in the units of the
    targets, `cost` is that of the prepared ones."""

    cost: float
    accuracy: float | None
    r2: float | None
    mae: float | None
    rmse: float | None


@dataclass(frozen=True)
class Epoch:
    """One line of a history. What does not begin with `validation_` is a mean over the epoch, as each step saw it
    before its update. The costs include penalties. `accuracy` is there for classes and labels, the other measures for
    numbers; `mae` and `rmse` are in the units of the targets, also where these are scaled for training, which the costs
    are those of. `learning_rate` and `gradient_norm` (before clipping) are those of the last step; `rows_per_second`
    counts the time of training alone, `seconds` also that of validation."""

    epoch: int
    cost: float
    accuracy: float | None = None
    r2: float | None = None
    mae: float | None = None
    rmse: float | None = None
    validation_cost: float | None = None
    validation_accuracy: float | None = None
    validation_r2: float | None = None
    validation_mae: float | None = None
    validation_rmse: float | None = None
    learning_rate: float | None = None
    gradient_norm: float | None = None
    rows_per_second: float | None = None
    seconds: float = 0.0

    @classmethod
    def of(
        cls,
        epoch: int,
        training: Measures,
        validation: Measures | None,
        *,
        learning_rate: float | None,
        gradient_norm: float,
        rows_per_second: float,
        seconds: float,
    ) -> Self:
        """By what was measured on both parts."""
        return cls(
            epoch,
            **vars(training),
            **{f"validation_{name}": value for name, value in vars(validation).items()} if validation else {},
            learning_rate=learning_rate,
            gradient_norm=gradient_norm,
            rows_per_second=rows_per_second,
            seconds=seconds,
        )
