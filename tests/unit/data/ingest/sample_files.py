"""Encoded files for ingest tests, and the datasets that are stored of them."""

import gzip
import io
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet

from nabla.engine.data.dataset import Dataset
from nabla.engine.data.ingest.ingest import ingest_files
from nabla.engine.data.ingest_options import DatasetContent, IngestOptions, Progress, SourceFile


class IngestedDataset:
    """A dataset that was ingested into a directory, and the progress that was reported."""

    def __init__(self, content: DatasetContent, directory: Path, progress: list[Progress]) -> None:
        self.content, self.directory, self.progress = content, directory, progress

    @property
    def table(self) -> pa.Table:
        (path,) = self.directory.glob("table.*.arrow")
        with pa.OSFile(str(path)) as file:
            return pa.ipc.open_file(file).read_all()

    def array(self, name: str) -> npt.NDArray[Any]:
        (path,) = self.directory.glob(f"{name}.*.npy")
        return np.asarray(np.load(path, allow_pickle=False))

    def to_dataset(self) -> Dataset:
        return Dataset.from_content("ds_x", None, datetime.now(UTC), self.content, self.directory)

    @property
    def file_names(self) -> set[str]:
        """Names of the stored files, without digest and suffix."""
        return {path.name.split(".")[0] for path in self.directory.iterdir()}


def ingest(directory: Path, *files: bytes | tuple[str, bytes], **options: Any) -> IngestedDataset:
    """Write files, each given as its content or as a name with it, and ingest them.

    The names of arrays (inputs, targets, labels, weights) are fields; all other files are of the field `file`.
    """
    directory.mkdir(exist_ok=True)
    sources = []
    for number, file in enumerate(files):
        name, content = ("", file) if isinstance(file, bytes) else file
        path = directory / f"{number}"
        path.write_bytes(content)
        field: Any = name if name in ("inputs", "targets", "labels", "weights") else "file"
        sources.append(SourceFile((path,), name, "", field))
    return ingest_sources(directory, sources, **options)


def ingest_sources(directory: Path, sources: Sequence[SourceFile], **options: Any) -> IngestedDataset:
    output = directory / f"stored-{len([*directory.iterdir()])}"
    output.mkdir()
    progress: list[Progress] = []
    content = ingest_files(sources, IngestOptions(**options), output, progress.append)
    return IngestedDataset(content, output, progress)


def write_chunks(directory: Path, content: bytes, size: int) -> SourceFile:
    """Write a file in chunks of `size` bytes."""
    paths = []
    for number, start in enumerate(range(0, len(content), size)):
        paths.append(directory / f"chunk-{number}")
        paths[-1].write_bytes(content[start : start + size])
    return SourceFile(tuple(paths))


def parquet_bytes(table: Mapping[str, Any] | pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pa.parquet.write_table(_to_table(table), file, **options)
    return file.getvalue()


def arrow_bytes(
    table: Mapping[str, Any] | pa.Table,
    *,
    stream: bool = False,
    compression: str | None = None,
    batch_rows: int | None = None,
) -> bytes:
    file = io.BytesIO()
    converted = _to_table(table)
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with new(file, converted.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(converted, batch_rows)
    return file.getvalue()


def csv_bytes(table: Mapping[str, Any] | pa.Table) -> bytes:
    file = io.BytesIO()
    pa.csv.write_csv(_to_table(table), file)
    return file.getvalue()


def _to_table(table: Mapping[str, Any] | pa.Table) -> pa.Table:
    return table if isinstance(table, pa.Table) else pa.table(dict(table))


def npy_bytes(array: npt.ArrayLike) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array), allow_pickle=False)
    return file.getvalue()


def npz_bytes(**arrays: npt.ArrayLike) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **{name: np.asarray(array) for name, array in arrays.items()})
    return file.getvalue()


def idx_bytes(array: npt.NDArray[Any], *, dimensions: Sequence[int] | None = None) -> bytes:
    """Encode an array as IDX. `dimensions`: what the header states instead of the array's shape."""
    types = {"u1": 8, "i1": 9, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
    shape = array.shape if dimensions is None else dimensions
    magic = bytes([0, 0, types[array.dtype.str[1:]], len(shape)])
    return magic + struct.pack(f">{len(shape)}I", *shape) + array.astype(array.dtype.newbyteorder(">")).tobytes()


def gzip_bytes(content: bytes) -> bytes:
    return gzip.compress(content, 1, mtime=0)


def zstd_bytes(content: bytes) -> bytes:
    return bytes(pa.compress(content, "zstd", asbytes=True))


def npy_bytes_with_header(header: str, data: bytes = b"") -> bytes:
    """Return a .npy file with any header."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data
