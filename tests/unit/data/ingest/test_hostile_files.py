"""Hostile files are rejected with a message by a process with limited memory."""

import gzip
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from nabla.engine.data.ingest_options import IngestOptions, SourceFile
from tests.support.sandbox import Sandbox
from tests.unit.data.ingest.sample_files import arrow_bytes, idx_bytes, npy_bytes, npy_bytes_with_header, parquet_bytes

GIB = 2**30


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    started = Sandbox()
    yield started
    started.close()


def _zeros_gzipped(length: int, start: bytes = b"") -> bytes:
    """Repeat one compressed chunk."""
    file = io.BytesIO()
    with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=9) as packed:
        packed.write(start)
    chunk = gzip.compress(b"1,1\n" * 2**22, 9)
    return file.getvalue() + chunk * (length // 2**24)


def _zeros_zstandard(length: int, start: bytes = b"") -> bytes:
    chunk = pa.compress(b"1,1\n" * 2**22, "zstd", asbytes=True)
    return bytes(pa.compress(start, "zstd", asbytes=True) + chunk * (length // 2**24))


def _zip_bomb() -> bytes:
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    header = npy_bytes_with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 1)}")
    body = packed.compress(header) + packed.compress(bytes(2**24)) + packed.flush()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("inputs.npy", body)
        archive.writestr("targets.npy", header)
    # Change the method from stored to deflated; the array header states 4 GiB.
    return file.getvalue().replace(b"\x00\x00\x00\x00\x00\x00", b"\x00\x00\x08\x00\x00\x00")


def _repeated_text(rows: int, length: int) -> pa.Table:
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x" * length]))
    return pa.table({"t": text, "y": np.zeros(rows)})


def _views_of_one_text(rows: int, length: int) -> pa.Array:
    view = np.array([length, 0x78787878, 0, 0], np.int32)
    buffers = [None, pa.py_buffer(np.tile(view, rows)), pa.py_buffer(b"x" * length)]
    return pa.Array.from_buffers(pa.string_view(), rows, buffers)


def _dictionary_of_views(rows: int, length: int) -> pa.Array:
    """Only three values are used; all of them expanded would be 16 GiB."""
    return pa.DictionaryArray.from_arrays(pa.array(np.arange(rows) % 3), _views_of_one_text(rows, length))


def _arrow_with(first: int, second: int) -> bytes:
    """Return a file with a text column with any offsets."""
    valid = arrow_bytes(pa.table({"t": ["x" * 12345], "y": [0.0]}))
    before, offsets, after = valid.rpartition(struct.pack("<2i", 0, 12345))
    assert offsets
    return before + struct.pack("<2i", first, second) + after


def _arrow_index_beyond() -> bytes:
    text = pa.DictionaryArray.from_arrays(pa.array([0, 10**9], pa.int32()), pa.array(["a"]), safe=False)
    return arrow_bytes(pa.table({"t": text, "y": [0.0, 1.0]}))


def _parquet_page_bomb() -> bytes:
    """Return a file of large pages that are well compressed."""
    return parquet_bytes(
        pa.table({"x": np.zeros(2**25), "y": np.zeros(2**25)}),
        compression="zstd",
        use_dictionary=False,
        data_page_size=2**31 - 1,
        row_group_size=2**27,
    )


def _nested(depth: int) -> bytes:
    return b'{"a":' + b"[" * depth + b"]" * depth + b"}\n"


WIDE = b",".join(b"c%d" % column for column in range(1_000_000)) + b"\n"

WIDE_ROWS = WIDE[: WIDE.index(b",c100000")] + b"\n" + b"1," * 99_999 + b"1\n1\n"
TWO_ENCODINGS = b"a,y\n" + "1,é\n".encode() * 2**20 + "1,é\n".encode("latin-1")

HOSTILE: dict[str, tuple[Callable[[], bytes], dict[str, Any], str]] = {
    "gzip bomb as csv": (lambda: _zeros_gzipped(20 * GIB, b"a,y\n"), {}, "accepted"),
    "zstd bomb as csv": (lambda: _zeros_zstandard(20 * GIB, b"a,y\n"), {}, "accepted"),
    "gzip bomb in one line": (lambda: gzip.compress(b"a,y\n" + bytes(2**27).replace(b"\0", b"1")), {}, "longer than"),
    "zip bomb": (_zip_bomb, {}, "at most|damaged"),
    "csv of a million columns": (lambda: WIDE, {}, "1000000 columns; at most 100000"),
    "csv of a hundred thousand columns": (lambda: WIDE_ROWS, {}, "Line 3 has 1 cells"),
    "csv whose last row is ragged": (lambda: b"a,y\n" + b"1,2\n" * 2**20 + b"1\n", {}, f"Line {2**20 + 2} has 1 cells"),
    "csv of two encodings": (lambda: TWO_ENCODINGS, {"label": "y"}, "not UTF-8 text"),
    "csv with a NUL far down": (lambda: b"a,y\n" + b"1,2\n" * 2**23 + b"1,\0\n", {}, "Line 8388610 holds a NUL byte"),
    "csv with nothing but commas": (lambda: b"," * 2**23 + b"\n", {}, "columns; at most"),
    "csv with nothing but quotes": (lambda: b'a,y\n"' + b'""' * 2**24, {}, "longer than|not closed"),
    "csv with nothing but lines in quotes": (lambda: b'a,y\n"' + b"\n" * 2**25, {}, "longer than"),
    "csv of one long cell": (lambda: b"a,y\n" + b"x" * 2**25, {}, "Line 2 is longer than"),
    "csv with duplicate names": (lambda: b"a,b,a\n1,2,3\n", {}, "more than one column 'a'"),
    "empty csv": (lambda: b"", {"format": "csv"}, "no data"),
    "empty parquet": (lambda: b"", {"format": "parquet"}, "no data"),
    "empty arrow": (lambda: b"", {"format": "arrow"}, "no data"),
    "empty file": (lambda: b"", {}, "no data"),
    "nested parquet": (lambda: parquet_bytes({"a": [[1]], "y": [2]}), {}, "'a' holds list"),
    "truncated parquet": (lambda: parquet_bytes({"a": [1], "y": [2]})[:-9], {}, "damaged"),
    "parquet of nothing but magic bytes": (lambda: b"PAR1" * 3, {}, "damaged"),
    "parquet of one repeated text": (lambda: parquet_bytes(_repeated_text(2**20, 2**20)), {}, "accepted|characters"),
    "parquet of large pages": (_parquet_page_bomb, {}, "more memory than is available|accepted"),
    "truncated arrow file": (lambda: arrow_bytes({"a": [1], "y": [2]})[:-9], {}, "damaged"),
    "truncated arrow stream": (lambda: arrow_bytes({"a": [1], "y": [2]}, stream=True)[:-60], {}, "damaged"),
    "arrow of one repeated text": (lambda: arrow_bytes(_repeated_text(2**16, 2**18)), {}, "accepted|characters"),
    "arrow of views of one text": (
        lambda: arrow_bytes({"t": _views_of_one_text(2**16, 2**18), "y": np.zeros(2**16)}),
        {},
        "accepted|characters",
    ),
    "arrow of a dictionary of views": (
        lambda: arrow_bytes({"t": _dictionary_of_views(2**16, 2**18), "y": np.zeros(2**16)}),
        {},
        "accepted|characters",
    ),
    "arrow with offsets out of range": (lambda: _arrow_with(0, 2**30), {}, "damaged"),
    "arrow with decreasing offsets": (lambda: _arrow_with(12345, 0), {}, "damaged"),
    "arrow with an index out of range": (_arrow_index_beyond, {}, "damaged"),
    "arrow with a name that is not UTF-8": (
        lambda: arrow_bytes({"name": [1], "y": [2]}, stream=True).replace(b"name", b"\xac\xac\xac\xac"),
        {},
        "damaged",
    ),
    "arrow stream of exabytes": (lambda: b"\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(100), {}, "damaged|memory"),
    "deeply nested json": (lambda: _nested(400_000), {"format": "json"}, "Expected JSON"),
    "deeply nested ndjson": (lambda: _nested(400_000), {"format": "ndjson"}, "Line 1 is not a JSON object"),
    "json of empty lists": (lambda: b"[" + b"[]," * 2**24 + b"[]]", {"format": "json"}, "not a JSON|memory"),
    "json of long rows": (lambda: b'{"targets":[1],"inputs":[[0' + b",0" * 2**22 + b"]]}", {}, "at most|memory"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_rejected(tmp_path: Path, sandbox: Sandbox, name: str) -> None:
    make, options, message = HOSTILE[name]
    path = tmp_path / "file"
    path.write_bytes(make())
    ingest_options = IngestOptions(**{"target": () if "label" in options else ("y",), "largest": 2**25, **options})
    outcome = sandbox.ingest([SourceFile((path,))], ingest_options)
    assert outcome.kind in ("refused", "too large"), outcome.message
    assert re.search(message, outcome.message), outcome.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            npy_bytes_with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 1000000)}"),
            "at most",
        ),
        (
            npy_bytes_with_header("{'descr': '<f8', 'fortran_order': True, 'shape': (1, 1000)}", bytes(80)),
            "but only 80",
        ),
        (
            npy_bytes_with_header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"cos\nsystem\n."),
            "type object",
        ),
        (
            npy_bytes_with_header("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,)}", bytes(8)),
            "not accepted",
        ),
        (
            npy_bytes_with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (0, 1000000000000000000)}"),
            "no data",
        ),
        (npy_bytes_with_header("(" * 5000), "header cannot be read"),
        (idx_bytes(np.zeros((1, 1), np.uint8), dimensions=(2**32 - 1, 2**20)), "at most"),
        (b"\0\0\x0e\x04" + struct.pack(">4I", *[2**32 - 1] * 4), "at most"),
    ],
)
def test_hostile_array_is_rejected(tmp_path: Path, sandbox: Sandbox, content: bytes, message: str) -> None:
    (tmp_path / "inputs").write_bytes(content)
    (tmp_path / "targets").write_bytes(npy_bytes([1.0]))
    sources = [SourceFile((tmp_path / field,), "", "", field) for field in ("inputs", "targets")]
    outcome = sandbox.ingest(sources, IngestOptions())
    assert outcome.kind in ("refused", "too large"), outcome.message
    assert message in outcome.message
