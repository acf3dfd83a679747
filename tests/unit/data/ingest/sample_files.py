"""Real files for tests of reading, and what is stored of them."""

import gzip
import io
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet

from nabla.engine.data.ingest.ingest import read
from nabla.engine.data.ingest_options import Content, Progress, Reading, Source


class Stored:
    """What was read into a folder."""

    def __init__(self, content: Content, folder: Path, told: list[Progress]) -> None:
        self.content, self.folder, self.told = content, folder, told

    @property
    def table(self) -> pa.Table:
        (path,) = self.folder.glob("table.*.arrow")
        with pa.OSFile(str(path)) as file:
            return pa.ipc.open_file(file).read_all()

    def array(self, name: str) -> npt.NDArray[Any]:
        (path,) = self.folder.glob(f"{name}.*.npy")
        return np.asarray(np.load(path, allow_pickle=False))

    @property
    def names(self) -> set[str]:
        return {path.name.split(".")[0] for path in self.folder.iterdir()}


def stored(place: Path, *files: bytes | tuple[str, bytes], **reading: Any) -> Stored:
    """What is read from files, each a name and a content; those without a suffix are fields."""
    place.mkdir(exist_ok=True)
    sources = []
    for number, file in enumerate(files):
        name, content = ("", file) if isinstance(file, bytes) else file
        path = place / f"{number}"
        path.write_bytes(content)
        field: Any = name if name in ("inputs", "targets", "labels", "weights") else "file"
        sources.append(Source((path,), name, "", field))
    return of(place, sources, **reading)


def of(place: Path, sources: Sequence[Source], **reading: Any) -> Stored:
    folder = place / f"stored-{len([*place.iterdir()])}"
    folder.mkdir()
    told: list[Progress] = []
    return Stored(read(sources, Reading(**reading), folder, told.append), folder, told)


def parquet(table: Mapping[str, Any] | pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pa.parquet.write_table(_table(table), file, **options)
    return file.getvalue()


def arrow(
    table: Mapping[str, Any] | pa.Table,
    *,
    stream: bool = False,
    compression: str | None = None,
    rows_of_batch: int | None = None,
) -> bytes:
    file = io.BytesIO()
    made = _table(table)
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with new(file, made.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(made, rows_of_batch)
    return file.getvalue()


def csv(table: Mapping[str, Any] | pa.Table) -> bytes:
    file = io.BytesIO()
    pa.csv.write_csv(_table(table), file)
    return file.getvalue()


def _table(table: Mapping[str, Any] | pa.Table) -> pa.Table:
    return table if isinstance(table, pa.Table) else pa.table(dict(table))


def npy(array: npt.ArrayLike) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array), allow_pickle=False)
    return file.getvalue()


def npz(**arrays: npt.ArrayLike) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **{name: np.asarray(array) for name, array in arrays.items()})
    return file.getvalue()


def idx(array: npt.NDArray[Any], *, claiming: Sequence[int] | None = None) -> bytes:
    """`claiming`: dimensions to announce instead of those that it has."""
    types = {"u1": 8, "i1": 9, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
    shape = array.shape if claiming is None else claiming
    magic = bytes([0, 0, types[array.dtype.str[1:]], len(shape)])
    return magic + struct.pack(f">{len(shape)}I", *shape) + array.astype(array.dtype.newbyteorder(">")).tobytes()


def gz(content: bytes) -> bytes:
    return gzip.compress(content, 1, mtime=0)


def zst(content: bytes) -> bytes:
    return bytes(pa.compress(content, "zstd", asbytes=True))


def npy_claiming(header: str, data: bytes = b"") -> bytes:
    """A .npy file whose header says what it likes."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data
