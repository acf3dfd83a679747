"""Where a run stands. With the arrays of its trainer it is all that is needed to go on."""

from dataclasses import dataclass, replace
from typing import Self

from nabla.engine.literals import StopReason
from nabla.engine.training.config import TrainingSpec


@dataclass(frozen=True)
class Patience:
    """The lowest cost so far, and how many epochs have passed since without a lower one."""

    best: float | None = None
    waited: int = 0

    def after(self, cost: float, min_delta: float) -> "Patience":
        if self.best is None or cost < self.best - min_delta:
            return Patience(cost)
        return replace(self, waited=self.waited + 1)


@dataclass(frozen=True)
class Position:
    """`epoch` epochs are complete, after `total_seconds`. Of the next, `row` training rows are done, with these sums
    over them and after so many seconds, of which `training_seconds` went to training.

    `stopping` and `plateau`: the patience of early stopping and of the schedule; `reductions` made by the latter;
    `best_epoch`: the one with the lowest cost. `stopped`: why there is nothing left to do.
    """

    epoch: int = 0
    row: int = 0
    sums: tuple[float, ...] = ()
    seconds: float = 0.0
    training_seconds: float = 0.0
    total_seconds: float = 0.0
    stopping: Patience = Patience()
    plateau: Patience = Patience()
    reductions: int = 0
    best_epoch: int | None = None
    stopped: StopReason | None = None

    def out_of_time(self, spec: TrainingSpec) -> bool:
        return spec.max_seconds is not None and self.total_seconds + self.seconds >= spec.max_seconds

    def after_epoch(self, watched: float, spec: TrainingSpec) -> "Position":
        """The position after an epoch whose cost, or validation cost where there is one, was `watched`."""
        stopping, plateau, reductions, best_epoch = self.stopping, self.plateau, self.reductions, self.best_epoch
        if spec.early_stopping is not None:
            stopping = stopping.after(watched, spec.early_stopping.min_delta)
            best_epoch = best_epoch if stopping.waited else self.epoch + 1
        if spec.schedule == "plateau":
            plateau = plateau.after(watched, spec.schedule_in_full["min_delta"])
            if plateau.waited >= spec.schedule_in_full["patience"]:
                plateau, reductions = replace(plateau, waited=0), reductions + 1
        stopped: StopReason | None = None
        if spec.target_cost is not None and watched <= spec.target_cost:
            stopped = "target_cost"
        elif spec.early_stopping is not None and stopping.waited >= spec.early_stopping.patience:
            stopped = "patience"
        elif self.epoch + 1 == spec.epochs:
            stopped = "epochs"
        elif self.out_of_time(spec):
            stopped = "max_seconds"
        return Position(
            epoch=self.epoch + 1,
            total_seconds=self.total_seconds + self.seconds,
            stopping=stopping,
            plateau=plateau,
            reductions=reductions,
            best_epoch=best_epoch,
            stopped=stopped,
        )


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
