"""A worker: the process of one slot. Receives a run, drives a Trainer, sends messages, waits for the next.

Started by the executor as `python -m engine.jobs.worker DESCRIPTOR cpu|cuda CORES`.
"""

import os
import queue
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

from engine.data.dataset import open_for_training
from engine.errors import Diverged, InvalidInput, StorageFailed
from engine.jobs.job import ErrorKind
from engine.jobs.messages import (
    Abandon,
    Broken,
    Checkpointed,
    Finished,
    FromWorker,
    Pause,
    Ready,
    Released,
    Run,
    Stop,
    Trained,
    receive_in_worker,
    send,
)
from engine.nn.cuda.failures import is_out_of_memory
from engine.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)
from engine.training.device import Cpu, Cuda, Device
from engine.training.spec import Epoch
from engine.training.trainer import Trainer

# After these a GPU is not trusted to go on as it is.
_UNSOUND: tuple[ErrorKind, ...] = ("out_of_memory", "internal")
# Epochs are reported together, at most so many times a second.
_REPORTS_PER_SECOND = 20


class Worker:
    """One run at a time; a thread of its own listens, so that a word of the service is heard during a long step."""

    def __init__(self, connection: Connection, device: Device) -> None:
        self._connection = connection
        self._device = device
        self._runs: queue.SimpleQueue[Run | Stop] = queue.SimpleQueue()
        self._stopping = threading.Event()
        # The newest attempt of a job that was to be paused or abandoned.
        self._unwanted: Pause | Abandon | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                message = receive_in_worker(self._connection)
            except (EOFError, OSError):
                os._exit(0)  # the service is gone: nobody wants what this process still computes
            match message:
                case Run():
                    self._runs.put(message)
                case Stop():
                    self._stopping.set()
                    self._runs.put(message)
                case Pause() | Abandon():
                    self._unwanted = message

    def _say(self, message: FromWorker) -> None:
        try:
            send(self._connection, message)
        except OSError:
            os._exit(0)

    def work(self) -> None:
        """Until told to stop."""
        self._device.prepare()
        self._say(Ready(self._device.memory_free()))
        while isinstance(run := self._runs.get(), Run):
            outcome = self._attempt(run)
            if outcome is not None:
                self._say(outcome)
            if self._device.kind == "cuda" and isinstance(outcome, Broken) and outcome.kind in _UNSOUND:
                return  # the memory goes back, and the next worker finds a GPU as it should be
            self._device.release()
            self._say(Released(run.job_id, run.attempt, self._device.memory_free()))

    def _attempt(self, run: Run) -> Finished | Broken | None:
        """Everything that can go wrong in a run ends here, as a kind and a sentence."""

        def broken(kind: ErrorKind, message: str) -> Broken:
            return Broken(run.job_id, run.attempt, kind, message)

        try:
            return self._train(run)
        except Diverged as problem:
            return broken("diverged", str(problem))
        except MemoryError:
            return broken("out_of_memory", self._too_little_memory())
        except InvalidInput as problem:
            return broken("invalid_data", str(problem))
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

    def _train(self, run: Run) -> Finished | None:
        trainer = self._prepare(run)
        folder = Path(run.folder)
        pending: list[Epoch] = []
        reported = saved = time.monotonic()

        def report() -> None:
            if pending:
                self._say(Trained(run.job_id, run.attempt, tuple(pending)))
                pending.clear()

        def save() -> None:
            report()  # what a checkpoint contains is known before the checkpoint is
            file = f"{run.job_id}-{run.attempt}-{trainer.position.epoch}-{trainer.position.row}.checkpoint"
            save_checkpoint(folder / file, Checkpoint.of(trainer))
            self._say(Checkpointed(run.job_id, run.attempt, file))

        try:
            for epoch in trainer.run():
                now = time.monotonic()
                if epoch is not None:
                    pending.append(epoch)
                    if now - reported >= 1 / _REPORTS_PER_SECOND:
                        report()
                        reported = now
                unwanted = self._unwanted_now(run)
                if isinstance(unwanted, Abandon):
                    return None
                if unwanted is not None or self._stopping.is_set():
                    save()
                    return None
                if now - saved >= run.checkpoint_seconds:
                    save()
                    saved = time.monotonic()
        finally:
            report()
        file = f"{run.job_id}-{run.attempt}.safetensors"
        save_weights(folder / file, trainer.network)
        assert trainer.position.stopped is not None
        return Finished(run.job_id, run.attempt, file, trainer.position.stopped, trainer.position.best_epoch)

    def _prepare(self, run: Run) -> Trainer:
        architecture = run.architecture
        run.dataset.check_fits(architecture)
        dataset = open_for_training(Path(run.dataset_folder), architecture.outputs, architecture.dtype)
        validation = None
        if run.validation_folder is not None:
            validation = open_for_training(Path(run.validation_folder), architecture.outputs, architecture.dtype)
        trainer = Trainer(
            load_weights(Path(run.weights), architecture),
            dataset,
            run.spec,
            classes=run.dataset.classes,
            validation=validation,
            make_stepper=self._device.stepper_for(architecture, run.spec, run.dataset.rows),
        )
        if run.checkpoint is not None:
            load_checkpoint(Path(run.checkpoint)).restore(trainer)
        return trainer

    def _unwanted_now(self, run: Run) -> Pause | Abandon | None:
        word = self._unwanted
        if word is not None and (word.job_id, word.attempt) == (run.job_id, run.attempt):
            return word
        return None


def main(arguments: list[str]) -> None:
    descriptor, kind, cores = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the service decides
    os.nice(5)  # answering requests goes before training
    Worker(Connection(int(descriptor)), Cuda() if kind == "cuda" else Cpu(int(cores))).work()


if __name__ == "__main__":
    main(sys.argv[1:])
