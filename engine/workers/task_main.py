"""What a process does that carries out errands of the service, one after the other, so that whatever is in them takes
no more than its own memory, and ends no more than its own life.

Started by `Child` as `python -m MODULE DESCRIPTOR BYTES`.
"""

import os
import queue
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from nabla.engine import durable_files
from nabla.engine.data.ingest.ingest import read
from nabla.engine.data.ingest.prediction_rows import write_rows
from nabla.engine.data.ingest.progress import Meter
from nabla.engine.data.ingest_options import Progress, Source
from nabla.engine.data.loading import open_features
from nabla.engine.data.preprocessing import Preprocessor
from nabla.engine.data.profiling import profile
from nabla.engine.data.splitting import split
from nabla.engine.errors import NablaError, TooLarge
from nabla.engine.model_io import model_io
from nabla.engine.training.batch_inference import answers_to_file, predict_to_file
from nabla.engine.training.checkpoint import load_weights
from nabla.engine.training.model import Model
from nabla.engine.workers.ipc import Channel
from nabla.engine.workers.os_process import give_way, give_way_to_answers
from nabla.engine.workers.task_protocol import (
    Advanced,
    AnswersWritten,
    CopiedOut,
    CopyOut,
    Divide,
    Errand,
    Failed,
    FromChild,
    Look,
    Looked,
    Predict,
    Predicted,
    Read,
    ReadRows,
    Result,
    RowsRead,
    Stored,
    TakeIn,
    TakenIn,
    WriteAnswers,
)

Advance = Callable[[Progress], None]
CarryOut = Callable[[Errand, Advance], Result]

# Progress is told so often.
_SECONDS_BETWEEN_SIGNS = 0.2


class _Loop:
    """One errand at a time; a thread of its own listens, so that the end of the service is noticed meanwhile."""

    def __init__(self, channel: Channel[Errand], carry_out: CarryOut) -> None:
        self._channel = channel
        self._carry_out = carry_out
        self._errands: queue.SimpleQueue[Errand] = queue.SimpleQueue()
        self._said_at = 0.0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                self._errands.put(self._channel.receive())
            except (EOFError, OSError):
                os._exit(0)  # the service is gone

    def work(self) -> None:
        """As long as the service lives."""
        while True:
            self._say(self._answer(self._errands.get()))

    def _say(self, message: FromChild) -> None:
        try:
            self._channel.send(message)
        except OSError:
            os._exit(0)

    def _answer(self, errand: Errand) -> FromChild:
        """Everything that can go wrong ends here, as a kind and a sentence."""
        try:
            for folder in errand.folders:
                durable_files.remove_unfinished(folder)  # of a process that died of this errand
            return self._carry_out(errand, self._advanced)
        except NablaError as problem:
            return Failed.because_of(problem)
        except Exception as problem:  # noqa: BLE001  # whatever it is, it ends this errand and not the process
            sys.excepthook(type(problem), problem, problem.__traceback__)  # onto the service's standard error
            return Failed("internal", "The service met an error of its own; its log has the details.")

    def _advanced(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._said_at >= _SECONDS_BETWEEN_SIGNS:
            self._said_at = now
            self._say(Advanced(progress))


def _limit_memory(bytes_more: int) -> None:
    """No more than so much on top of what the process has now. Files that are mapped do not count."""
    now = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData:"))
    most = int(now.split()[1]) * 1024 + bytes_more
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def work(carry_out: CarryOut, give_way: Callable[[], None]) -> None:
    """Carry out errands, as the command line says. `give_way`: lets those go first that do before this process."""
    descriptor, memory = map(int, sys.argv[2:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the service decides
    give_way()
    _limit_memory(memory)
    _Loop(Channel(socket.socket(fileno=descriptor), Errand), carry_out).work()


def _run_file_task(errand: Errand, advanced: Advance) -> Result:
    with suppress(MemoryError):
        return _done(errand, advanced)
    # What took the memory is let go by now, and there is some to say so.
    raise _beyond_memory(errand)


def _done(errand: Errand, advanced: Advance) -> Result:
    match errand:
        case Look(dataset=dataset, folder=folder):
            return Looked(profile(dataset, Path(folder), advanced))
        case Divide(dataset=dataset, folder=folder, parts=parts, seed=seed, stratified=stratified):
            return Stored(split(dataset, Path(folder), parts, seed, stratified, advanced))
        case Read(sources=sources, reading=reading, folder=folder, check=check):
            if check:
                for path in (path for source in sources for path in source.paths):
                    durable_files.check(path)
            return Stored((read(sources, reading, Path(folder), advanced),))
        case TakeIn():
            return _take_in(errand)
        case CopyOut():
            version = model_io.stored(Path(errand.weights), errand.architecture, errand.rule, errand.classes)
            model_io.write(Path(errand.path), version, errand.format)
            return CopiedOut()
        case ReadRows():
            return _read_rows(errand, advanced)
        case WriteAnswers():
            return _write_answers(errand, advanced)
        case _:
            raise NotImplementedError(errand)


def _take_in(errand: TakeIn) -> TakenIn:
    format, network = model_io.read(Path(errand.path), errand.hints, errand.most_parameters)
    columns = None
    if network.preprocessor is not None and network.preprocessor.columns is not None:
        columns = tuple((column.name, column.type) for column in network.preprocessor.columns)
    file = model_io.keep(Path(errand.weights), network).name
    return TakenIn(format, file, network.network.architecture, network.rule, network.classes, columns)


def _read_rows(errand: ReadRows, advanced: Advance) -> RowsRead:
    path = Path(errand.path)
    meter = Meter((Source((path,)),), errand.largest, advanced)
    file = durable_files.hand_over(
        Path(errand.folder),
        lambda sink: write_rows(path, errand.columns, errand.inputs, errand.most_rows, sink, meter),
    )
    return RowsRead(file.name, meter.rows)


def _write_answers(errand: WriteAnswers, advanced: Advance) -> AnswersWritten:
    answers = np.load(errand.outputs, mmap_mode="r")
    file = answers_to_file(
        answers,
        errand.classes,
        errand.probabilities,
        errand.top_k,
        errand.form,
        Path(errand.folder),
        lambda rows: advanced(Progress(rows, len(answers), rows)),
    )
    return AnswersWritten(file.name)


def _beyond_memory(errand: Errand) -> TooLarge:
    match errand:
        case CopyOut():
            message = "Writing this network takes more memory than there is; safetensors takes least of all formats."
            return TooLarge("format", message)
        case TakeIn():
            message = "Reading this network takes more memory than there is; safetensors takes least of all formats."
            return TooLarge("file", message)
        case ReadRows():
            message = "Reading this table takes more memory than there is; hand in fewer rows at once."
            return TooLarge("body", message)
        case WriteAnswers():
            message = "Making this table takes more memory than there is; hand in fewer rows at once, or ask for JSON."
            return TooLarge("body", message)
        case _:
            message = "Reading this takes more memory than there is; hand in less at once, or in another format."
            return TooLarge("file", message)


def _run_prediction_task(errand: Errand, advanced: Advance) -> Result:
    assert isinstance(errand, Predict)
    with suppress(MemoryError):
        return _predict(errand, advanced)
    # What took the memory is let go by now, and there is some to say so.
    raise TooLarge("dataset_id", "Predicting this takes more memory than this service has for it.")


def _predict(errand: Predict, advanced: Advance) -> Predicted:
    rows = errand.dataset.rows

    def done(count: int) -> None:
        advanced(Progress(count, rows, count))

    done(0)
    network, fitted = load_weights(Path(errand.weights), errand.architecture)
    model = Model(network, fitted or Preprocessor.plain(errand.rule))
    columns = model.preprocessor.columns
    features = open_features(errand.dataset, Path(errand.dataset_folder), columns, lambda: done(0))
    path = predict_to_file(
        model, features, errand.classes, errand.format, errand.probabilities, Path(errand.folder), done
    )
    return Predicted(path.name, path.stat().st_size)


if __name__ == "__main__":
    if sys.argv[1] == "predict":
        # Training is what there is always more of, and so is this.
        work(_run_prediction_task, give_way)
    else:
        work(_run_file_task, give_way_to_answers)
