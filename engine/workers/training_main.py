"""Main program of a training worker, which trains one job at a time on the device of its slot.

Started by the pool as `python -m nabla.engine.workers.training_main cpu|cuda CORES SERVICE DESCRIPTOR`.
"""

import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from nabla.engine.data.loading import OpenDataset, open_for_training, open_raw
from nabla.engine.data.preprocessing import Preprocessor, fit_preprocessor
from nabla.engine.errors import Damaged, Diverged, InvalidInput, OutOfTime, StorageFailed
from nabla.engine.literals import ErrorKind
from nabla.engine.nn.compiled_step import add_compilation_listener
from nabla.engine.nn.cuda.devices import is_out_of_memory
from nabla.engine.training.checkpoint import (
    Checkpoint,
    TrainedClasses,
    load_checkpoint,
    load_classes,
    load_weights,
    save_checkpoint,
    save_snapshot,
    save_weights,
)
from nabla.engine.training.data_split import split_rows
from nabla.engine.training.devices import CpuDevice, CudaDevice, Device
from nabla.engine.training.state import Epoch
from nabla.engine.training.trainer import Trainer
from nabla.engine.workers.ipc import ServiceConnection
from nabla.engine.workers.os_process import die_with_parent, ignore_interrupts, prioritize_as_background
from nabla.engine.workers.training_protocol import (
    AttemptMessage,
    Cancel,
    CheckpointDamaged,
    CheckpointSaved,
    Compiling,
    Done,
    EpochsTrained,
    Heartbeat,
    JobFailed,
    LearningRateSet,
    Pause,
    Ready,
    Released,
    SetLearningRate,
    Shutdown,
    SnapshotFailed,
    SnapshotTaken,
    TakeSnapshot,
    TrainingInput,
    WorkerCommand,
    WorkerEvent,
)

# A GPU is not reused in the same process after one of these.
_FATAL_ON_GPU: tuple[ErrorKind, ...] = ("out_of_memory", "internal")
# Epochs are reported in groups: while a report is journaled, a request may wait for a core.
_REPORT_INTERVAL = 0.2
# How often progress is reported within a long epoch.
_HEARTBEAT_INTERVAL = 1.0

Send = Callable[[WorkerEvent], None]


class CheckpointError(Exception):
    """The checkpoint to continue from is damaged; an older one may not be."""


class PreparedRun(NamedTuple):
    """A trainer at the position to train from, the fitted preprocessor of its data, and the classes of its outputs."""

    trainer: Trainer
    preprocessor: Preprocessor
    classes: TrainedClasses


def prepare_run(training_input: TrainingInput, device: Device) -> PreparedRun:
    """Prepare the run of a job.

    Preprocessor and classes are those of the checkpoint or the weights to start from. Weights that were only
    initialized have none; then the preprocessor is fitted to the training rows, and the classes are the dataset's.

    Raises:
        CheckpointError: The checkpoint to continue from is damaged.
        Damaged: Another file is damaged.
        InvalidInput: The data do not fit the network.
    """
    architecture = training_input.architecture
    weights = Path(training_input.weights)
    network, fitted = load_weights(weights, architecture)
    checkpoint = _load_start(training_input)
    if checkpoint is not None:
        fitted = checkpoint.preprocessor
    classes = (load_classes(weights) if checkpoint is None else checkpoint.classes) or training_input.dataset.classes
    dataset, preprocessor = _open_dataset(training_input, fitted, classes)
    validation = None
    if training_input.validation is not None and training_input.validation_dir is not None:
        validation = open_for_training(
            training_input.validation,
            Path(training_input.validation_dir),
            architecture.outputs,
            architecture.dtype,
            preprocessor,
            classes,
        )
    trainer = Trainer(
        network,
        dataset,
        training_input.spec,
        classes=classes,
        validation=validation,
        make_backend=device.backend_for(architecture, training_input.spec, training_input.dataset.rows),
    )
    if checkpoint is not None and training_input.checkpoint is not None:
        try:
            checkpoint.restore(trainer)
        except Damaged as error:
            raise CheckpointError(str(error)) from error
    elif checkpoint is not None:
        checkpoint.warm_start(trainer)
    return PreparedRun(trainer, preprocessor, classes)


def _load_start(training_input: TrainingInput) -> Checkpoint | None:
    """Load the job's own checkpoint, else the one of another job to start from, if any."""
    if training_input.checkpoint is not None:
        try:
            return load_checkpoint(Path(training_input.checkpoint))
        except Damaged as error:
            raise CheckpointError(str(error)) from error
    if training_input.initial_checkpoint is not None:
        return load_checkpoint(Path(training_input.initial_checkpoint))
    return None


def _open_dataset(
    training_input: TrainingInput, fitted: Preprocessor | None, classes: TrainedClasses
) -> tuple[OpenDataset, Preprocessor]:
    """Open the training data with the fitted preprocessor, or with one that is fitted to the training rows."""
    architecture, dataset = training_input.architecture, training_input.dataset
    if fitted is not None:
        fitted.check_columns(dataset.features, for_training=True)
    columns = None if fitted is None else fitted.columns
    dataset.check_fits(architecture, training_input.preprocessing, columns, classes)
    raw = open_raw(dataset, Path(training_input.dataset_dir), columns, classes)
    if fitted is None:
        training_rows, _ = split_rows(raw.features.rows, raw.codes, training_input.spec)
        fitted = fit_preprocessor(training_input.preprocessing, raw.features, raw.targets, training_rows)
    return raw.preprocess(fitted, architecture.outputs, architecture.dtype), fitted


class TrainingWorker:
    """Trains one job after the other, and carries out commands about the current one between two chunks of steps."""

    def __init__(self, descriptor: int, device: Device) -> None:
        """Connect to the service over the inherited socket `descriptor`, to train on `device`."""
        self._device = device
        self._inputs: queue.SimpleQueue[TrainingInput | Shutdown] = queue.SimpleQueue()
        self._shutting_down = threading.Event()
        self._requests: queue.SimpleQueue[SetLearningRate | TakeSnapshot] = queue.SimpleQueue()
        self._in_background = False
        self._compiling: TrainingInput | None = None
        add_compilation_listener(self._report_compiling)
        # The newest command to end an attempt.
        self._end_command: Pause | Cancel | None = None
        self._connection: ServiceConnection[WorkerCommand] = ServiceConnection(
            descriptor, WorkerCommand, self._on_command
        )

    def run(self) -> None:
        """Train until the service sends Shutdown."""
        self._device.compile()
        self._send(Ready(self._device.free_memory_bytes()))
        while isinstance(training_input := self._inputs.get(), TrainingInput):
            outcome = self._run_attempt(training_input)
            if outcome is not None:
                self._send(outcome)
            is_gpu = self._device.kind == "cuda"
            if is_gpu and isinstance(outcome, JobFailed) and outcome.kind in _FATAL_ON_GPU:
                return  # exiting frees its memory, and the next worker starts on a GPU in a known state
            self._device.release_memory()
            self._send(Released(training_input.job_id, training_input.attempt, self._device.free_memory_bytes()))

    def _report_compiling(self) -> None:
        if self._compiling is not None:
            self._send(Compiling(self._compiling.job_id, self._compiling.attempt))

    def _on_command(self, command: WorkerCommand) -> None:
        match command:
            case TrainingInput():
                self._inputs.put(command)
            case Shutdown():
                self._shutting_down.set()
                self._inputs.put(command)
            case Pause() | Cancel():
                self._end_command = command
            case SetLearningRate() | TakeSnapshot():
                self._requests.put(command)

    def _send(self, event: WorkerEvent) -> None:
        self._connection.send(event)

    def _run_attempt(self, training_input: TrainingInput) -> Done | JobFailed | CheckpointDamaged | None:
        """Train, and turn every error into a message; None if the attempt was paused, cancelled or shut down."""
        job_id, attempt = training_input.job_id, training_input.attempt

        def failed(kind: ErrorKind, message: str) -> JobFailed:
            return JobFailed(job_id, attempt, kind, message)

        try:
            return self._train(training_input)
        except Diverged as error:
            return failed("diverged", str(error))
        except OutOfTime as error:
            return failed("out_of_time", str(error))
        except MemoryError:
            return failed("out_of_memory", self._out_of_memory())
        except InvalidInput as error:
            return failed("invalid_data", str(error))
        except CheckpointError as error:
            return CheckpointDamaged(job_id, attempt, str(error))
        except Damaged as error:
            return failed("damaged_data", str(error))
        except StorageFailed as error:
            return failed("storage_failed", str(error))
        except Exception as error:  # noqa: BLE001  # any error ends this job, and not the worker
            if is_out_of_memory(error):
                return failed("out_of_memory", self._out_of_memory())
            sys.excepthook(type(error), error, error.__traceback__)  # to the service's standard error
            return failed("internal", "Internal error; the log of the service has the details.")

    def _out_of_memory(self) -> str:
        memory = "GPU memory" if self._device.kind == "cuda" else "memory"
        return f"The job needs more {memory} than is free; try a smaller batch_size."

    def _train(self, training_input: TrainingInput) -> Done | None:
        run = prepare_run(training_input, self._device)
        trainer = run.trainer
        self._compiling = training_input
        trainer.compile()
        self._compiling = None
        if not self._in_background:
            # Only now: beside a busy neighbour, the first job would compile for minutes.
            prioritize_as_background()
            self._in_background = True
        reporter = _RunReporter(training_input, run, self._send)
        try:
            for epoch in trainer.run():
                reporter.add(epoch)
                self._handle_requests(training_input, trainer, reporter)
                command = self._end_command_for(training_input)
                if isinstance(command, Cancel):
                    return None
                if command is not None or self._shutting_down.is_set():
                    reporter.save_checkpoint()
                    return None
                reporter.save_checkpoint_if_due(epoch)
        finally:
            reporter.flush()
        path = Path(training_input.output_dir) / f"{training_input.job_id}-{training_input.attempt}.safetensors"
        file = save_weights(path, trainer.network, run.preprocessor, run.classes).name
        position = trainer.position
        assert position.stop_reason is not None
        return Done(training_input.job_id, training_input.attempt, file, position.stop_reason, position.best_epoch)

    def _handle_requests(self, training_input: TrainingInput, trainer: Trainer, reporter: "_RunReporter") -> None:
        while not self._requests.empty():
            request = self._requests.get()
            if not _is_for(request, training_input):
                continue
            reporter.flush()  # the reply refers to these epochs
            if isinstance(request, TakeSnapshot):
                reporter.take_snapshot()
            else:
                epoch = trainer.change_learning_rate(request.learning_rate)
                job_id, attempt = training_input.job_id, training_input.attempt
                self._send(LearningRateSet(job_id, attempt, request.learning_rate, epoch))

    def _end_command_for(self, training_input: TrainingInput) -> Pause | Cancel | None:
        command = self._end_command
        return command if command is not None and _is_for(command, training_input) else None


def _is_for(command: AttemptMessage, training_input: TrainingInput) -> bool:
    """Return whether a command is about this attempt; one about an older attempt is obsolete."""
    return (command.job_id, command.attempt) == (training_input.job_id, training_input.attempt)


class _RunReporter:
    """Reports the progress of one attempt, and saves its checkpoints and snapshots."""

    def __init__(self, training_input: TrainingInput, run: PreparedRun, send: Send) -> None:
        self._input = training_input
        self._attempt = (training_input.job_id, training_input.attempt)
        self._output_dir = Path(training_input.output_dir)
        self._trainer, self._preprocessor, self._classes = run
        self._send = send
        self._pending: list[Epoch] = []
        self._reported_at = self._saved_at = time.monotonic()

    def add(self, epoch: Epoch | None) -> None:
        """Note that an epoch, or for None a part of one, has ended; report when it is time."""
        elapsed = time.monotonic() - self._reported_at
        if epoch is not None:
            self._pending.append(epoch)
            if elapsed >= _REPORT_INTERVAL:
                self.flush()
        elif elapsed >= _HEARTBEAT_INTERVAL:
            self._send(Heartbeat(*self._attempt))
            self._reported_at = time.monotonic()

    def flush(self) -> None:
        """Report the epochs that have not been reported yet."""
        if self._pending:
            self._send(EpochsTrained(*self._attempt, tuple(self._pending)))
            self._pending.clear()
            self._reported_at = time.monotonic()

    def take_snapshot(self) -> None:
        """Write the current weights. A failure is reported and does not end training."""
        epoch = self._trainer.position.epoch
        weights = self._trainer.current_network
        try:
            file = save_snapshot(self._output_dir, weights, self._preprocessor, self._classes)
        except (StorageFailed, MemoryError) as error:
            self._send(SnapshotFailed(*self._attempt, str(error)))
        else:
            self._send(SnapshotTaken(*self._attempt, file.name, epoch))

    def save_checkpoint_if_due(self, epoch: Epoch | None) -> None:
        """Save a checkpoint if one is due. `epoch`: the one that just ended, if one did."""
        rule = self._input.checkpointing
        due_by_epochs = rule.epochs is not None and epoch is not None and epoch.epoch % rule.epochs == 0
        if due_by_epochs or time.monotonic() - self._saved_at >= rule.seconds:
            self.save_checkpoint()

    def save_checkpoint(self) -> None:
        """Save a checkpoint; the epochs in it are reported before it is."""
        self.flush()
        position = self._trainer.position
        job_id, attempt = self._attempt
        path = self._output_dir / f"{job_id}-{attempt}-{position.epoch}-{position.row}.checkpoint"
        checkpoint = Checkpoint.capture(self._trainer, self._preprocessor, self._classes)
        file = save_checkpoint(path, checkpoint)
        self._send(CheckpointSaved(job_id, attempt, file.name, file.stat().st_size))
        self._saved_at = time.monotonic()


def main(arguments: list[str]) -> None:
    """Run a worker as the command line says."""
    kind, cores, service, descriptor = arguments
    ignore_interrupts()
    # A worker that is stopped does not notice a closed channel. The thread of the pool, its parent, lives as long as
    # the service.
    die_with_parent(int(service), signal.SIGKILL)
    TrainingWorker(int(descriptor), CudaDevice() if kind == "cuda" else CpuDevice(int(cores))).run()


if __name__ == "__main__":
    main(sys.argv[1:])
