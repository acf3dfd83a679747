"""Epochs as a generator: knows no process, pipe or HTTP."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nabla.engine.data.loading import OpenDataset
from nabla.engine.errors import Damaged, Diverged
from nabla.engine.nn import array_views
from nabla.engine.nn.backend import CpuStepper, MakeStepper, Setup
from nabla.engine.nn.compiled_layout import COST, GRADIENT_NORM
from nabla.engine.nn.network import Network
from nabla.engine.nn.optimizers import OPTIMIZERS, fresh_memory
from nabla.engine.nn.schedules import SCHEDULES, Moment
from nabla.engine.nn.training_step import Optimization
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.data_split import Part, measure_for, parts_of
from nabla.engine.training.lbfgs import Lbfgs, Wish
from nabla.engine.training.shuffling import Foresight, shuffle
from nabla.engine.training.state import Epoch, Measures, Position

# Compiled code is left about this often.
_SECONDS_AT_ONCE = 0.05


class Pace:
    """Of mini-batches of `rows_at_once` rows, as it was seen last."""

    def __init__(self, rows_at_once: int) -> None:
        self._rows_at_once = rows_at_once
        self._seconds_per_row = 0.0
        self._steps = 1

    def end_of_chunk(self, first: int, rows: int) -> int:
        """Whole mini-batches for about `_SECONDS_AT_ONCE`; a single one until the pace is known, and then at most four
        times as many as before: what is timed may be the chunk before."""
        if self._seconds_per_row:
            wanted = max(1, int(_SECONDS_AT_ONCE / (self._seconds_per_row * self._rows_at_once)))
            self._steps = min(wanted, 4 * self._steps)
        return min(first + self._steps * self._rows_at_once, rows)

    def timed(self, started: float, rows: int) -> float:
        """The seconds since `started`, which so many rows took."""
        seconds = time.perf_counter() - started
        self._seconds_per_row = max(seconds / rows, 1e-9)
        return seconds


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
        make_stepper: MakeStepper = CpuStepper,
    ) -> None:
        """`dataset` in the network's dtype; `classes`: those of its codes, if it has any. `validation` takes the place
        of a fraction of the rows. `make_stepper`: of the device to train on.

        Raises InvalidInput if data, settings and network do not go together.
        """
        architecture = network.architecture
        spec.check_fits(architecture, len(dataset.x), classes)
        self.network = network
        self.spec = spec
        self._place = Position()
        self._measure = measure_for(architecture.cost, architecture.outputs, classes)
        self._training, self._validation = parts_of(dataset, spec, classes, self._measure, validation)
        self._order = self._training.rows.copy()
        self._rows_at_once = spec.rows_at_once(len(self._order))
        block = spec.shuffle_block if self._shuffles else None
        self._foresight = None if block is None else Foresight((dataset.x, dataset.y), block)
        self._optimization = self._first_optimization()
        self._stepper = make_stepper(
            Setup(
                network,
                architecture.plan(self._measure),
                self._optimization,
                self._rows_at_once,
                (self._training.examples, self._training.rows),
                (self._validation.examples, self._validation.rows) if self._validation else None,
            )
        )
        self._lbfgs = Lbfgs(network.parameters, spec.optimizer_in_full) if spec.optimizer == "l-bfgs" else None
        self._restores = spec.early_stopping is not None and spec.early_stopping.restore_best_weights
        self._best = [array.copy() for array in (network.parameters, network.statistics) if self._restores]
        self._pace = Pace(self._rows_at_once)

    def _first_optimization(self) -> Optimization:
        spec, parameters, rows = self.spec, self.network.parameters, len(self._order)
        optimizer = OPTIMIZERS[spec.optimizer]
        settings = spec.optimizer_in_full
        return spec.optimization(rows)._replace(
            settings=np.array([settings[name] for name in optimizer.settings], np.float64),
            moments=array_views.matrix(optimizer.moments, parameters.size, parameters.dtype, 2),
            memory=fresh_memory(),
            rates=np.zeros(-(-rows // self._rows_at_once)),
        )

    @property
    def position(self) -> Position:
        """Where the run stands."""
        if not self._amid_steps(self._place):
            return self._place
        return replace(self._place, sums=tuple(self._stepper.read_totals().tolist()))

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All that changes from step to step, besides `position`: the arrays themselves."""
        self._stepper.fetch()
        found = {
            "parameters": self.network.parameters,
            "statistics": self.network.statistics,
            "moments": self._optimization.moments,
            "memory": self._optimization.memory,
        }
        found |= {f"best.{place}": array for place, array in enumerate(self._best)}
        return found | (self._lbfgs.arrays if self._lbfgs else {})

    @property
    def trained_so_far(self) -> Network:
        """The network as it is now: between two items of `run` that of the last step."""
        self._stepper.fetch()
        return self.network

    def go_on_from(self, position: Position) -> None:
        """Take the position of another run of the same settings, whose arrays have been written into `arrays`. Raises
        Damaged if its sums are others."""
        if position.sums and len(position.sums) != len(self._stepper.read_totals()):
            raise Damaged("The checkpoint has other sums than this version of the service.")
        self._stepper.push()
        self._stepper.write_totals(position.sums or 0.0)
        self._place = replace(position, sums=()) if self._amid_steps(position) else position

    def change_rate(self, learning_rate: float) -> int:
        """Another learning rate from the next epoch that begins; its number, counted from 0. Raises InvalidInput."""
        epoch = self._place.epoch + bool(self._place.row)
        self.spec = self.spec.with_rate(learning_rate, epoch)
        return epoch

    def _amid_steps(self, place: Position) -> bool:
        """Is a part of the epoch's steps made? Then the stepper has the sums."""
        return 0 < place.row < len(self._order)

    def run(self) -> Iterator[Epoch | None]:
        """Train until the last epoch, or what the settings say should end it before: `position.stopped` tells. Yields
        each epoch's record, and None every few steps in between.

        Between two items `position` and `arrays` belong together. Raises Diverged.
        """
        while self._place.stopped is None:
            self._begin_epoch()
            yield from self._descend() if self._lbfgs is None else self._iterate(self._lbfgs)
            if self._place.stopped is None:
                training = self._training.measures(np.array(self._place.sums), self._measure)
                self._check(training.cost)
                validation = None
                if self._validation is not None:
                    yield from self._evaluate(self._validation)
                    validation = self._validated(self._validation)
                yield self._finish_epoch(training, validation)
        self._stepper.fetch()
        if self._restores and self._place.best_epoch is not None:
            self.network.parameters[:], self.network.statistics[:] = self._best
        self._check(self.network.parameters)

    def _begin_epoch(self) -> None:
        """Order, rates, penalty and momentum of the epoch."""
        spec, place, optimization = self.spec, self._place, self._optimization
        now = spec.in_epoch(place.epoch)
        if now.momentum is not None:
            optimization.settings[list(OPTIMIZERS[spec.optimizer].settings).index("momentum")] = now.momentum
        self._optimization = optimization._replace(l2=now.l2 / len(self._order))
        moment = Moment(place.epoch, spec.epochs, optimization.rates.size, place.reductions)
        optimization.rates[:] = SCHEDULES[spec.schedule].rates(now.learning_rate, moment, spec.schedule_in_full)
        self._put_in_order()
        self._stepper.begin_epoch(self._order, self._optimization)
        if not place.row:
            self._stepper.write_totals(0.0)

    def _descend(self) -> Iterator[None]:
        """The steps of an epoch."""
        while self._place.row < len(self._order):
            first = self._place.row
            self._train(first, self._pace.end_of_chunk(first, len(self._order)))
            if self._place.row == len(self._order):
                self._wait_for_totals()
            if self._place.out_of_time(self.spec):
                self._place = replace(self._place, stopped="max_seconds")
                return
            yield None

    def _iterate(self, lbfgs: Lbfgs) -> Iterator[None]:
        """One iteration of L-BFGS: as many looks at all training rows as its line search takes."""
        rows = len(self._order)
        if self._place.row == rows:
            return
        while (wish := lbfgs.advance()) is Wish.EVALUATION:
            self._go_to(lbfgs)
            self._stepper.write_totals(0.0)
            self._train(0, rows)
            self._wait_for_totals()
            self._place = replace(self._place, row=0)
            lbfgs.answer(self._place.sums[COST] / self._training.weight, self._stepper.gradient())
            yield None
        self._go_to(lbfgs)
        self._place = replace(self._place, row=rows)
        if wish is Wish.END or self._place.out_of_time(self.spec):
            self._place = replace(self._place, stopped="converged" if wish is Wish.END else "max_seconds")

    def _go_to(self, lbfgs: Lbfgs) -> None:
        self.network.parameters[:] = lbfgs.x
        self._stepper.push()

    def _train(self, first: int, last: int) -> None:
        """Train on rows first to last of the epoch. Raises Diverged, where that is seen already."""
        started = time.perf_counter()
        if self._foresight is not None:
            self._foresight.reach(last)
        self._stepper.train(first, last)
        self._stepper.keep_pace()
        known = self._stepper.cost_so_far()
        if known is not None:
            self._check(known)
        self._spend(self._pace.timed(started, last - first))
        self._place = replace(self._place, row=last)

    def _wait_for_totals(self) -> None:
        started = time.perf_counter()
        sums = tuple(self._stepper.read_totals().tolist())
        self._spend(time.perf_counter() - started)
        self._place = replace(self._place, sums=sums)

    def _spend(self, seconds: float) -> None:
        place = self._place
        self._place = replace(place, seconds=place.seconds + seconds, training_seconds=place.training_seconds + seconds)

    def _evaluate(self, part: Part) -> Iterator[None]:
        """Leave the sums over the part's rows in the stepper's totals."""
        self._stepper.write_totals(0.0)
        first = 0
        while first < len(part.rows):
            last = self._pace.end_of_chunk(first, len(part.rows))
            started = time.perf_counter()
            self._stepper.evaluate(first, last)
            self._stepper.keep_pace()
            seconds = self._pace.timed(started, last - first)
            self._place = replace(self._place, seconds=self._place.seconds + seconds)
            first = last
            yield None

    def _validated(self, part: Part) -> Measures:
        """With the penalties that the training cost has too."""
        started = time.perf_counter()
        found = part.measures(self._stepper.read_totals(), self._measure)
        if self._optimization.l1 or self._optimization.l2:
            found = replace(found, cost=found.cost + self._stepper.penalty())
        self._place = replace(self._place, seconds=self._place.seconds + time.perf_counter() - started)
        self._check(found.cost)
        return found

    def _finish_epoch(self, training: Measures, validation: Measures | None) -> Epoch:
        done = self._place
        self._place = done.after_epoch(training.cost if validation is None else validation.cost, self.spec)
        if self._restores and self._place.best_epoch == self._place.epoch:
            self._stepper.fetch()
            self._best[0][:], self._best[1][:] = self.network.parameters, self.network.statistics
        return Epoch.of(
            self._place.epoch,
            training,
            validation,
            learning_rate=None if self._lbfgs else float(self._optimization.rates[-1]),
            gradient_norm=done.sums[GRADIENT_NORM],
            rows_per_second=len(self._order) / max(done.training_seconds, 1e-9),
            seconds=done.seconds,
        )

    @property
    def _shuffles(self) -> bool:
        """Full-batch steps see every row anyway; their order stays as it is."""
        return self.spec.shuffle and self._rows_at_once < len(self._order)

    def _put_in_order(self) -> None:
        if self._shuffles:
            spec = self.spec
            shuffle(self._order, self._training.rows, spec.seed, self._place.epoch, spec.shuffle_block)
        if self._foresight is not None:
            self._foresight.begin(self._order, self._place.row)

    def _check(self, numbers: npt.ArrayLike) -> None:
        """Raises Diverged if they are not finite."""
        if not np.isfinite(numbers).all():
            raise Diverged(self._advice())

    def _advice(self) -> str:
        return (
            f"The cost left the finite numbers in epoch {self._place.epoch + 1}. Usual causes: a learning rate that "
            f"is too large (now {self.spec.learning_rate:g}), or inputs that are not scaled."
        )
