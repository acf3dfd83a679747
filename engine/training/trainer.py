"""The training loop, as a generator that yields control after each chunk of mini-batches."""

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from nabla.engine.data.loading import OpenDataset
from nabla.engine.data.schema import Classes
from nabla.engine.errors import Damaged, Diverged, OutOfTime
from nabla.engine.nn import array_views
from nabla.engine.nn.backend import BackendFactory, CpuBackend, TrainingSetup
from nabla.engine.nn.layout import COST, GRADIENT_NORM
from nabla.engine.nn.network import Network
from nabla.engine.nn.optimizers import OPTIMIZERS, init_optimizer_state
from nabla.engine.nn.schedules import SCHEDULES, SchedulePoint
from nabla.engine.nn.training_step import Optimization
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.data_split import DataSplit, choose_metric, split_data
from nabla.engine.training.lbfgs import Lbfgs, LbfgsAction
from nabla.engine.training.shuffling import Prefetcher, shuffle_rows
from nabla.engine.training.state import Epoch, NamedArrays, Position, SplitMetrics, TrainerState

# Compiled code returns to Python about this often.
_CHUNK_SECONDS = 0.05
# Rows that tell whether a run that its time limit ended has improved the weights.
_SAMPLE_ROWS = 4096


class Trainer:
    """Trains a network in place.

    The order of the rows in an epoch depends on the seed and the epoch alone, and the units that are dropped in a step
    on the seed and the step. A run that is continued from its `state` therefore ends with the same bits as one that was
    never interrupted.

    Args:
        network: Network to train; its dtype is that of the data.
        dataset: Dataset to train on, and to hold validation rows out of.
        spec: Settings of the job.
        classes: Classes of the dataset; None for numeric targets.
        validation: A dataset to use for validation instead of held-out rows.
        make_backend: Creates the backend on the device to train on.

    Attributes:
        network: The network. It is up to date after `run`, and in `current_network`.
        spec: The settings, with changes of the learning rate.

    Raises:
        InvalidInput: Data, settings and network do not fit each other.
    """

    def __init__(
        self,
        network: Network,
        dataset: OpenDataset,
        spec: TrainingSpec,
        *,
        classes: Classes | None = None,
        validation: OpenDataset | None = None,
        make_backend: BackendFactory = CpuBackend,
    ) -> None:
        architecture = network.architecture
        spec.check_fits(architecture, len(dataset.x), classes)
        self.network = network
        self.spec = spec
        self._position = Position()
        self._metric = choose_metric(architecture.cost, architecture.outputs, classes)
        self._training, self._validation = split_data(dataset, spec, classes, self._metric, validation)
        self._order = self._training.rows.copy()
        self._batch_size = spec.effective_batch_size(len(self._order))
        self._chunk_sizer = ChunkSizer(self._batch_size)
        block = spec.shuffle_block if self._shuffles else None
        self._prefetcher = None if block is None else Prefetcher((dataset.x, dataset.y), block)
        self._optimization = self._init_optimization()
        self._backend = make_backend(
            TrainingSetup(
                network,
                architecture.layout(self._metric),
                self._optimization,
                self._batch_size,
                (self._training.examples, self._order),
                (self._validation.examples, self._validation.rows) if self._validation else None,
            )
        )
        self._lbfgs = Lbfgs(network.parameters, spec.resolved_optimizer) if spec.optimizer == "l-bfgs" else None
        self._restores_best = spec.early_stopping is not None and spec.early_stopping.restore_best_weights
        self._best: NamedArrays = {}
        if self._restores_best:
            self._best = {
                "best.parameters": network.parameters.copy(),
                "best.statistics": network.statistics.copy(),
            }

    def _init_optimization(self) -> Optimization:
        spec, parameters, rows = self.spec, self.network.parameters, len(self._order)
        optimizer = OPTIMIZERS[spec.optimizer]
        settings = spec.resolved_optimizer
        return spec.step_settings(rows)._replace(
            settings=np.array([settings[name] for name in optimizer.settings], np.float64),
            moments=array_views.staggered_matrix(optimizer.moments, parameters.size, parameters.dtype, 2),
            optimizer_state=init_optimizer_state(),
            rates=np.zeros(-(-rows // self._batch_size)),
        )

    @property
    def position(self) -> Position:
        """Progress of the run."""
        if not self._is_mid_epoch(self._position):
            return self._position
        return replace(self._position, metric_sums=tuple(self._backend.read_metric_sums().tolist()))

    @property
    def state(self) -> TrainerState:
        """Everything that changes while the run trains. The arrays are not copies: save them before training continues.

        Arrays and position are consistent between two items of `run`.
        """
        self._backend.sync_to_host()
        arrays: NamedArrays = {
            "parameters": self.network.parameters,
            "statistics": self.network.statistics,
            "moments": self._optimization.moments,
            "optimizer_state": self._optimization.optimizer_state,
            **self._best,
        }
        if self._lbfgs is not None:
            arrays |= self._lbfgs.arrays
        return TrainerState(self.position, arrays)

    @property
    def current_network(self) -> Network:
        """The network after the last step, between two items of `run`."""
        self._backend.sync_to_host()
        return self.network

    def load_state(self, state: TrainerState) -> None:
        """Continue another run with the same network, data and settings.

        Raises:
            Damaged: The state belongs to another network or other settings.
        """
        own = self.state.arrays
        if own.keys() != state.arrays.keys():
            raise Damaged("The checkpoint does not fit the job's settings.")
        state.copy_into(own)
        self._move_to(state.position)

    def warm_start(self, state: TrainerState, *, keep_optimizer_state: bool) -> None:
        """Start from the weights of another run of the same network.

        Args:
            state: State of the other run.
            keep_optimizer_state: Also take over the optimizer state; the optimizer must be the same.

        Raises:
            Damaged: The state belongs to another network.
        """
        own = self.state.arrays
        names = ("parameters", "statistics", *(("moments", "optimizer_state") if keep_optimizer_state else ()))
        state.copy_into({name: own[name] for name in names})
        self._move_to(Position())

    def _move_to(self, position: Position) -> None:
        """Continue from a position with the current arrays."""
        if position.metric_sums and len(position.metric_sums) != len(self._backend.read_metric_sums()):
            raise Damaged("The checkpoint has other metric sums than this version of Nabla.")
        self._backend.sync_to_device()
        self._backend.write_metric_sums(position.metric_sums or 0.0)
        self._position = replace(position, metric_sums=()) if self._is_mid_epoch(position) else position

    def _is_mid_epoch(self, position: Position) -> bool:
        """Return whether only some steps of the epoch are done, so that its metric sums are in the backend."""
        return 0 < position.row < len(self._order)

    def change_learning_rate(self, learning_rate: float) -> int:
        """Change the learning rate from the next epoch on.

        Returns:
            The number of that epoch, counted from 0.

        Raises:
            InvalidInput: The learning rate is not accepted, or the optimizer has none.
        """
        epoch = self._position.epoch + bool(self._position.row)
        self.spec = self.spec.with_learning_rate(learning_rate, epoch)
        return epoch

    def compile(self) -> None:
        """Compile or load the code of the run, and that for predictions with its result, without running it."""
        self._backend.compile()
        self.network.compile()

    def run(self) -> Iterator[Epoch | None]:
        """Train until the last epoch, or until a stopping criterion is met; `position.stop_reason` tells which.

        Yields:
            The record of each epoch, and None after each chunk of steps in between.

        Raises:
            Diverged: Cost or parameters are not finite.
            OutOfTime: The time limit was reached in the first epoch, or the weights are worse than those at the start.
        """
        if self.spec.max_seconds is not None and self._position == Position():
            self._position = replace(self._position, start_cost=self._sample_cost())
        while self._position.stop_reason is None:
            self._begin_epoch()
            yield from self._sgd_epoch() if self._lbfgs is None else self._lbfgs_epoch(self._lbfgs)
            if self._position.stop_reason is None:
                training = self._training.metrics(np.array(self._position.metric_sums), self._metric)
                self._check_finite(training.cost)
                validation = None
                if self._validation is not None:
                    yield from self._evaluate(self._validation)
                    validation = self._validation_metrics(self._validation)
                yield self._finish_epoch(training, validation)
        self._backend.sync_to_host()
        if self._restores_best and self._position.best_epoch is not None:
            self.network.parameters[:] = self._best["best.parameters"]
            self.network.statistics[:] = self._best["best.statistics"]
        self._check_finite(self.network.parameters)
        if self._position.stop_reason == "max_seconds":
            self._check_improved()

    def _check_improved(self) -> None:
        """Check the result of a run that its time limit ended. Raises OutOfTime."""
        limit = f"The time limit of {self.spec.max_seconds:g} seconds"
        if not self._position.epoch:
            raise OutOfTime(
                f"{limit} ended the job in its first epoch, after {self._position.row} of {len(self._order)} rows. It "
                "has no result before the first epoch is complete; give it more time, or fewer rows."
            )
        start_cost, cost = self._position.start_cost, self._sample_cost()
        if start_cost is not None and np.isfinite(start_cost) and not cost <= start_cost:
            raise OutOfTime(
                f"{limit} ended the job after {self._position.epoch} epochs with a cost of {cost:.4g}, above the "
                f"{start_cost:.4g} of the weights that it started from. They stay current; give the job more time, or "
                "a smaller learning rate."
            )

    def _sample_cost(self) -> float:
        """Return the cost of the network, without penalties, on a sample of the validation or training rows."""
        split = self._validation or self._training
        rows = split.rows[:: -(-len(split.rows) // _SAMPLE_ROWS)]
        examples = split.examples
        weights = examples.weights[rows] if examples.weights.size else None
        outputs = self.current_network.outputs(examples.x[rows])
        total = len(rows) if weights is None else weights.sum() or len(rows)
        return self.network.sum_costs(outputs, examples.y[rows], weights) / total

    def _begin_epoch(self) -> None:
        """Set the order of the rows, learning rates, penalty and momentum of the epoch."""
        spec, position, optimization = self.spec, self._position, self._optimization
        settings = spec.settings_for_epoch(position.epoch)
        if settings.momentum is not None:
            index = list(OPTIMIZERS[spec.optimizer].settings).index("momentum")
            optimization.settings[index] = settings.momentum
        self._optimization = optimization._replace(l2=settings.l2 / len(self._order))
        point = SchedulePoint(position.epoch, spec.epochs, optimization.rates.size, position.plateau_reductions)
        optimization.rates[:] = SCHEDULES[spec.schedule].rates(settings.learning_rate, point, spec.resolved_schedule)
        self._shuffle_rows()
        self._backend.begin_epoch(self._order, self._optimization)
        if not position.row:
            self._backend.write_metric_sums(0.0)

    @property
    def _shuffles(self) -> bool:
        # The order does not matter to a full-batch step.
        return self.spec.shuffle and self._batch_size < len(self._order)

    def _shuffle_rows(self) -> None:
        if self._shuffles:
            spec = self.spec
            shuffle_rows(self._order, self._training.rows, spec.seed, self._position.epoch, spec.shuffle_block)
        if self._prefetcher is not None:
            self._prefetcher.begin_epoch(self._order, self._position.row)

    def _sgd_epoch(self) -> Iterator[None]:
        """Train on the remaining mini-batches of an epoch."""
        rows = len(self._order)
        while self._position.row < rows:
            first = self._position.row
            self._train(first, self._chunk_sizer.next_end(first, rows))
            if self._position.row == rows:
                self._read_metric_sums()
            if self._position.is_out_of_time(self.spec):
                self._position = replace(self._position, stop_reason="max_seconds")
                return
            yield None

    def _lbfgs_epoch(self, lbfgs: Lbfgs) -> Iterator[None]:
        """Run one iteration of L-BFGS, whose line search takes one or more passes over the training rows."""
        rows = len(self._order)
        if self._position.row == rows:
            return
        while (action := lbfgs.advance()) is LbfgsAction.EVALUATE:
            self._set_parameters(lbfgs)
            self._backend.write_metric_sums(0.0)
            self._train(0, rows)
            self._read_metric_sums()
            self._position = replace(self._position, row=0)
            cost = self._position.metric_sums[COST] / self._training.total_weight
            self._check_finite(cost)
            lbfgs.set_evaluation(cost, self._backend.gradient())
            yield None
        self._set_parameters(lbfgs)
        self._position = replace(self._position, row=rows)
        if action is LbfgsAction.STOP:
            self._position = replace(self._position, stop_reason="converged")
        elif self._position.is_out_of_time(self.spec):
            self._position = replace(self._position, stop_reason="max_seconds")

    def _set_parameters(self, lbfgs: Lbfgs) -> None:
        self.network.parameters[:] = lbfgs.x
        self._backend.sync_to_device()

    def _train(self, first: int, last: int) -> None:
        """Train on rows `first` up to, not including, `last` of the order. Raises Diverged if that is already known."""
        started = time.perf_counter()
        if self._prefetcher is not None:
            self._prefetcher.advise(last)
        self._backend.train(first, last)
        self._backend.throttle()
        cost = self._backend.running_cost()
        if cost is not None:
            self._check_finite(cost)
        seconds = time.perf_counter() - started
        self._chunk_sizer.record(seconds, last - first)
        self._add_training_time(seconds)
        self._position = replace(self._position, row=last)

    def _read_metric_sums(self) -> None:
        """Wait for the steps of the epoch and store their metric sums in the position."""
        started = time.perf_counter()
        sums = tuple(self._backend.read_metric_sums().tolist())
        self._add_training_time(time.perf_counter() - started)
        self._position = replace(self._position, metric_sums=sums)

    def _add_training_time(self, seconds: float) -> None:
        self._add_time(seconds)
        self._position = replace(self._position, training_seconds=self._position.training_seconds + seconds)

    def _add_time(self, seconds: float) -> None:
        self._position = replace(self._position, epoch_seconds=self._position.epoch_seconds + seconds)

    def _evaluate(self, split: DataSplit) -> Iterator[None]:
        """Sum the metrics over the rows of a split in the backend."""
        self._backend.write_metric_sums(0.0)
        first = 0
        while first < len(split.rows):
            last = self._chunk_sizer.next_end(first, len(split.rows))
            started = time.perf_counter()
            self._backend.evaluate(first, last)
            self._backend.throttle()
            seconds = time.perf_counter() - started
            self._chunk_sizer.record(seconds, last - first)
            self._add_time(seconds)
            first = last
            yield None

    def _validation_metrics(self, split: DataSplit) -> SplitMetrics:
        """Return the metrics of an evaluated split; like the training cost, its cost includes the penalties."""
        started = time.perf_counter()
        metrics = split.metrics(self._backend.read_metric_sums(), self._metric)
        if self._optimization.l1 or self._optimization.l2:
            metrics = replace(metrics, cost=metrics.cost + self._backend.penalty())
        self._add_time(time.perf_counter() - started)
        self._check_finite(metrics.cost)
        return metrics

    def _finish_epoch(self, training: SplitMetrics, validation: SplitMetrics | None) -> Epoch:
        finished = self._position
        self._position = finished.finish_epoch(training.cost if validation is None else validation.cost, self.spec)
        if self._restores_best and self._position.best_epoch == self._position.epoch:
            self._backend.sync_to_host()
            self._best["best.parameters"][:] = self.network.parameters
            self._best["best.statistics"][:] = self.network.statistics
        return Epoch.from_metrics(
            self._position.epoch,
            training,
            validation,
            learning_rate=None if self._lbfgs else float(self._optimization.rates[-1]),
            gradient_norm=finished.metric_sums[GRADIENT_NORM],
            rows_per_second=len(self._order) / max(finished.training_seconds, 1e-9),
            seconds=finished.epoch_seconds,
        )

    def _check_finite(self, numbers: npt.ArrayLike) -> None:
        if not np.isfinite(numbers).all():
            raise Diverged(
                f"The cost became infinite or NaN in epoch {self._position.epoch + 1}. Usual causes: a learning rate "
                f"that is too large (now {self.spec.learning_rate:g}), or inputs that are not scaled."
            )


class ChunkSizer:
    """Sizes chunks of mini-batches so that each takes about `_CHUNK_SECONDS`, from the speed of the last chunk."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._seconds_per_row = 0.0
        self._batches = 1

    def next_end(self, first: int, rows: int) -> int:
        """Return the end of the chunk that begins at row `first` of `rows`.

        The first chunk is a single mini-batch. Afterwards a chunk has at most four times as many as the one before: the
        speed may be that of an earlier chunk, since a GPU runs behind.
        """
        if self._seconds_per_row:
            batches = max(1, int(_CHUNK_SECONDS / (self._seconds_per_row * self._batch_size)))
            self._batches = min(batches, 4 * self._batches)
        return min(first + self._batches * self._batch_size, rows)

    def record(self, seconds: float, rows: int) -> None:
        """Record the time of a chunk."""
        self._seconds_per_row = max(seconds / rows, 1e-9)
