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

from engine.data.preparation import Preparation
from engine.errors import Damaged, Diverged, InvalidInput, StorageFailed
from engine.jobs import messages
from engine.jobs.beginnings import CheckpointDamaged, begin
from engine.jobs.channel import Channel
from engine.jobs.priority import give_way
from engine.names import ErrorKind
from engine.nn.cuda.failures import is_out_of_memory
from engine.parent import end_with
from engine.training.checkpoint import Checkpoint, save_checkpoint, save_snapshot, save_weights
from engine.training.device import Cpu, Cuda, Device
from engine.training.epoch import Epoch
from engine.training.trainer import Trainer

# After these a GPU is not trusted to go on as it is.
_UNSOUND: tuple[ErrorKind, ...] = ("out_of_memory", "internal")
# Epochs are reported together, at most so many times a second: while one is journaled, an answer may wait for a core.
_REPORTS_PER_SECOND = 5
# During an epoch that takes long, a sign of life comes so often.
_SECONDS_BETWEEN_SIGNS = 1.0


class Worker:
    """One run at a time; a thread of its own listens, so that a word of the service is heard during a long step."""

    def __init__(self, channel: Channel[messages.ToWorker], device: Device) -> None:
        self._channel = channel
        self._device = device
        self._runs: queue.SimpleQueue[messages.Run | messages.Stop] = queue.SimpleQueue()
        self._stopping = threading.Event()
        # What is asked of a run that goes on.
        self._asked: queue.SimpleQueue[messages.Adjust | messages.TakeSnapshot] = queue.SimpleQueue()
        # The newest word about a run that was to be paused or abandoned.
        self._unwanted: messages.Pause | messages.Abandon | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                message = self._channel.receive()
            except (EOFError, OSError):
                os._exit(0)  # the service is gone: nobody wants what this process still computes
            match message:
                case messages.Run():
                    self._runs.put(message)
                case messages.Stop():
                    self._stopping.set()
                    self._runs.put(message)
                case messages.Pause() | messages.Abandon():
                    self._unwanted = message
                case messages.Adjust() | messages.TakeSnapshot():
                    self._asked.put(message)

    def _say(self, message: messages.FromWorker) -> None:
        try:
            self._channel.send(message)
        except OSError:
            os._exit(0)

    def work(self) -> None:
        """Until told to stop."""
        self._device.prepare()
        give_way()  # only now: nobody can train before this is compiled
        self._say(messages.Ready(self._device.memory_free()))
        while isinstance(run := self._runs.get(), messages.Run):
            outcome = self._attempt(run)
            if outcome is not None:
                self._say(outcome)
            if self._device.kind == "cuda" and isinstance(outcome, messages.Broken) and outcome.kind in _UNSOUND:
                return  # the memory goes back, and the next worker finds a GPU as it should be
            self._device.release()
            self._say(messages.Released(run.job_id, run.attempt, self._device.memory_free()))

    def _attempt(self, run: messages.Run) -> messages.Finished | messages.Broken | messages.CheckpointDamaged | None:
        """Everything that can go wrong in a run ends here, as a kind and a sentence."""

        def broken(kind: ErrorKind, message: str) -> messages.Broken:
            return messages.Broken(run.job_id, run.attempt, kind, message)

        try:
            return self._train(run)
        except Diverged as problem:
            return broken("diverged", str(problem))
        except MemoryError:
            return broken("out_of_memory", self._too_little_memory())
        except InvalidInput as problem:
            return broken("invalid_data", str(problem))
        except CheckpointDamaged as problem:
            return messages.CheckpointDamaged(run.job_id, run.attempt, str(problem))
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

    def _train(self, run: messages.Run) -> messages.Finished | None:
        trainer, preparation = begin(run, self._device)
        record = _Record(run, trainer, preparation, self._say)
        try:
            for epoch in trainer.run():
                record.note(epoch)
                self._do_as_asked(run, trainer, record)
                unwanted = self._unwanted_now(run)
                if isinstance(unwanted, messages.Abandon):
                    return None
                if unwanted is not None or self._stopping.is_set():
                    record.save()
                    return None
                record.save_if_due(epoch)
        finally:
            record.report()
        path = Path(run.folder) / f"{run.job_id}-{run.attempt}.safetensors"
        file = save_weights(path, trainer.network, preparation, run.dataset.classes).name
        position = trainer.position
        assert position.stopped is not None
        return messages.Finished(run.job_id, run.attempt, file, position.stopped, position.best_epoch)

    def _do_as_asked(self, run: messages.Run, trainer: Trainer, record: "_Record") -> None:
        while not self._asked.empty():
            word = self._asked.get()
            if not _is_about(word, run):
                continue
            record.report()  # what the answer speaks of is known before
            if isinstance(word, messages.TakeSnapshot):
                record.take_snapshot()
            else:
                epoch = trainer.change_rate(word.learning_rate)
                self._say(messages.Adjusted(run.job_id, run.attempt, word.learning_rate, epoch))

    def _unwanted_now(self, run: messages.Run) -> messages.Pause | messages.Abandon | None:
        word = self._unwanted
        return word if word is not None and _is_about(word, run) else None


def _is_about(word: messages.OfAttempt, run: messages.Run) -> bool:
    """What is said about an older attempt is too late."""
    return (word.job_id, word.attempt) == (run.job_id, run.attempt)


class _Record:
    """What a run tells of itself, and what it saves."""

    def __init__(
        self,
        run: messages.Run,
        trainer: Trainer,
        preparation: Preparation,
        say: Callable[[messages.FromWorker], None],
    ) -> None:
        self._run = run
        self._trainer = trainer
        self._preparation = preparation
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
            self._say(messages.Progressing(self._run.job_id, self._run.attempt))
            self._reported = now

    def report(self) -> None:
        if self._pending:
            self._say(messages.Trained(self._run.job_id, self._run.attempt, tuple(self._pending)))
            self._pending.clear()
            self._reported = time.monotonic()

    def take_snapshot(self) -> None:
        """Whatever comes in between: the run does not suffer from being looked at."""
        run, epoch = self._run, self._trainer.position.epoch
        weights = self._trainer.trained_so_far
        try:
            file = save_snapshot(Path(run.folder), weights, self._preparation, run.dataset.classes)
        except (StorageFailed, MemoryError) as problem:
            self._say(messages.SnapshotFailed(run.job_id, run.attempt, str(problem)))
        else:
            self._say(messages.SnapshotTaken(run.job_id, run.attempt, file.name, epoch))

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
        self._say(messages.Checkpointed(self._run.job_id, self._run.attempt, file.name, file.stat().st_size))
        self._saved = time.monotonic()


def main(arguments: list[str]) -> None:
    descriptor, kind, cores = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the service decides
    # A worker that is stopped does not see that its service is gone (whose thread that started it lives as long).
    end_with(os.getppid(), signal.SIGKILL)
    channel = messages.channel_to_service(socket.socket(fileno=int(descriptor)))
    Worker(channel, Cuda() if kind == "cuda" else Cpu(int(cores))).work()


if __name__ == "__main__":
    main(sys.argv[1:])
