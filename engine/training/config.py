"""What to train."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np

from nabla.engine.errors import InvalidInput
from nabla.engine.literals import LARGEST_SEED, DeviceChoice, OptimizerName, Precision, ScheduleName
from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.jit import code_of
from nabla.engine.nn.optimizers import OPTIMIZERS
from nabla.engine.nn.schedules import SCHEDULES
from nabla.engine.nn.training_step import Optimization

INFINITE = float("inf")
# Settings of optimizers and schedules that count something.
_AT_LEAST_ONE = ("every", "patience", "maxcor")


def check_known(field: str, name: str, table: Iterable[str]) -> None:
    """The name of an optimizer or a schedule."""
    if name not in table:
        raise InvalidInput(field, f"Unknown: {name!r}. Accepted: {', '.join(table)}.")


def check_settings(field: str, settings: dict[str, float], known: dict[str, float], owner: str) -> None:
    """Those of an optimizer or a schedule, which is the `owner`."""
    for name, value in settings.items():
        if name not in known:
            accepted = ", ".join(known) or "none"
            raise InvalidInput(f"{field}.{name}", f"{owner} has no such setting. Accepted: {accepted}.")
        least = 1 if name in _AT_LEAST_ONE else 0
        if not least <= value < INFINITE:
            raise InvalidInput(f"{field}.{name}", f"A finite number of at least {least} is needed.")


def check_above_zero(field: str, value: float | None) -> None:
    """A learning rate or a limit; None where there is none."""
    if value is not None and not 0 < value < INFINITE:
        raise InvalidInput(field, "A finite number above 0 is needed.")


def check_penalty(field: str, value: float | None) -> None:
    """λ of l1 or l2; None where it stays as it was."""
    if value is not None and not 0 <= value < INFINITE:
        raise InvalidInput(field, "A penalty is a finite number of at least 0.")


@dataclass(frozen=True)
class Stage:
    """So many epochs with other settings; what is None stays as it was in the stage before."""

    epochs: int
    learning_rate: float | None = None
    l2: float | None = None
    momentum: float | None = None


@dataclass(frozen=True)
class NewRate:
    """The learning rate from an epoch on, counted from 0."""

    epoch: int
    learning_rate: float


class Moving(NamedTuple):
    """What stages change; `momentum` is None where it is the optimizer's."""

    learning_rate: float
    l2: float
    momentum: float | None


def check_stages(stages: Sequence[Stage], epochs: int, optimizer: OptimizerName) -> None:
    """Raises InvalidInput, naming the place in the list."""
    for place, stage in enumerate(stages):
        field = f"schedule.{place}.1"
        if stage.epochs < 1:
            raise InvalidInput(f"schedule.{place}.0", "A stage has at least 1 epoch.")
        check_above_zero(f"{field}.learning_rate", stage.learning_rate)
        check_penalty(f"{field}.l2", stage.l2)
        if stage.momentum is not None and "momentum" not in OPTIMIZERS[optimizer].settings:
            raise InvalidInput(f"{field}.momentum", f"{optimizer} has no momentum; momentum and nesterov have.")
        if stage.momentum is not None and not 0 <= stage.momentum < 1:
            raise InvalidInput(f"{field}.momentum", "A momentum is at least 0 and below 1.")
    listed = sum(stage.epochs for stage in stages)
    if stages and listed != epochs:
        raise InvalidInput("epochs", f"The stages have {listed} epochs together, the job {epochs}.")


def moved(at_start: Moving, stages: Sequence[Stage], new_rates: Sequence[NewRate], epoch: int) -> Moving:
    """What holds in an epoch, counted from 0. A new rate holds until a stage begins that has one of its own."""
    now = at_start
    first = since = 0
    for stage in stages:
        if first <= epoch:
            since = since if stage.learning_rate is None else first
            now = Moving(
                now.learning_rate if stage.learning_rate is None else stage.learning_rate,
                now.l2 if stage.l2 is None else stage.l2,
                now.momentum if stage.momentum is None else stage.momentum,
            )
        first += stage.epochs
    for rate in new_rates:
        if since <= rate.epoch <= epoch:
            now = now._replace(learning_rate=rate.learning_rate)
    return now


@dataclass(frozen=True)
class EarlyStopping:
    """End when the cost has not fallen by more than `min_delta` for `patience` epochs. With `restore_best_weights` the
    weights of the best epoch are the result."""

    patience: int = 10
    min_delta: float = 0.0
    restore_best_weights: bool = True


@dataclass(frozen=True)
class TrainingSpec:
    """The settings of a job. Raises InvalidInput, naming the field.

    `optimizer_settings` and `schedule_settings` are those that differ from the defaults. `stages`, where there are any,
    take the place of a schedule. `l1` and `l2` are λ; the cost has λ/n for n training rows. `class_weights`: how much a
    row of each class counts. `validation_fraction` of the rows, drawn by the seed, are kept from training and measured
    after every epoch; `stratified`: of each class its share. `target_cost`, `early_stopping` and the schedule plateau
    look at the validation cost where there is one. `warm_start`: begin with the network's current weights. Without
    `shuffle` the rows of every epoch come in the order of the dataset; with a `shuffle_block` they are shuffled in
    blocks of so many. A `batch_size` of at least the number of rows is
    full-batch gradient descent. `precision`: that of products on a GPU. `new_rates`: changes of the learning rate that
    were made while it trained; a stage that begins later and has a rate of its own takes its place.
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
    new_rates: tuple[NewRate, ...] = ()

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise InvalidInput("epochs", "At least 1 epoch is needed.")
        if self.batch_size < 1:
            raise InvalidInput("batch_size", "A mini-batch has at least 1 row.")
        check_known("optimizer", self.optimizer, OPTIMIZERS)
        check_settings("optimizer", self.optimizer_settings, OPTIMIZERS[self.optimizer].settings, self.optimizer)
        check_known("schedule", self.schedule, SCHEDULES)
        check_settings("schedule", self.schedule_settings, SCHEDULES[self.schedule].settings, self.schedule)
        check_above_zero("learning_rate", self.learning_rate)
        check_above_zero("clip_value", self.clip_value)
        check_above_zero("clip_norm", self.clip_norm)
        check_above_zero("max_norm", self.max_norm)
        check_above_zero("max_seconds", self.max_seconds)
        check_penalty("l1", self.l1)
        check_penalty("l2", self.l2)
        if self.shuffle_block is not None and self.shuffle_block < 1:
            raise InvalidInput("shuffle_block", "A block has at least 1 row.")
        if not 0 <= self.validation_fraction < 1:
            raise InvalidInput("validation.fraction", "A fraction is at least 0 and below 1.")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise InvalidInput("seed", f"A seed is a whole number from 0 to {LARGEST_SEED}.")
        if self.stages and self.schedule != "constant":
            raise InvalidInput("schedule", "Stages take the place of a schedule; give one of them.")
        check_stages(self.stages, self.epochs, self.optimizer)
        self._check_stopping()
        self._check_class_weights()
        self._check_full_batch_optimizer()

    def _check_stopping(self) -> None:
        stopping = self.early_stopping
        if stopping is not None and stopping.patience < 1:
            raise InvalidInput("early_stopping.patience", "At least 1 epoch of patience is needed.")
        if stopping is not None and not 0 <= stopping.min_delta < INFINITE:
            raise InvalidInput("early_stopping.min_delta", "A finite number of at least 0 is needed.")
        if self.target_cost is not None and not abs(self.target_cost) < INFINITE:
            raise InvalidInput("target_cost", "A finite number is needed.")

    def _check_class_weights(self) -> None:
        if isinstance(self.class_weights, dict):
            for label, weight in self.class_weights.items():
                if not 0 <= weight < INFINITE:
                    raise InvalidInput(f"class_weights.{label}", "A weight is a finite number of at least 0.")

    def _check_full_batch_optimizer(self) -> None:
        if self.optimizer != "l-bfgs":
            return
        why = "l-bfgs finds its own steps from the whole training part"
        if self.schedule != "constant" or self.stages:
            raise InvalidInput("schedule", f"{why}; it has no learning rate.")
        for name in ("clip_value", "clip_norm", "max_norm"):
            if getattr(self, name) is not None:
                raise InvalidInput(name, f"{why}; nothing may change its gradients and weights.")

    @property
    def optimizer_in_full(self) -> dict[str, float]:
        """All settings of the optimizer."""
        return {**OPTIMIZERS[self.optimizer].settings, **self.optimizer_settings}

    @property
    def schedule_in_full(self) -> dict[str, float]:
        """All settings of the schedule."""
        return {**SCHEDULES[self.schedule].settings, **self.schedule_settings}

    def with_rate(self, learning_rate: float, epoch: int) -> "TrainingSpec":
        """With another learning rate from an epoch on, counted from 0. Raises InvalidInput."""
        if self.optimizer == "l-bfgs":
            raise InvalidInput("learning_rate", "l-bfgs finds its own steps; it has no learning rate.")
        check_above_zero("learning_rate", learning_rate)
        earlier = tuple(rate for rate in self.new_rates if rate.epoch < epoch)
        return replace(self, new_rates=(*earlier, NewRate(epoch, learning_rate)))

    def in_epoch(self, epoch: int) -> Moving:
        """What holds in an epoch, counted from 0, before the schedule has its say."""
        return moved(Moving(self.learning_rate, self.l2, None), self.stages, self.new_rates, epoch)

    def optimization(self, rows: int) -> Optimization:
        """The settings that a step looks at, for so many training rows; without its arrays."""
        none = np.zeros(0)
        return Optimization(
            rule=code_of(self.optimizer, OPTIMIZERS),
            settings=none,
            moments=none.reshape(0, 0),
            memory=none,
            rates=none,
            l1=self.l1 / rows,
            l2=self.l2 / rows,
            clip_value=INFINITE if self.clip_value is None else self.clip_value,
            clip_norm=INFINITE if self.clip_norm is None else self.clip_norm,
            max_norm=INFINITE if self.max_norm is None else self.max_norm,
            seed=self.seed,
        )

    def check_fits(self, architecture: Architecture, rows: int, classes: tuple[str, ...] | None) -> None:
        """Raises InvalidInput if this cannot be done with the network, or with so many rows of these classes."""
        training = rows - self.validation_rows(rows)
        if self.optimizer == "l-bfgs" and (architecture.drops or architecture.normalized):
            raise InvalidInput(
                "optimizer",
                "l-bfgs needs a cost that is the same at every look; dropout and batch normalization are not for it.",
            )
        if architecture.normalized and min(self.batch_size, training) < 2:
            raise InvalidInput("batch_size", "Batch normalization needs mini-batches of at least 2 rows.")
        if self.class_weights is None:
            return
        if classes is None:
            raise InvalidInput("class_weights", "The dataset has targets and no classes to weigh.")
        if isinstance(self.class_weights, dict):
            for label in self.class_weights:
                if label not in classes:
                    raise InvalidInput(f"class_weights.{label}", f"The dataset has the classes {', '.join(classes)}.")
            if not any(self.class_weights.get(label, 1.0) for label in classes):
                raise InvalidInput("class_weights", "At least one class must count.")

    def validation_rows(self, rows: int) -> int:
        """How many of `rows` rows are kept for validation; at least one where a fraction is given."""
        if not self.validation_fraction:
            return 0
        kept = max(1, round(self.validation_fraction * rows))
        if kept >= rows:
            raise InvalidInput(
                "validation.fraction", f"Of {rows} rows, {kept} would go to validation; none would be left to train on."
            )
        return kept

    def rows_at_once(self, training_rows: int) -> int:
        """How many rows a step takes."""
        return training_rows if self.optimizer == "l-bfgs" else min(self.batch_size, training_rows)
