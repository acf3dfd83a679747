"""Files that were made to do harm: each gets a sentence, in a process whose memory is bounded."""

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

from nabla.engine.data.ingest_options import Reading, Source
from tests.support.task_process import ReadingChild
from tests.unit.data.ingest.sample_files import arrow, idx, npy, npy_claiming, parquet

GIB = 2**30


@pytest.fixture(scope="module")
def child() -> Iterator[ReadingChild]:
    started = ReadingChild()
    yield started
    started.close()


def _zeros_gzipped(length: int, start: bytes = b"") -> bytes:
    """Most of it compressed once, and then repeated."""
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
    header = npy_claiming("{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 1)}")
    body = packed.compress(header) + packed.compress(bytes(2**24)) + packed.flush()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("inputs.npy", body)
        archive.writestr("targets.npy", header)
    # The member says that it is deflated, and that it is as long as its header announces.
    return file.getvalue().replace(b"\x00\x00\x00\x00\x00\x00", b"\x00\x00\x08\x00\x00\x00")


def _one_text_many_times(rows: int, length: int) -> pa.Table:
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x" * length]))
    return pa.table({"t": text, "y": np.zeros(rows)})


def _views_of_one_text(rows: int, length: int) -> pa.Array:
    view = np.array([length, 0x78787878, 0, 0], np.int32)
    buffers = [None, pa.py_buffer(np.tile(view, rows)), pa.py_buffer(b"x" * length)]
    return pa.Array.from_buffers(pa.string_view(), rows, buffers)


def _dictionary_of_views(rows: int, length: int) -> pa.Array:
    """Few are asked for; all of them written out would be without bounds."""
    return pa.DictionaryArray.from_arrays(pa.array(np.arange(rows) % 3), _views_of_one_text(rows, length))


def _arrow_with(first: int, second: int) -> bytes:
    """A text whose offsets say what they like."""
    valid = arrow(pa.table({"t": ["x" * 12345], "y": [0.0]}))
    before, offsets, after = valid.rpartition(struct.pack("<2i", 0, 12345))
    assert offsets
    return before + struct.pack("<2i", first, second) + after


def _arrow_index_beyond() -> bytes:
    text = pa.DictionaryArray.from_arrays(pa.array([0, 10**9], pa.int32()), pa.array(["a"]), safe=False)
    return arrow(pa.table({"t": text, "y": [0.0, 1.0]}))


def _parquet_page_bomb() -> bytes:
    """Pages that say they are small and that are not need another writer; these are large and packed well."""
    return parquet(
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
    "csv with duplicate names": (lambda: b"a,b,a\n1,2,3\n", {}, "more than one column called 'a'"),
    "nothing as csv": (lambda: b"", {"format": "csv"}, "no data"),
    "nothing as parquet": (lambda: b"", {"format": "parquet"}, "no data"),
    "nothing as arrow": (lambda: b"", {"format": "arrow"}, "no data"),
    "nothing": (lambda: b"", {}, "no data"),
    "nested parquet": (lambda: parquet({"a": [[1]], "y": [2]}), {}, "'a' holds list"),
    "cut parquet": (lambda: parquet({"a": [1], "y": [2]})[:-9], {}, "damaged"),
    "parquet that is only magic": (lambda: b"PAR1" * 3, {}, "damaged"),
    "parquet of one text many times": (lambda: parquet(_one_text_many_times(2**20, 2**20)), {}, "accepted|characters"),
    "parquet of large pages": (_parquet_page_bomb, {}, "more memory than there is|accepted"),
    "cut arrow file": (lambda: arrow({"a": [1], "y": [2]})[:-9], {}, "damaged"),
    "cut arrow stream": (lambda: arrow({"a": [1], "y": [2]}, stream=True)[:-60], {}, "damaged"),
    "arrow of one text many times": (lambda: arrow(_one_text_many_times(2**16, 2**18)), {}, "accepted|characters"),
    "arrow of views of one text": (
        lambda: arrow({"t": _views_of_one_text(2**16, 2**18), "y": np.zeros(2**16)}),
        {},
        "accepted|characters",
    ),
    "arrow of a dictionary of views": (
        lambda: arrow({"t": _dictionary_of_views(2**16, 2**18), "y": np.zeros(2**16)}),
        {},
        "accepted|characters",
    ),
    "arrow with offsets out of range": (lambda: _arrow_with(0, 2**30), {}, "damaged"),
    "arrow with offsets that fall": (lambda: _arrow_with(12345, 0), {}, "damaged"),
    "arrow with an index out of range": (_arrow_index_beyond, {}, "damaged"),
    "arrow with a name that is not UTF-8": (
        lambda: arrow({"name": [1], "y": [2]}, stream=True).replace(b"name", b"\xac\xac\xac\xac"),
        {},
        "damaged",
    ),
    "arrow stream of exabytes": (lambda: b"\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(100), {}, "damaged|memory"),
    "json nested beyond measure": (lambda: _nested(400_000), {"format": "json"}, "Expected JSON"),
    "ndjson nested beyond measure": (lambda: _nested(400_000), {"format": "ndjson"}, "Line 1 is not a JSON object"),
    "json of empty lists": (lambda: b"[" + b"[]," * 2**24 + b"[]]", {"format": "json"}, "not a JSON|memory"),
    "json of long rows": (lambda: b'{"targets":[1],"inputs":[[0' + b",0" * 2**22 + b"]]}", {}, "at most|memory"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_get_a_sentence(tmp_path: Path, child: ReadingChild, name: str) -> None:
    make, reading, words = HOSTILE[name]
    path = tmp_path / "file"
    path.write_bytes(make())
    asked = Reading(**{"target": () if "label" in reading else ("y",), "largest": 2**25, **reading})
    outcome = child.read([Source((path,))], asked)
    assert outcome.kind in ("refused", "too large"), outcome.sentence
    assert re.search(words, outcome.sentence), outcome.sentence


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (npy_claiming("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 1000000)}"), "at most"),
        (npy_claiming("{'descr': '<f8', 'fortran_order': True, 'shape': (1, 1000)}", bytes(80)), "but only 80"),
        (npy_claiming("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"cos\nsystem\n."), "type object"),
        (npy_claiming("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,)}", bytes(8)), "not accepted"),
        (npy_claiming("{'descr': '<f8', 'fortran_order': False, 'shape': (0, 1000000000000000000)}"), "no data"),
        (npy_claiming("(" * 5000), "header cannot be read"),
        (idx(np.zeros((1, 1), np.uint8), claiming=(2**32 - 1, 2**20)), "at most"),
        (b"\0\0\x0e\x04" + struct.pack(">4I", *[2**32 - 1] * 4), "at most"),
    ],
)
def test_hostile_arrays_get_a_sentence(tmp_path: Path, child: ReadingChild, content: bytes, words: str) -> None:
    (tmp_path / "inputs").write_bytes(content)
    (tmp_path / "targets").write_bytes(npy([1.0]))
    sources = [Source((tmp_path / field,), "", "", field) for field in ("inputs", "targets")]
    outcome = child.read(sources, Reading())
    assert outcome.kind in ("refused", "too large"), outcome.sentence
    assert words in outcome.sentence
