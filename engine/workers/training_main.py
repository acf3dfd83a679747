"""A worker: the process of one slot. Receives a run, drives a Trainer, sends messages, waits for the next.

Started by the executor as `python -m engine.jobs.worker DESCRIPTOR cpu|cuda CORES`.
"""

import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from nabla.engine.data.loading import OpenDataset, open_for_training, open_raw
from nabla.engine.data.preprocessing import Preprocessor, fit
from nabla.engine.errors import Damaged, Diverged, InvalidInput, StorageFailed
from nabla.engine.literals import ErrorKind
from nabla.engine.nn.cuda.devices import is_out_of_memory
from nabla.engine.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_snapshot,
    save_weights,
)
from nabla.engine.training.data_split import divide
from nabla.engine.training.devices import Cpu, Cuda, Device
from nabla.engine.training.state import Epoch
from nabla.engine.training.trainer import Trainer
from nabla.engine.workers import training_protocol
from nabla.engine.workers.ipc import Channel
from nabla.engine.workers.os_process import end_with, give_way


class CheckpointDamaged(Exception):
    """The run may go on from an older one."""


def begin(run: training_protocol.Run, device: Device) -> tuple[Trainer, Preprocessor]:
    """A trainer where the run is to go on, and what its data are prepared by: what was fitted before, where it
    does not begin with weights that were only drawn."""
    architecture = run.architecture
    network, fitted = load_weights(Path(run.weights), architecture)
    saved = _saved(run)
    dataset, preprocessor = _opened(run, fitted if saved is None else saved.preprocessor)
    validation = None
    if run.validation is not None and run.validation_folder is not None:
        validation = open_for_training(
            run.validation, Path(run.validation_folder), architecture.outputs, architecture.dtype, preprocessor
        )
    trainer = Trainer(
        network,
        dataset,
        run.spec,
        classes=run.dataset.classes,
        validation=validation,
        make_stepper=device.stepper_for(architecture, run.spec, run.dataset.rows),
    )
    if saved is not None and run.checkpoint is not None:
        try:
            saved.restore(trainer)
        except Damaged as problem:
            raise CheckpointDamaged(str(problem)) from problem
    elif saved is not None:
        saved.begin(trainer)
    return trainer, preprocessor


def _saved(run: training_protocol.Run) -> Checkpoint | None:
    """The checkpoint to go on from, or to begin with."""
    if run.checkpoint is not None:
        try:
            return load_checkpoint(Path(run.checkpoint))
        except Damaged as problem:
            raise CheckpointDamaged(str(problem)) from problem
    return None if run.begin_with is None else load_checkpoint(Path(run.begin_with))


def _opened(run: training_protocol.Run, fitted: Preprocessor | None) -> tuple[OpenDataset, Preprocessor]:
    """The data prepared by what was fitted, or by what is found in the rows that are trained on."""
    architecture = run.architecture
    if fitted is not None:
        fitted.check_columns(run.dataset.features)
    columns = None if fitted is None else fitted.columns
    run.dataset.check_fits(architecture, run.preprocessing, columns)
    raw = open_raw(run.dataset, Path(run.dataset_folder), columns)
    if fitted is None:
        training, _ = divide(raw.features.rows, raw.codes, run.spec)
        fitted = fit(run.preprocessing, raw.features, raw.targets, training)
    return raw.prepared(fitted, architecture.outputs, architecture.dtype), fitted


# After these a GPU is not trusted to go on as it is.
_UNSOUND: tuple[ErrorKind, ...] = ("out_of_memory", "internal")
# Epochs are reported together, at most so many times a second: while one is journaled, an answer may wait for a core.
_REPORTS_PER_SECOND = 5
# During an epoch that takes long, a sign of life comes so often.
_SECONDS_BETWEEN_SIGNS = 1.0


class Worker:
    """One run at a time; a thread of its own listens, so that a word of the service is heard during a long step."""

    def __init__(self, channel: Channel[training_protocol.ToWorker], device: Device) -> None:
        self._channel = channel
        self._device = device
        self._runs: queue.SimpleQueue[training_protocol.Run | training_protocol.Stop] = queue.SimpleQueue()
        self._stopping = threading.Event()
        # What is asked of a run that goes on.
        self._asked: queue.SimpleQueue[training_protocol.Adjust | training_protocol.TakeSnapshot] = queue.SimpleQueue()
        # The newest word about a run that was to be paused or abandoned.
        self._unwanted: training_protocol.Pause | training_protocol.Abandon | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                message = self._channel.receive()
            except (EOFError, OSError):
                os._exit(0)  # the service is gone: nobody wants what this process still computes
            match message:
                case training_protocol.Run():
                    self._runs.put(message)
                case training_protocol.Stop():
                    self._stopping.set()
                    self._runs.put(message)
                case training_protocol.Pause() | training_protocol.Abandon():
                    self._unwanted = message
                case training_protocol.Adjust() | training_protocol.TakeSnapshot():
                    self._asked.put(message)

    def _say(self, message: training_protocol.FromWorker) -> None:
        try:
            self._channel.send(message)
        except OSError:
            os._exit(0)

    def work(self) -> None:
        """Until told to stop."""
        self._device.prepare()
        give_way()  # only now: nobody can train before this is compiled
        self._say(training_protocol.Ready(self._device.memory_free()))
        while isinstance(run := self._runs.get(), training_protocol.Run):
            outcome = self._attempt(run)
            if outcome is not None:
                self._say(outcome)
            if (
                self._device.kind == "cuda"
                and isinstance(outcome, training_protocol.Broken)
                and outcome.kind in _UNSOUND
            ):
                return  # the memory goes back, and the next worker finds a GPU as it should be
            self._device.release()
            self._say(training_protocol.Released(run.job_id, run.attempt, self._device.memory_free()))

    def _attempt(
        self, run: training_protocol.Run
    ) -> training_protocol.Finished | training_protocol.Broken | training_protocol.CheckpointDamaged | None:
        """Everything that can go wrong in a run ends here, as a kind and a sentence."""

        def broken(kind: ErrorKind, message: str) -> training_protocol.Broken:
            return training_protocol.Broken(run.job_id, run.attempt, kind, message)

        try:
            return self._train(run)
        except Diverged as problem:
            return broken("diverged", str(problem))
        except MemoryError:
            return broken("out_of_memory", self._too_little_memory())
        except InvalidInput as problem:
            return broken("invalid_data", str(problem))
        except CheckpointDamaged as problem:
            return training_protocol.CheckpointDamaged(run.job_id, run.attempt, str(problem))
        except Damaged as problem:
            return broken("damaged_data", str(problem))
        except StorageFailed as problem:
            return broken("storage_failed", str(problem))
        except Exception as problem:  # noqa: BLE001  # whatever it is, it ends this run and not the worker
            if is_out_of_memory(problem):
                return broken("out_of_memory", self._too_little_memory())
            sys.excepthook(type(problem), problem, problem.__traceback__)  # onto the service's standard error
            return broken("internal", "The run met an error of the service; its log has the details.")

    def _too_little_memory(self) -> str:
        whose = "memory of the GPU" if self._device.kind == "cuda" else "memory"
        return f"The run needs more {whose} than is free; try a smaller batch_size."

    def _train(self, run: training_protocol.Run) -> training_protocol.Finished | None:
        trainer, preprocessor = begin(run, self._device)
        record = _Record(run, trainer, preprocessor, self._say)
        try:
            for epoch in trainer.run():
                record.note(epoch)
                self._do_as_asked(run, trainer, record)
                unwanted = self._unwanted_now(run)
                if isinstance(unwanted, training_protocol.Abandon):
                    return None
                if unwanted is not None or self._stopping.is_set():
                    record.save()
                    return None
                record.save_if_due(epoch)
        finally:
            record.report()
        path = Path(run.folder) / f"{run.job_id}-{run.attempt}.safetensors"
        file = save_weights(path, trainer.network, preprocessor, run.dataset.classes).name
        position = trainer.position
        assert position.stopped is not None
        return training_protocol.Finished(run.job_id, run.attempt, file, position.stopped, position.best_epoch)

    def _do_as_asked(self, run: training_protocol.Run, trainer: Trainer, record: "_Record") -> None:
        while not self._asked.empty():
            word = self._asked.get()
            if not _is_about(word, run):
                continue
            record.report()  # what the answer speaks of is known before
            if isinstance(word, training_protocol.TakeSnapshot):
                record.take_snapshot()
            else:
                epoch = trainer.change_rate(word.learning_rate)
                self._say(training_protocol.Adjusted(run.job_id, run.attempt, word.learning_rate, epoch))

    def _unwanted_now(self, run: training_protocol.Run) -> training_protocol.Pause | training_protocol.Abandon | None:
        word = self._unwanted
        return word if word is not None and _is_about(word, run) else None


def _is_about(word: training_protocol.OfAttempt, run: training_protocol.Run) -> bool:
    """What is said about an older attempt is too late."""
    return (word.job_id, word.attempt) == (run.job_id, run.attempt)


class _Record:
    """What a run tells of itself, and what it saves."""

    def __init__(
        self,
        run: training_protocol.Run,
        trainer: Trainer,
        preprocessor: Preprocessor,
        say: Callable[[training_protocol.FromWorker], None],
    ) -> None:
        self._run = run
        self._trainer = trainer
        self._preparation = preprocessor
        self._say = say
        self._pending: list[Epoch] = []
        self._reported = self._saved = time.monotonic()

    def note(self, epoch: Epoch | None) -> None:
        """An epoch ended, or a part of one."""
        now = time.monotonic()
        if epoch is not None:
            self._pending.append(epoch)
            if now - self._reported >= 1 / _REPORTS_PER_SECOND:
                self.report()
        elif now - self._reported >= _SECONDS_BETWEEN_SIGNS:
            self._say(training_protocol.Progressing(self._run.job_id, self._run.attempt))
            self._reported = now

    def report(self) -> None:
        if self._pending:
            self._say(training_protocol.Trained(self._run.job_id, self._run.attempt, tuple(self._pending)))
            self._pending.clear()
            self._reported = time.monotonic()

    def take_snapshot(self) -> None:
        """Whatever comes in between: the run does not suffer from being looked at."""
        run, epoch = self._run, self._trainer.position.epoch
        weights = self._trainer.trained_so_far
        try:
            file = save_snapshot(Path(run.folder), weights, self._preparation, run.dataset.classes)
        except (StorageFailed, MemoryError) as problem:
            self._say(training_protocol.SnapshotFailed(run.job_id, run.attempt, str(problem)))
        else:
            self._say(training_protocol.SnapshotTaken(run.job_id, run.attempt, file.name, epoch))

    def save_if_due(self, epoch: Epoch | None) -> None:
        """`epoch`: the one that just ended."""
        rule = self._run.checkpointing
        by_epochs = rule.epochs is not None and epoch is not None and epoch.epoch % rule.epochs == 0
        if by_epochs or time.monotonic() - self._saved >= rule.seconds:
            self.save()

    def save(self) -> None:
        self.report()  # what a checkpoint contains is known before the checkpoint is
        position = self._trainer.position
        name = f"{self._run.job_id}-{self._run.attempt}-{position.epoch}-{position.row}.checkpoint"
        checkpoint = Checkpoint.of(self._trainer, self._preparation, self._run.dataset.classes)
        file = save_checkpoint(Path(self._run.folder) / name, checkpoint)
        self._say(training_protocol.Checkpointed(self._run.job_id, self._run.attempt, file.name, file.stat().st_size))
        self._saved = time.monotonic()


def main(arguments: list[str]) -> None:
    descriptor, kind, cores = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the service decides
    # A worker that is stopped does not see that its service is gone (whose thread that started it lives as long).
    end_with(os.getppid(), signal.SIGKILL)
    channel = training_protocol.channel_to_service(socket.socket(fileno=int(descriptor)))
    Worker(channel, Cuda() if kind == "cuda" else Cpu(int(cores))).work()


if __name__ == "__main__":
    main(sys.argv[1:])
