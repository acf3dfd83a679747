"""What changes from one epoch to another other than by a schedule: stages, and learning rates that were set anew."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from engine.errors import InvalidInput
from engine.names import OptimizerName
from engine.nn.optimizers import OPTIMIZERS
from engine.training.accepted import check_above_zero, check_penalty


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
