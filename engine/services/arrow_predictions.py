"""Arrow tables in predictions, decoded and encoded in a task process.

PyArrow takes time and memory to load, and a hostile table can only take the memory of that process.
"""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nabla.engine import durable_files
from nabla.engine.data.export import ArrowIpcFormat
from nabla.engine.data.schema import Classes, Column
from nabla.engine.errors import Busy, InvalidInput
from nabla.engine.records import ids
from nabla.engine.storage.data_dir import DataDir
from nabla.engine.training.model import Predictions
from nabla.engine.workers.task_process import ProcessCrashed, TaskProcess
from nabla.engine.workers.tasks.predictions import DecodeArrow, DecodedArrow, EncodeArrow, EncodedArrow

_BODY_FILE, _OUTPUTS_FILE = "body", "outputs.npy"


@dataclass(frozen=True)
class DecodedRows:
    """Raw rows in an open file of float64 (rows, columns), row by row; and columns of the table that are not in it."""

    file: BinaryIO
    rows: int
    unused_columns: tuple[str, ...]


class ArrowCodec:
    """Decodes request bodies and encodes outputs, with a temporary directory for each request.

    Methods may be called from any thread.
    """

    def __init__(self, data_dir: DataDir, task_process: TaskProcess, max_table_bytes: int, max_requests: int) -> None:
        """Create the codec.

        Args:
            data_dir: Where the directories of requests are.
            task_process: Reads and writes the tables.
            max_table_bytes: Maximum size of a table once decompressed.
            max_requests: Maximum number of requests with a directory at the same time.
        """
        self._data_dir = data_dir
        self._task_process = task_process
        self._max_table_bytes = max_table_bytes
        self._max_requests = max_requests
        self._lock = threading.Lock()
        self._open_requests = 0

    def close(self) -> None:
        """Abort the running task and end the process."""
        self._task_process.close()

    def open_request(self) -> Path:
        """Create the directory of a request.

        Raises:
            Busy: The maximum number of requests have one.
            StorageFailed: It could not be created.
        """
        with self._lock:
            if self._open_requests >= self._max_requests:
                raise Busy(f"{self._max_requests} requests with Arrow tables are being processed, the maximum.")
            self._open_requests += 1
        directory = self._data_dir.request_dir(ids.new_id("req_"))
        try:
            with durable_files.storage_errors("a request"):
                directory.mkdir()
        except BaseException:
            self.close_request(directory)
            raise
        return directory

    def close_request(self, directory: Path) -> None:
        """Remove the directory of a request. Files that are open stay readable."""
        with self._lock:
            self._open_requests -= 1
        self._data_dir.remove(directory)

    def append_body(self, directory: Path, block: bytes) -> None:
        """Append a block to the body of a request.

        Raises:
            StorageFailed: It could not be written.
        """
        with durable_files.storage_errors("the body of a request"), (directory / _BODY_FILE).open("ab") as file:
            file.write(block)

    def decode_rows(
        self, directory: Path, columns: tuple[Column, ...] | None, inputs: int, max_rows: int
    ) -> DecodedRows:
        """Decode the body of a request: see `engine.data.ingest.prediction_rows`.

        Raises:
            InvalidInput: The table does not fit the network, or is damaged.
            TooLarge: It has too many rows, or takes too much memory.
            StorageFailed: The rows could not be written.
            Unavailable: The service is stopping.
        """
        body = directory / _BODY_FILE
        if not body.exists():
            raise InvalidInput("body", "There is no data: the body is empty.")
        task = DecodeArrow(str(body), columns, inputs, max_rows, self._max_table_bytes, output_dir=str(directory))
        try:
            decoded = self._task_process.run(directory.name, task, lambda progress: None)
        except ProcessCrashed as error:
            raise InvalidInput("body", f"{error} The table is damaged, or its kind is not supported.") from error
        assert isinstance(decoded, DecodedArrow)
        return DecodedRows(_open(directory / decoded.file), decoded.rows, decoded.unused_columns)

    def encode_outputs(
        self,
        directory: Path,
        outputs: Predictions,
        classes: Classes | None,
        probabilities: bool,
        top_k: int | None,
        ipc_format: ArrowIpcFormat,
    ) -> BinaryIO:
        """Encode outputs as an open file with an Arrow table: see `engine.training.batch_inference`.

        Raises:
            TooLarge: The table takes too much memory.
            StorageFailed: It could not be written.
            Unavailable: The service is stopping.
        """
        path = directory / _OUTPUTS_FILE
        with durable_files.storage_errors("a response"), path.open("wb") as file:
            np.save(file, outputs)
        task = EncodeArrow(str(path), classes, probabilities, top_k, ipc_format, output_dir=str(directory))
        encoded = self._task_process.run(directory.name, task, lambda progress: None)
        assert isinstance(encoded, EncodedArrow)
        return _open(directory / encoded.file)


def _open(path: Path) -> BinaryIO:
    with durable_files.storage_errors("a request"):
        return path.open("rb")
