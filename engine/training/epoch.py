"""What an epoch reports."""

from dataclasses import dataclass


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
