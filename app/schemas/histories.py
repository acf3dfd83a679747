"""Histories of jobs in answers."""

from pydantic import BaseModel

from engine.training.epoch import Epoch


class EpochView(BaseModel):
    """One epoch. What does not begin with `validation_` is a mean over it, as each step saw it before its update. Costs
    are weighted and include penalties. `accuracy` is there for classes and labels; `r2`, `mae` and `rmse` for numbers,
    the latter in the units of the targets. The costs are those of the targets as they are prepared for training.
    `learning_rate` and `gradient_norm` (before clipping) are those of the last step."""

    epoch: int
    cost: float
    accuracy: float | None
    r2: float | None
    mae: float | None
    rmse: float | None
    validation_cost: float | None
    validation_accuracy: float | None
    validation_r2: float | None
    validation_mae: float | None
    validation_rmse: float | None
    learning_rate: float | None
    gradient_norm: float | None
    rows_per_second: float | None
    seconds: float

    @classmethod
    def of(cls, epoch: Epoch) -> "EpochView":
        return cls.model_validate(epoch, from_attributes=True)


class HistoryView(BaseModel):
    """Oldest first; what follows is `?after=` the last epoch of this."""

    data: list[EpochView]
    has_more: bool
