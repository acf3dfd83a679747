"""Epochs as a generator: knows no process, pipe or HTTP."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.data.dataset import OpenDataset
from engine.errors import Diverged
from engine.nn import memory, random
from engine.nn.dispatch import code_of
from engine.nn.network import Network
from engine.nn.optimizers import OPTIMIZERS, fresh_memory
from engine.nn.plan import COST, GRADIENT_NORM
from engine.nn.schedules import SCHEDULES, Moment
from engine.nn.steps import Optimization, evaluate_rows, train_steps, weight_penalty
from engine.training.lbfgs import Lbfgs, Wish
from engine.training.parts import Measures, Part, measure_for, parts_of
from engine.training.position import Position
from engine.training.spec import Epoch, TrainingSpec

# Compiled code is left about this often, to see whether anything else is wanted of the worker.
_SECONDS_AT_ONCE = 0.05


class Trainer:
    """Trains a network in place.

    The order of the rows in epoch e depends on (seed, e) alone, and what is dropped in a step on (seed, step), so that
    a run continued from a `Position` and the `arrays` of that moment ends with the same bits as one that was never
    interrupted.
    """

    def __init__(
        self,
        network: Network,
        dataset: OpenDataset,
        spec: TrainingSpec,
        *,
        classes: tuple[str, ...] | None = None,
        validation: OpenDataset | None = None,
    ) -> None:
        """`dataset` in the network's dtype; `classes`: those of its codes, if it has any. `validation` takes the place
        of a fraction of the rows. Raises InvalidInput if data, settings and network do not go together."""
        architecture = network.architecture
        spec.check_fits(architecture, len(dataset.x), classes)
        self.network = network
        self.spec = spec
        self.position = Position()
        self._measure = measure_for(architecture.cost, architecture.outputs, classes)
        self._plan = architecture.plan(self._measure)
        self._training, self._validation = parts_of(dataset, spec, classes, self._measure, validation)
        self._order = self._training.rows.copy()
        self._buffers = architecture.buffers(spec.rows_at_once(len(self._order)))
        self._gradient = memory.zeros(network.parameters.size, architecture.dtype, 1)
        self._optimization = self._first_optimization()
        self._lbfgs = Lbfgs(network.parameters, spec.optimizer_in_full) if spec.optimizer == "l-bfgs" else None
        self._restores = spec.early_stopping is not None and spec.early_stopping.restore_best
        self._best = [array.copy() for array in (network.parameters, network.statistics) if self._restores]
        self._seconds_per_row = 0.0

    def _first_optimization(self) -> Optimization:
        spec = self.spec
        optimizer = OPTIMIZERS[spec.optimizer]
        settings = spec.optimizer_in_full
        parameters = self.network.parameters
        rows = len(self._order)
        return Optimization(
            rule=code_of(spec.optimizer, OPTIMIZERS),
            settings=np.array([settings[name] for name in optimizer.settings], np.float64),
            moments=memory.matrix(optimizer.moments, parameters.size, parameters.dtype, 2),
            memory=fresh_memory(),
            rates=np.zeros(-(-rows // self._buffers.rows)),
            l1=spec.l1 / rows,
            l2=spec.l2 / rows,
            clip_value=_limit(spec.clip_value),
            clip_norm=_limit(spec.clip_norm),
            max_norm=_limit(spec.max_norm),
            seed=spec.seed,
        )

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All that changes from step to step, besides `position`: the arrays themselves, to be saved or written to."""
        found = {
            "parameters": self.network.parameters,
            "statistics": self.network.statistics,
            "moments": self._optimization.moments,
            "memory": self._optimization.memory,
        }
        found |= {f"best.{place}": array for place, array in enumerate(self._best)}
        return found | (self._lbfgs.arrays if self._lbfgs else {})

    def run(self) -> Iterator[Epoch | None]:
        """Train until the last epoch, or what the settings say should end it before: `position.stopped` tells. Yields
        each epoch's record, and None every few steps in between.

        Between two items `position` and `arrays` belong together. Raises Diverged.
        """
        while self.position.stopped is None:
            self._set_rates()
            yield from self._descend() if self._lbfgs is None else self._iterate(self._lbfgs)
            if self.position.stopped is None:
                training = self._training.measures(np.array(self.position.sums), self._measure)
                validation = None
                if self._validation is not None:
                    yield from self._evaluate(self._validation)
                    validation = self._validated(self._validation)
                yield self._finish_epoch(training, validation)
        if self._restores and self.position.best_epoch is not None:
            self.network.parameters[:], self.network.statistics[:] = self._best
        if not np.isfinite(self.network.parameters).all():
            raise Diverged(self._advice())

    def _set_rates(self) -> None:
        """Rates, penalty and momentum of the epoch."""
        spec, place, optimization = self.spec, self.position, self._optimization
        now = spec.in_epoch(place.epoch)
        if now.momentum is not None:
            optimization.settings[list(OPTIMIZERS[spec.optimizer].settings).index("momentum")] = now.momentum
        self._optimization = optimization._replace(l2=now.l2 / len(self._order))
        moment = Moment(place.epoch, spec.epochs, optimization.rates.size, place.reductions)
        optimization.rates[:] = SCHEDULES[spec.schedule].rates(now.learning_rate, moment, spec.schedule_in_full)

    def _descend(self) -> Iterator[None]:
        """The steps of an epoch."""
        self._shuffle()
        while self.position.row < len(self._order):
            first = self.position.row
            self._train(first, self._end_of_chunk(first, len(self._order)))
            if self.position.out_of_time(self.spec):
                self.position = replace(self.position, stopped="max_seconds")
                return
            yield None

    def _iterate(self, lbfgs: Lbfgs) -> Iterator[None]:
        """One iteration of L-BFGS: as many looks at all training rows as its line search takes."""
        rows = len(self._order)
        if self.position.row == rows:
            return
        while (wish := lbfgs.advance()) is Wish.EVALUATION:
            self.network.parameters[:] = lbfgs.x
            self.position = replace(self.position, sums=())
            self._train(0, rows)
            self.position = replace(self.position, row=0)
            lbfgs.answer(self.position.sums[COST] / self._training.weight, self._gradient)
            yield None
        self.network.parameters[:] = lbfgs.x
        self.position = replace(self.position, row=rows)
        if wish is Wish.END or self.position.out_of_time(self.spec):
            self.position = replace(self.position, stopped="converged" if wish is Wish.END else "max_seconds")

    def _train(self, first: int, last: int) -> None:
        """Train on rows first to last of the epoch, on top of the position's sums. Raises Diverged."""
        totals, place = self._buffers.totals, self.position
        totals[:] = place.sums or 0.0
        started = time.perf_counter()
        train_steps(
            self.network.parameters,
            self.network.statistics,
            self._gradient,
            self._optimization,
            self._plan,
            self._buffers,
            self._training.examples,
            self._order,
            first,
            last,
        )
        seconds = self._timed(started, last - first)
        if not np.isfinite(totals[COST]):
            raise Diverged(self._advice())
        self.position = replace(
            place,
            row=last,
            sums=tuple(totals.tolist()),
            seconds=place.seconds + seconds,
            training_seconds=place.training_seconds + seconds,
        )

    def _evaluate(self, part: Part) -> Iterator[None]:
        """Leave the sums over the part's rows in the buffers' totals."""
        self._buffers.totals[:] = 0
        first = 0
        while first < len(part.rows):
            last = self._end_of_chunk(first, len(part.rows))
            started = time.perf_counter()
            evaluate_rows(
                self.network.parameters,
                self.network.statistics,
                self._plan,
                self._buffers,
                part.examples,
                part.rows,
                first,
                last,
            )
            seconds = self._timed(started, last - first)
            self.position = replace(self.position, seconds=self.position.seconds + seconds)
            first = last
            yield None

    def _validated(self, part: Part) -> Measures:
        """With the penalties that the training cost has too."""
        found = part.measures(self._buffers.totals, self._measure)
        l1, l2 = self._optimization.l1, self._optimization.l2
        if l1 or l2:
            penalty = weight_penalty(self.network.parameters, self._gradient, self._plan, l1, l2)
            found = replace(found, cost=found.cost + penalty)
        if not np.isfinite(found.cost):
            raise Diverged(self._advice())
        return found

    def _finish_epoch(self, training: Measures, validation: Measures | None) -> Epoch:
        done = self.position
        self.position = done.after_epoch(training.cost if validation is None else validation.cost, self.spec)
        if self._restores and self.position.best_epoch == self.position.epoch:
            self._best[0][:], self._best[1][:] = self.network.parameters, self.network.statistics
        return Epoch(
            epoch=self.position.epoch,
            cost=training.cost,
            accuracy=training.accuracy,
            r2=training.r2,
            mae=training.mae,
            rmse=training.rmse,
            validation_cost=validation.cost if validation else None,
            validation_accuracy=validation.accuracy if validation else None,
            validation_r2=validation.r2 if validation else None,
            validation_mae=validation.mae if validation else None,
            validation_rmse=validation.rmse if validation else None,
            learning_rate=None if self._lbfgs else float(self._optimization.rates[-1]),
            gradient_norm=done.sums[GRADIENT_NORM],
            rows_per_second=len(self._order) / max(done.training_seconds, 1e-9),
            seconds=done.seconds,
        )

    def _shuffle(self) -> None:
        """Full-batch steps see every row anyway; their order stays as it is."""
        if self.spec.shuffle and self._buffers.rows < len(self._order):
            self._order[:] = self._training.rows
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


def _limit(given: float | None) -> float:
    return np.inf if given is None else given
