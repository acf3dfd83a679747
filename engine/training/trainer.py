"""Epochs as a generator: knows no process, pipe or HTTP."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from engine.errors import Diverged
from engine.nn import random
from engine.nn.activations import Matrix, Vector
from engine.nn.backprop import CORRECT, COST, Buffers, Optimization, Rows, evaluate_rows, train_steps
from engine.nn.dispatch import code_of
from engine.nn.network import Network
from engine.nn.optimizers import OPTIMIZERS, fresh_memory
from engine.training.spec import Epoch, TrainingSpec

# Compiled code is left about this often, to see whether anything else is wanted of the worker.
_SECONDS_AT_ONCE = 0.05


@dataclass(frozen=True)
class Position:
    """Where a run stands: `epoch` epochs are complete, and of the next `row` training rows are done, with these sums
    of cost and correct answers over them and so many seconds."""

    epoch: int = 0
    row: int = 0
    cost: float = 0.0
    correct: float = 0.0
    seconds: float = 0.0


class Trainer:
    """Trains a network in place.

    The order of the rows in epoch e depends on (seed, e) alone, so that a run continued from a `Position` and the
    parameters, moments and memory of that moment ends with the same bits as one that was never interrupted.
    """

    def __init__(
        self,
        network: Network,
        x: Matrix,
        y: Matrix,
        spec: TrainingSpec,
        *,
        classify: bool,
    ) -> None:
        """x (rows, inputs) and y (rows, outputs) in the network's dtype; `classify`: y holds classes."""
        self.network = network
        self.spec = spec
        self.position = Position()
        self._x, self._y = x, y
        rows = np.arange(len(x), dtype=np.int64)
        held_back = spec.validation_rows(len(x))
        if held_back:
            random.shuffle(rows, spec.seed, random.SPLIT, 0)
        self._validation = np.sort(rows[:held_back])
        self._training = np.sort(rows[held_back:])
        self._order = self._training.copy()
        architecture = network.architecture
        self._plan = architecture.plan(classify=classify)
        self._buffers: Buffers = architecture.buffers(min(spec.batch_size, len(self._training)))
        self._gradient: Vector = np.zeros_like(network.parameters)
        self.optimization = self._optimization()
        self._seconds_per_row = 0.0

    def _optimization(self) -> Optimization:
        spec = self.spec
        optimizer = OPTIMIZERS[spec.optimizer]
        settings = {**optimizer.settings, **spec.optimizer_settings}
        steps = -(-len(self._training) // self._buffers.rows)
        return Optimization(
            rule=code_of(spec.optimizer, OPTIMIZERS),
            settings=np.array([settings[name] for name in optimizer.settings], np.float64),
            moments=np.zeros((optimizer.moments, self.network.parameters.size), self.network.parameters.dtype),
            memory=fresh_memory(),
            rates=np.full(steps, spec.learning_rate, np.float64),
        )

    def run(self) -> Iterator[Epoch | None]:
        """Train to the last epoch. Yields each epoch's record, and None every few steps in between.

        Between two items `position`, the network's parameters, and the moments and memory of `optimization` belong
        together. Raises Diverged.
        """
        while self.position.epoch < self.spec.epochs:
            yield from self._train_epoch()
            validation_cost, validation_accuracy = None, None
            if len(self._validation):
                yield from self._evaluate()
                validation_cost, validation_accuracy = self._means(self._validation)
            yield self._finish_epoch(validation_cost, validation_accuracy)

    def _train_epoch(self) -> Iterator[None]:
        self._shuffle()
        totals = self._buffers.totals
        while self.position.row < len(self._training):
            totals[COST], totals[CORRECT] = self.position.cost, self.position.correct
            first = self.position.row
            last = self._end_of_chunk(first, len(self._training))
            started = time.perf_counter()
            train_steps(
                self.network.parameters,
                self._gradient,
                self.optimization,
                self._plan,
                self._buffers,
                self._x,
                self._y,
                self._order,
                first,
                last,
            )
            seconds = self._timed(started, last - first)
            if not np.isfinite(totals[COST]):
                raise Diverged(self._advice())
            self.position = replace(
                self.position,
                row=last,
                cost=float(totals[COST]),
                correct=float(totals[CORRECT]),
                seconds=self.position.seconds + seconds,
            )
            yield None

    def _evaluate(self) -> Iterator[None]:
        """Leave the sums over the validation rows in the buffers' totals."""
        self._buffers.totals[:] = 0
        first = 0
        while first < len(self._validation):
            last = self._end_of_chunk(first, len(self._validation))
            started = time.perf_counter()
            evaluate_rows(
                self.network.parameters,
                self._plan,
                self._buffers,
                self._x,
                self._y,
                self._validation,
                first,
                last,
            )
            seconds = self._timed(started, last - first)
            self.position = replace(self.position, seconds=self.position.seconds + seconds)
            first = last
            yield None

    def _finish_epoch(self, validation_cost: float | None, validation_accuracy: float | None) -> Epoch:
        rows = len(self._training)
        done = self.position
        last = done.epoch + 1 == self.spec.epochs
        unusable = validation_cost is not None and not np.isfinite(validation_cost)
        if unusable or (last and not np.isfinite(self.network.parameters).all()):
            raise Diverged(self._advice())
        self.position = Position(epoch=done.epoch + 1)
        return Epoch(
            epoch=done.epoch + 1,
            cost=done.cost / rows,
            accuracy=done.correct / rows if self._plan.classify else None,
            validation_cost=validation_cost,
            validation_accuracy=validation_accuracy,
            learning_rate=self.spec.learning_rate,
            seconds=done.seconds,
        )

    def _means(self, rows: Rows) -> tuple[float, float | None]:
        totals = self._buffers.totals / len(rows)
        return float(totals[COST]), float(totals[CORRECT]) if self._plan.classify else None

    def _shuffle(self) -> None:
        """Full-batch steps see every row anyway; their order stays as it is."""
        if self.spec.shuffle and self._buffers.rows < len(self._training):
            self._order[:] = self._training
            random.shuffle(self._order, self.spec.seed, random.SHUFFLE, self.position.epoch)

    def _end_of_chunk(self, first: int, rows: int) -> int:
        """Whole mini-batches for about `_SECONDS_AT_ONCE`; a single one until the pace is known."""
        batch = self._buffers.rows
        steps = 1
        if self._seconds_per_row:
            steps = max(1, int(_SECONDS_AT_ONCE / (self._seconds_per_row * batch)))
        return min(first + steps * batch, rows)

    def _timed(self, started: float, rows: int) -> float:
        seconds = time.perf_counter() - started
        self._seconds_per_row = max(seconds / rows, 1e-9)
        return seconds

    def _advice(self) -> str:
        return (
            f"The cost left the finite numbers in epoch {self.position.epoch + 1}. Usual causes: a learning rate that "
            f"is too large (now {self.spec.learning_rate:g}), or inputs that are not scaled."
        )
