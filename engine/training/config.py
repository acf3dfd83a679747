"""Settings of a training job: their validation, and the settings in effect in each epoch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np

from nabla.engine.data.schema import Classes, class_names, format_category, format_names
from nabla.engine.errors import InvalidInput
from nabla.engine.literals import MAX_SEED, DeviceChoice, OptimizerName, Precision, ScheduleName
from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.optimizers import OPTIMIZERS
from nabla.engine.nn.schedules import SCHEDULES
from nabla.engine.nn.training_step import Optimization

_INFINITY = float("inf")
# Settings of optimizers and schedules that are counts.
_COUNTS = ("every", "patience", "maxcor")


@dataclass(frozen=True)
class Stage:
    """A number of epochs with other settings; None keeps the value of the stage before."""

    epochs: int
    learning_rate: float | None = None
    l2: float | None = None
    momentum: float | None = None


@dataclass(frozen=True)
class LearningRateOverride:
    """A change of the learning rate of a running job, in effect from `epoch` on, counted from 0."""

    epoch: int
    learning_rate: float


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when the cost has not fallen by more than `min_delta` for `patience` epochs.

    With `restore_best_weights` the result is the weights of the epoch with the lowest cost.
    """

    patience: int = 10
    min_delta: float = 0.0
    restore_best_weights: bool = True


class EpochSettings(NamedTuple):
    """The settings that stages and overrides change; `momentum` is None for that of the optimizer."""

    learning_rate: float
    l2: float
    momentum: float | None


@dataclass(frozen=True)
class TrainingSpec:
    """Settings of a training job.

    `early_stopping`, `target_cost` and the schedule plateau watch the validation cost if there is one, otherwise the
    training cost.

    Attributes:
        batch_size: Rows of a mini-batch; at least the number of training rows is full-batch gradient descent.
        optimizer_settings: Settings of the optimizer that differ from its defaults.
        schedule_settings: Settings of the schedule that differ from its defaults.
        stages: Replace the schedule; together they have `epochs` epochs.
        l1: λ of the L1 penalty; the cost has λ/n for n training rows.
        l2: λ of the L2 penalty, likewise.
        clip_value: Limit on the magnitude of each component of the gradient.
        clip_norm: Limit on the norm of the gradient.
        max_norm: Limit on the norm of the weights into each unit.
        class_weights: Weight of the rows of each class; "balanced" gives all classes the same total weight.
        validation_fraction: Fraction of the rows, drawn by the seed, that are held out of training and evaluated after
            every epoch.
        stratified: Draw the same fraction of each class.
        target_cost: Stop at this cost or below.
        max_seconds: Stop after this time.
        warm_start: Start from the current weights of the network.
        shuffle: Shuffle the training rows in each epoch; otherwise they keep the order of the dataset.
        shuffle_block: Rows of a block for datasets that exceed memory, which are shuffled in blocks; None shuffles all
            rows at once.
        precision: Precision of matrix products on a GPU.
        new_rates: Overrides of the learning rate while the job was running. A later stage with a learning rate of its
            own ends an override.

    Raises:
        InvalidInput: A setting is not accepted; the field names it.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: OptimizerName = "sgd"
    optimizer_settings: dict[str, float] = field(default_factory=dict)
    schedule: ScheduleName = "constant"
    schedule_settings: dict[str, float] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    l1: float = 0.0
    l2: float = 0.0
    clip_value: float | None = None
    clip_norm: float | None = None
    max_norm: float | None = None
    class_weights: Literal["balanced"] | dict[str, float] | None = None
    validation_fraction: float = 0.0
    stratified: bool = True
    early_stopping: EarlyStopping | None = None
    target_cost: float | None = None
    max_seconds: float | None = None
    warm_start: bool = False
    seed: int = 0
    shuffle: bool = True
    shuffle_block: int | None = None
    device: DeviceChoice = "auto"
    precision: Precision = "full"
    new_rates: tuple[LearningRateOverride, ...] = ()

    def __post_init__(self) -> None:
        """Validate each setting, and settings that exclude each other."""
        if self.epochs < 1:
            raise InvalidInput("epochs", "At least 1 epoch is needed.")
        if self.batch_size < 1:
            raise InvalidInput("batch_size", "A mini-batch has at least 1 row.")
        _check_known("optimizer", self.optimizer, OPTIMIZERS)
        _check_settings("optimizer", self.optimizer_settings, OPTIMIZERS[self.optimizer].settings, self.optimizer)
        _check_known("schedule", self.schedule, SCHEDULES)
        _check_settings("schedule", self.schedule_settings, SCHEDULES[self.schedule].settings, self.schedule)
        _check_positive("learning_rate", self.learning_rate)
        _check_positive("clip_value", self.clip_value)
        _check_positive("clip_norm", self.clip_norm)
        _check_positive("max_norm", self.max_norm)
        _check_positive("max_seconds", self.max_seconds)
        _check_penalty("l1", self.l1)
        _check_penalty("l2", self.l2)
        if self.shuffle_block is not None and self.shuffle_block < 1:
            raise InvalidInput("shuffle_block", "A block has at least 1 row.")
        if not 0 <= self.validation_fraction < 1:
            raise InvalidInput("validation.fraction", "A fraction is at least 0 and below 1.")
        if not 0 <= self.seed <= MAX_SEED:
            raise InvalidInput("seed", f"A seed is a whole number from 0 to {MAX_SEED}.")
        if self.stages and self.schedule != "constant":
            raise InvalidInput("schedule", "Stages replace a schedule; give one of them.")
        _check_stages(self.stages, self.epochs, self.optimizer)
        self._check_stopping()
        self._check_class_weights()
        self._check_full_batch_optimizer()

    def _check_stopping(self) -> None:
        stopping = self.early_stopping
        if stopping is not None and stopping.patience < 1:
            raise InvalidInput("early_stopping.patience", "At least 1 epoch of patience is needed.")
        if stopping is not None and not 0 <= stopping.min_delta < _INFINITY:
            raise InvalidInput("early_stopping.min_delta", "A finite number of at least 0 is needed.")
        if self.target_cost is not None and not abs(self.target_cost) < _INFINITY:
            raise InvalidInput("target_cost", "A finite number is needed.")

    def _check_class_weights(self) -> None:
        if isinstance(self.class_weights, dict):
            for label, weight in self.class_weights.items():
                if not 0 <= weight < _INFINITY:
                    raise InvalidInput(f"class_weights.{label}", "A weight is a finite number of at least 0.")

    def _check_full_batch_optimizer(self) -> None:
        if self.optimizer != "l-bfgs":
            return
        reason = "l-bfgs chooses its steps itself, from all training rows"
        if self.schedule != "constant" or self.stages:
            raise InvalidInput("schedule", f"{reason}; it has no learning rate.")
        for name in ("clip_value", "clip_norm", "max_norm"):
            if getattr(self, name) is not None:
                raise InvalidInput(name, f"{reason}; gradients and weights must not be changed in between.")

    @property
    def resolved_optimizer(self) -> dict[str, float]:
        """All settings of the optimizer, with its defaults."""
        return {**OPTIMIZERS[self.optimizer].settings, **self.optimizer_settings}

    @property
    def resolved_schedule(self) -> dict[str, float]:
        """All settings of the schedule, with its defaults."""
        return {**SCHEDULES[self.schedule].settings, **self.schedule_settings}

    def with_learning_rate(self, learning_rate: float, epoch: int) -> "TrainingSpec":
        """Return the settings with another learning rate from `epoch` on, counted from 0.

        Raises:
            InvalidInput: The learning rate is not accepted, or the optimizer has none.
        """
        if self.optimizer == "l-bfgs":
            raise InvalidInput("learning_rate", "l-bfgs chooses its steps itself; it has no learning rate.")
        _check_positive("learning_rate", learning_rate)
        earlier = tuple(override for override in self.new_rates if override.epoch < epoch)
        return replace(self, new_rates=(*earlier, LearningRateOverride(epoch, learning_rate)))

    def settings_for_epoch(self, epoch: int) -> EpochSettings:
        """Return the settings of an epoch, counted from 0; the schedule then varies the learning rate."""
        return _resolve_stage(EpochSettings(self.learning_rate, self.l2, None), self.stages, self.new_rates, epoch)

    def step_settings(self, training_rows: int) -> Optimization:
        """Return the settings of a training step; its arrays are empty."""
        empty = np.zeros(0)
        return Optimization(
            rule=self.optimizer,
            settings=empty,
            moments=empty.reshape(0, 0),
            optimizer_state=empty,
            rates=empty,
            l1=self.l1 / training_rows,
            l2=self.l2 / training_rows,
            clip_value=_INFINITY if self.clip_value is None else self.clip_value,
            clip_norm=_INFINITY if self.clip_norm is None else self.clip_norm,
            max_norm=_INFINITY if self.max_norm is None else self.max_norm,
            seed=self.seed,
        )

    def check_fits(self, architecture: Architecture, rows: int, classes: Classes | None) -> None:
        """Check the settings against a network and a dataset.

        Args:
            architecture: Architecture of the network.
            rows: Number of rows of the dataset, including those for validation.
            classes: Classes of the dataset; None for numeric targets.

        Raises:
            InvalidInput: The network or the dataset does not allow a setting; the field names it.
        """
        training_rows = rows - self.validation_rows(rows)
        if self.optimizer == "l-bfgs" and (architecture.has_dropout or architecture.batch_norm_units):
            raise InvalidInput(
                "optimizer",
                "l-bfgs needs a deterministic cost; it cannot be used with dropout or batch normalization.",
            )
        if architecture.batch_norm_units and min(self.batch_size, training_rows) < 2:
            raise InvalidInput("batch_size", "Batch normalization needs mini-batches of at least 2 rows.")
        if self.class_weights is None:
            return
        if classes is None:
            raise InvalidInput("class_weights", "The dataset has targets and no classes to weigh.")
        if isinstance(self.class_weights, dict):
            names = class_names(classes)
            for label in self.class_weights:
                if format_category(label) not in names:
                    raise InvalidInput(f"class_weights.{label}", f"The dataset has the classes {format_names(names)}.")
            if not any(self.weights_by_class(classes)):
                raise InvalidInput("class_weights", "At least one class must have a weight above 0.")

    def weights_by_class(self, classes: Classes) -> list[float]:
        """Return the weight of each class, by its name; 1 for classes and settings without one."""
        weights = self.class_weights if isinstance(self.class_weights, dict) else {}
        by_name = {format_category(label): weight for label, weight in weights.items()}
        return [by_name.get(name, 1.0) for name in class_names(classes)]

    def validation_rows(self, rows: int) -> int:
        """Return how many of `rows` rows are held out for validation; at least 1 for a fraction above 0.

        Raises:
            InvalidInput: No row would be left to train on.
        """
        if not self.validation_fraction:
            return 0
        held_out = max(1, round(self.validation_fraction * rows))
        if held_out >= rows:
            raise InvalidInput(
                "validation.fraction",
                f"Of {rows} rows, {held_out} would go to validation; none would be left to train on.",
            )
        return held_out

    def effective_batch_size(self, training_rows: int) -> int:
        """Return the number of rows in a training step."""
        return training_rows if self.optimizer == "l-bfgs" else min(self.batch_size, training_rows)


def _resolve_stage(
    initial: EpochSettings, stages: Sequence[Stage], overrides: Sequence[LearningRateOverride], epoch: int
) -> EpochSettings:
    """Return the settings of an epoch, counted from 0.

    An override is in effect until a stage with a learning rate of its own begins.
    """
    settings = initial
    first_epoch = rate_since = 0
    for stage in stages:
        if first_epoch <= epoch:
            rate_since = rate_since if stage.learning_rate is None else first_epoch
            settings = EpochSettings(
                settings.learning_rate if stage.learning_rate is None else stage.learning_rate,
                settings.l2 if stage.l2 is None else stage.l2,
                settings.momentum if stage.momentum is None else stage.momentum,
            )
        first_epoch += stage.epochs
    for override in overrides:
        if rate_since <= override.epoch <= epoch:
            settings = settings._replace(learning_rate=override.learning_rate)
    return settings


def _check_known(field: str, name: str, table: Iterable[str]) -> None:
    if name not in table:
        raise InvalidInput(field, f"Unknown: {name!r}. Accepted: {', '.join(table)}.")


def _check_settings(field: str, settings: dict[str, float], defaults: dict[str, float], owner: str) -> None:
    """Check settings of the optimizer or schedule called `owner`."""
    for name, value in settings.items():
        if name not in defaults:
            accepted = ", ".join(defaults) or "none"
            raise InvalidInput(f"{field}.{name}", f"{owner} has no such setting. Accepted: {accepted}.")
        minimum = 1 if name in _COUNTS else 0
        if not minimum <= value < _INFINITY:
            raise InvalidInput(f"{field}.{name}", f"A finite number of at least {minimum} is needed.")


def _check_positive(field: str, value: float | None) -> None:
    if value is not None and not 0 < value < _INFINITY:
        raise InvalidInput(field, "A finite number above 0 is needed.")


def _check_penalty(field: str, value: float | None) -> None:
    if value is not None and not 0 <= value < _INFINITY:
        raise InvalidInput(field, "A penalty is a finite number of at least 0.")


def _check_stages(stages: Sequence[Stage], epochs: int, optimizer: OptimizerName) -> None:
    for index, stage in enumerate(stages):
        if stage.epochs < 1:
            raise InvalidInput(f"schedule.{index}.0", "A stage has at least 1 epoch.")
        settings_field = f"schedule.{index}.1"
        _check_positive(f"{settings_field}.learning_rate", stage.learning_rate)
        _check_penalty(f"{settings_field}.l2", stage.l2)
        if stage.momentum is not None and "momentum" not in OPTIMIZERS[optimizer].settings:
            raise InvalidInput(f"{settings_field}.momentum", f"{optimizer} has no momentum; momentum and nesterov do.")
        if stage.momentum is not None and not 0 <= stage.momentum < 1:
            raise InvalidInput(f"{settings_field}.momentum", "A momentum is at least 0 and below 1.")
    total = sum(stage.epochs for stage in stages)
    if stages and total != epochs:
        raise InvalidInput("epochs", f"The stages have {total} epochs together, the job {epochs}.")
