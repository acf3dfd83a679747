"""Tables in requests for predictions, and in answers to them, read and made by a process of its own: Arrow takes time
and memory to load, and what is in a body takes no more than the process that reads it."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nabla.engine import durable_files
from nabla.engine.data.export import ArrowForm
from nabla.engine.data.ingest_options import Progress
from nabla.engine.data.schema import Column
from nabla.engine.errors import Busy, InvalidInput
from nabla.engine.records import ids
from nabla.engine.storage.data_dir import DataFolder
from nabla.engine.training.model import Answers
from nabla.engine.workers.task_process import Child, Died
from nabla.engine.workers.task_protocol import AnswersWritten, ReadRows, RowsRead, WriteAnswers

_BODY, _OUTPUTS = "body", "outputs.npy"


@dataclass(frozen=True)
class Given:
    """So many raw rows, in an open file of float64 (rows, columns), row by row."""

    file: BinaryIO
    rows: int


class Frames:
    """Methods may be called from any thread. Of each request there is a folder as long as it is carried out."""

    def __init__(self, folder: DataFolder, child: Child, largest: int, most: int) -> None:
        """`largest`: bytes of a table, as it is unpacked; `most`: requests at the same time."""
        self._folder = folder
        self._child = child
        self._largest = largest
        self._most = most
        self._lock = threading.Lock()
        self._begun = 0

    def close(self) -> None:
        """What is asked for is given up."""
        self._child.close()

    def begin(self) -> Path:
        """A request's folder. Raises Busy, StorageFailed."""
        with self._lock:
            if self._begun >= self._most:
                raise Busy(f"{self._most} requests with Arrow tables are carried out already, as many as may be.")
            self._begun += 1
        folder = self._folder.of_request(ids.new_id("req_"))
        try:
            with durable_files.reporting("a request"):
                folder.mkdir()
        except BaseException:
            self.end(folder)
            raise
        return folder

    def end(self, folder: Path) -> None:
        """Nothing is left of it. Whoever has a file of it open may go on reading."""
        with self._lock:
            self._begun -= 1
        self._folder.remove(folder)

    def append(self, folder: Path, part: bytes) -> None:
        """The next part of its body. Raises StorageFailed."""
        with durable_files.reporting("the body of a request"), (folder / _BODY).open("ab") as file:
            file.write(part)

    def read(self, folder: Path, columns: tuple[Column, ...] | None, inputs: int, most_rows: int) -> Given:
        """Its body, which is an Arrow table: see `engine.data.reading.raw_rows`. Raises InvalidInput, TooLarge,
        StorageFailed, Unavailable."""
        body = folder / _BODY
        if not body.exists():
            raise InvalidInput("body", "There is no data: the body is empty.")
        errand = ReadRows(str(body), columns, inputs, most_rows, self._largest, str(folder))
        try:
            read = self._child.carry_out(folder.name, errand, _unheard)
        except Died as problem:
            raise InvalidInput(
                "body", f"{problem} The table is damaged, or made in a way that is not known here."
            ) from problem
        assert isinstance(read, RowsRead)
        return Given(self._opened(folder / read.file), read.rows)

    def write(
        self,
        folder: Path,
        outputs: Answers,
        classes: tuple[str, ...] | None,
        probabilities: bool,
        top_k: int | None,
        form: ArrowForm,
    ) -> BinaryIO:
        """A table of these answers, as an open file: see `engine.training.predicting`. Raises TooLarge, StorageFailed,
        Unavailable."""
        path = folder / _OUTPUTS
        with durable_files.reporting("an answer"), path.open("wb") as file:
            np.save(file, outputs)
        errand = WriteAnswers(str(path), classes, probabilities, top_k, form, str(folder))
        written = self._child.carry_out(folder.name, errand, _unheard)
        assert isinstance(written, AnswersWritten)
        return self._opened(folder / written.file)

    def _opened(self, path: Path) -> BinaryIO:
        with durable_files.reporting("a request"):
            return path.open("rb")


def _unheard(progress: Progress) -> None:
    """Nobody asks how far it is."""
