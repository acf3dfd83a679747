"""What makes the steps of a run: the seam between a trainer and the device that it trains on."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from nabla.engine.nn import array_views
from nabla.engine.nn.array_views import Vector
from nabla.engine.nn.compiled_layout import COST, Plan, Rows
from nabla.engine.nn.network import Network
from nabla.engine.nn.training_step import Examples, Optimization, add_penalty, evaluate_rows, train_steps

Totals = npt.NDArray[np.float64]


class Stepper(Protocol):
    """Holds a run's buffers, and changes the network and the moments and memory of the optimization.

    The arrays of these on the host are up to date after `fetch`, and are read again after `push`.
    """

    def begin_epoch(self, order: Rows, optimization: Optimization) -> None:
        """Train next on the training rows in this order, with these rates and settings; its moments and memory are
        those of the run."""

    def train(self, first: int, last: int) -> None:
        """Make the steps on rows first to last of the epoch's order, on top of the totals."""

    def evaluate(self, first: int, last: int) -> None:
        """Measure rows first to last of those that validate, on top of the totals."""

    def keep_pace(self) -> None:
        """Called after each call of the two above: wait until the one before it is done, where the host runs ahead."""

    def read_totals(self) -> Totals:
        """Sums over all rows since `write_totals`, when all steps have been made."""

    def write_totals(self, totals: npt.ArrayLike) -> None:
        """What the next sums are added to."""

    def cost_so_far(self) -> float | None:
        """The sum of the costs; None where it is not known before the steps are waited for."""

    def gradient(self) -> Vector:
        """That of the last step, when it has been made."""

    def penalty(self) -> float:
        """What l1 and l2 add to the cost of the network as it is."""

    def fetch(self) -> None:
        """Bring the arrays of the host up to date."""

    def push(self) -> None:
        """Go on from the arrays of the host."""


class Setup(NamedTuple):
    """What steps are made of. `training`, `validation`: examples, and which of their rows to use."""

    network: Network
    plan: Plan
    optimization: Optimization
    rows_at_once: int
    training: tuple[Examples, Rows]
    validation: tuple[Examples, Rows] | None


MakeStepper = Callable[[Setup], Stepper]
"""Brings a run to a device."""


class CpuStepper:
    """Compiled steps, in the host's own arrays."""

    def __init__(self, setup: Setup) -> None:
        self._network, self._plan, self._optimization = setup.network, setup.plan, setup.optimization
        architecture = setup.network.architecture
        self._gradient: Vector = array_views.zeros(architecture.parameters, architecture.dtype, 1)
        self._buffers = architecture.buffers(setup.rows_at_once)
        self._training, self._order = setup.training
        self._validation = setup.validation

    @property
    def _model(self) -> tuple[Any, Any]:
        return self._network.parameters, self._network.statistics

    def begin_epoch(self, order: Rows, optimization: Optimization) -> None:
        self._order, self._optimization = order, optimization

    def train(self, first: int, last: int) -> None:
        train_steps(
            *self._model,
            self._gradient,
            self._optimization,
            self._plan,
            self._buffers,
            self._training,
            self._order,
            first,
            last,
        )

    def evaluate(self, first: int, last: int) -> None:
        assert self._validation is not None
        examples, rows = self._validation
        evaluate_rows(*self._model, self._plan, self._buffers, examples, rows, first, last)

    def keep_pace(self) -> None:
        """Every step is made when its call returns."""

    def read_totals(self) -> Totals:
        return self._buffers.totals.copy()

    def write_totals(self, totals: npt.ArrayLike) -> None:
        self._buffers.totals[:] = totals

    def cost_so_far(self) -> float:
        return float(self._buffers.totals[COST])

    def gradient(self) -> Vector:
        return self._gradient

    def penalty(self) -> float:
        found = np.zeros_like(self._buffers.totals)
        optimization = self._optimization
        add_penalty(self._network.parameters, self._gradient, self._plan, found, optimization.l1, optimization.l2)
        return float(found[COST])

    def fetch(self) -> None:
        """They are up to date."""

    def push(self) -> None:
        """There is nothing else to go on from."""
