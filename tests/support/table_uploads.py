"""Tables written and uploaded in every format that the service accepts: files, rows in JSON, and frames of a client."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from nabla.app.client import Client, Dataset

FILE_FORMATS = ("csv", "ndjson", "json", "parquet", "arrow")
UPLOAD_FORMATS = (*FILE_FORMATS, "rows", "pandas", "polars")

Table = Mapping[str, Sequence[Any]]


def write_table(directory: Path, upload_format: str, table: Table) -> Path:
    """Write a table as a file of the format, and return its path."""
    path = directory / f"table.{upload_format}"
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    match upload_format:
        case "csv":
            text = io.StringIO(newline="")
            csv.writer(text).writerows([[*table], *zip(*table.values(), strict=True)])
            path.write_text(text.getvalue(), encoding="utf-8", newline="")
        case "ndjson":
            path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        case "json":
            path.write_text(json.dumps(rows))
        case "parquet":
            pa.parquet.write_table(pa.table(dict(table)), path)
        case "arrow":
            with pa.ipc.new_file(path, pa.table(dict(table)).schema) as writer:
                writer.write_table(pa.table(dict(table)))
        case _:
            raise ValueError(upload_format)
    return path


def upload_table(client: Client, directory: Path, upload_format: str, table: Table, **options: Any) -> Dataset:
    """Create a dataset from a table in one of UPLOAD_FORMATS."""
    match upload_format:
        case "rows":
            rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
            return client.create_dataset(rows=rows, **options)
        case "pandas" | "polars":
            return client.upload(import_module(upload_format).DataFrame(dict(table)), **options)
        case _:
            return client.upload(write_table(directory, upload_format, table), **options)
