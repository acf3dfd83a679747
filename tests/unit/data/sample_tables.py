"""Tables as they are stored: Arrow IPC files with a digest in their name."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from nabla.engine import durable_files


def stored_table(folder: Path, columns: Mapping[str, pa.Array], rows_of_batch: int | None = None) -> Path:
    """In batches of so many rows; by default in one."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(dict(columns))

    def write(file: durable_files.Sink) -> None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=rows_of_batch)
        file.write(sink.getvalue().to_pybytes())

    return durable_files.write_file(folder / "table.arrow", write)
