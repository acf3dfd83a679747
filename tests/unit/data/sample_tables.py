"""Tables in the form in which they are stored: Arrow IPC files with a digest in their names."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from nabla.engine import durable_files


def write_table(directory: Path, columns: Mapping[str, pa.Array], batch_rows: int | None = None) -> Path:
    """Write a table in batches of `batch_rows` rows, or in a single one."""
    directory.mkdir(parents=True, exist_ok=True)
    table = pa.table(dict(columns))

    def write(file: durable_files.Sink) -> None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=batch_rows)
        file.write(sink.getvalue().to_pybytes())

    return durable_files.write_file(directory / "table.arrow", write)
