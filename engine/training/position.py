"""Where a run stands. With the arrays of its trainer it is all that is needed to go on."""

from dataclasses import dataclass, replace

from engine.training.spec import StopReason


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
