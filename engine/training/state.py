"""State of a training run, from which it can be continued bit for bit, and the record of an epoch."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy.typing as npt

from nabla.engine.errors import Damaged
from nabla.engine.literals import StopReason
from nabla.engine.training.config import TrainingSpec

NamedArrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Patience:
    """The lowest cost so far, and the number of epochs since then."""

    best_cost: float | None = None
    epochs_waited: int = 0

    def update(self, cost: float, min_delta: float) -> "Patience":
        """Return the patience after another epoch; only a decrease by more than `min_delta` resets it."""
        if self.best_cost is None or cost < self.best_cost - min_delta:
            return Patience(cost)
        return replace(self, epochs_waited=self.epochs_waited + 1)


@dataclass(frozen=True)
class Position:
    """Progress of a run.

    Attributes:
        epoch: Number of complete epochs.
        row: Number of training rows of the next epoch that are done.
        metric_sums: Sums of the metrics over these rows.
        epoch_seconds: Time spent on the next epoch so far.
        training_seconds: The part of it that was spent on training steps.
        total_seconds: Time spent on the complete epochs.
        early_stopping: Patience of early stopping.
        plateau: Patience of the schedule plateau.
        plateau_reductions: How often that schedule has reduced the learning rate.
        best_epoch: The epoch with the lowest cost, with early stopping.
        stop_reason: Why the run has ended; None if it has not.
        start_cost: With a time limit, the cost of a sample of rows before training.
    """

    epoch: int = 0
    row: int = 0
    metric_sums: tuple[float, ...] = ()
    epoch_seconds: float = 0.0
    training_seconds: float = 0.0
    total_seconds: float = 0.0
    early_stopping: Patience = Patience()
    plateau: Patience = Patience()
    plateau_reductions: int = 0
    best_epoch: int | None = None
    stop_reason: StopReason | None = None
    start_cost: float | None = None

    def is_out_of_time(self, spec: TrainingSpec) -> bool:
        """Return whether the run has reached `max_seconds`."""
        return spec.max_seconds is not None and self.total_seconds + self.epoch_seconds >= spec.max_seconds

    def finish_epoch(self, watched_cost: float, spec: TrainingSpec) -> "Position":
        """Return the position after an epoch.

        Args:
            watched_cost: Validation cost of the epoch if there is one, otherwise its training cost.
            spec: Settings of the run.
        """
        early_stopping, best_epoch = self.early_stopping, self.best_epoch
        if spec.early_stopping is not None:
            early_stopping = early_stopping.update(watched_cost, spec.early_stopping.min_delta)
            best_epoch = best_epoch if early_stopping.epochs_waited else self.epoch + 1
        plateau, plateau_reductions = self.plateau, self.plateau_reductions
        if spec.schedule == "plateau":
            plateau = plateau.update(watched_cost, spec.resolved_schedule["min_delta"])
            if plateau.epochs_waited >= spec.resolved_schedule["patience"]:
                plateau, plateau_reductions = replace(plateau, epochs_waited=0), plateau_reductions + 1
        stop_reason: StopReason | None = None
        if spec.target_cost is not None and watched_cost <= spec.target_cost:
            stop_reason = "target_cost"
        elif spec.early_stopping is not None and early_stopping.epochs_waited >= spec.early_stopping.patience:
            stop_reason = "patience"
        elif self.epoch + 1 == spec.epochs:
            stop_reason = "epochs"
        elif self.is_out_of_time(spec):
            stop_reason = "max_seconds"
        return Position(
            epoch=self.epoch + 1,
            total_seconds=self.total_seconds + self.epoch_seconds,
            early_stopping=early_stopping,
            plateau=plateau,
            plateau_reductions=plateau_reductions,
            best_epoch=best_epoch,
            stop_reason=stop_reason,
            start_cost=self.start_cost,
        )


@dataclass(frozen=True, eq=False)
class TrainerState:
    """Everything that changes while a run trains.

    Attributes:
        position: Progress of the run.
        arrays: Parameters, batch normalization statistics, optimizer state and, with early stopping, the best weights,
            by name.
    """

    position: Position
    arrays: NamedArrays

    def copy_into(self, arrays: NamedArrays) -> None:
        """Overwrite arrays with those of the same names.

        Raises:
            Damaged: This state lacks an array, or has it with another shape or dtype; then nothing is copied.
        """
        for name, target in arrays.items():
            source = self.arrays.get(name)
            if source is None or (source.shape, source.dtype) != (target.shape, target.dtype):
                raise Damaged("The checkpoint does not fit the network.")
        for name, target in arrays.items():
            target[:] = self.arrays[name]


@dataclass(frozen=True)
class SplitMetrics:
    """Means over the rows of a split; None for metrics that do not suit the task.

    The cost is that of the preprocessed targets; `mae` and `rmse` are in the units of the original ones.
    """

    cost: float
    accuracy: float | None = None
    r2: float | None = None
    mae: float | None = None
    rmse: float | None = None


@dataclass(frozen=True)
class Epoch:
    """Record of an epoch in the history of a job.

    The metrics of the training rows are means over the epoch, each step before its update; those of the validation rows
    are of the network after the epoch. Costs include penalties, and are those of the preprocessed targets; `mae` and
    `rmse` are in the units of the original ones. Classes and binary labels have an accuracy, numbers the other metrics.

    Attributes:
        learning_rate: Learning rate of the last step; None for L-BFGS.
        gradient_norm: Norm of the gradient of the last step, before clipping.
        rows_per_second: Training rows per second of training, without validation.
        seconds: Time of training and validation.
    """

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
    def from_metrics(
        cls,
        epoch: int,
        training: SplitMetrics,
        validation: SplitMetrics | None,
        *,
        learning_rate: float | None,
        gradient_norm: float,
        rows_per_second: float,
        seconds: float,
    ) -> Self:
        """Return the record of an epoch from the metrics of both splits."""
        return cls(
            epoch,
            **vars(training),
            **{f"validation_{name}": value for name, value in vars(validation).items()} if validation else {},
            learning_rate=learning_rate,
            gradient_norm=gradient_norm,
            rows_per_second=rows_per_second,
            seconds=seconds,
        )
