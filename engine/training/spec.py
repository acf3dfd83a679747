"""What to train, and what an epoch reports."""

from dataclasses import dataclass, field
from typing import Literal

from engine.errors import InvalidInput
from engine.nn.network import LARGEST_SEED
from engine.nn.optimizers import OPTIMIZERS, OptimizerName

DeviceChoice = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class TrainingSpec:
    """The settings of a job. Raises InvalidInput, naming the field.

    `optimizer_settings` are those that differ from the optimizer's defaults. `validation_fraction` of the rows, drawn
    by the seed, are kept from training and measured after every epoch. Without `shuffle` the rows of every epoch come
    in the order of the dataset. A `batch_size` of at least the number of rows is full-batch gradient descent.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: OptimizerName = "sgd"
    optimizer_settings: dict[str, float] = field(default_factory=dict)
    validation_fraction: float = 0.0
    seed: int = 0
    shuffle: bool = True
    device: DeviceChoice = "auto"

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise InvalidInput("epochs", "At least 1 epoch is needed.")
        if self.batch_size < 1:
            raise InvalidInput("batch_size", "A mini-batch has at least 1 row.")
        if not 0 < self.learning_rate < float("inf"):
            raise InvalidInput("learning_rate", "A learning rate is a finite number above 0.")
        if self.optimizer not in OPTIMIZERS:
            raise InvalidInput("optimizer", f"Unknown: {self.optimizer!r}. Accepted: {', '.join(OPTIMIZERS)}.")
        known = OPTIMIZERS[self.optimizer].settings
        for name, value in self.optimizer_settings.items():
            if name not in known:
                accepted = ", ".join(known) or "none"
                raise InvalidInput(f"optimizer.{name}", f"{self.optimizer} has no such setting. Accepted: {accepted}.")
            if not 0 <= value < float("inf"):
                raise InvalidInput(f"optimizer.{name}", "A setting of an optimizer is a finite number of at least 0.")
        if not 0 <= self.validation_fraction < 1:
            raise InvalidInput("validation.fraction", "A fraction is at least 0 and below 1.")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise InvalidInput("seed", f"A seed is a whole number from 0 to {LARGEST_SEED}.")

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


@dataclass(frozen=True)
class Epoch:
    """One line of a history. `cost` and `accuracy` are means over the epoch, as each step saw them before its update;
    the accuracies are None where the dataset has no classes."""

    epoch: int
    cost: float
    accuracy: float | None
    validation_cost: float | None
    validation_accuracy: float | None
    learning_rate: float
    seconds: float
