"""Files of many blocks or batches, which are processed in parallel."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.compute
import pytest

from nabla.engine.data.ingest.formats.byte_stream import (
    LINE_BLOCK_BYTES,
    count_byte,
    end_of_last_line,
    read_line_blocks,
)
from nabla.engine.data.ingest.formats.csv_dialect import find_last_row_end
from nabla.engine.data.ingest_options import IngestOptions, SourceFile
from nabla.engine.errors import InvalidInput
from tests.support.sandbox import Sandbox
from tests.unit.data.ingest.sample_files import arrow_bytes, ingest, parquet_bytes

ROWS = 2**20


def _csv(rows: int, name: str = "red", replaced: dict[int, bytes] | None = None) -> bytes:
    """Return columns i, kind and y. `replaced`: other rows by their index."""
    lines = [b'%d,"%s",%d' % (row, name.encode(), row % 2) for row in range(rows)]
    for row, line in (replaced or {}).items():
        lines[row] = line
    return b"i,kind,y\n" + b"\n".join(lines) + b"\n"


@pytest.mark.parametrize("name", ["red", "one\nline and the next, both quoted"])
def test_rows_keep_their_order(tmp_path: Path, name: str) -> None:
    content = _csv(ROWS, name)
    assert len(content) > 3 * LINE_BLOCK_BYTES
    dataset = ingest(tmp_path, ("a.csv", content), label="y")
    assert np.array_equal(dataset.table["i"], np.arange(ROWS))
    assert pyarrow.compute.unique(dataset.table["kind"]).to_pylist() == [name]
    assert dataset.array("codes").tolist() == [row % 2 for row in range(ROWS)]


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({900_000: b"1,2", 1_000_000: b"1"}, "Line 900002 has 2 cells"),
        ({500_000: b"1,a,\0", 900_000: b"1"}, "Line 500002 holds a NUL byte"),
        ({500_000: b"1", 1_000_000: b"1,a,\0"}, "Line 500002 has 1 cells"),
        ({900_000: b"1,\xff,1", 1_000_000: b"1"}, "not UTF-8 text"),
    ],
)
def test_first_of_several_errors_is_reported(tmp_path: Path, replaced: dict[int, bytes], message: str) -> None:
    before = threading.active_count()
    with pytest.raises(InvalidInput, match=message):
        ingest(tmp_path, ("a.csv", _csv(ROWS, replaced=replaced)), label="y")
    assert threading.active_count() == before


def test_column_type_that_changes_late(tmp_path: Path) -> None:
    dataset = ingest(tmp_path, ("a.csv", _csv(ROWS, replaced={900_000: b"many,red,0"})), label="y", features=("kind",))
    assert dataset.table["i"][899_999:900_002].to_pylist() == ["899999", "many", "900001"]


class _Stream:
    def __init__(self, content: bytes) -> None:
        self._content, self._position = content, 0

    def read(self, size: int, /) -> bytes:
        self._position += size
        return self._content[self._position - size : self._position]


@pytest.mark.parametrize("quotes", [False, True])
@pytest.mark.parametrize("name", ["red", "one\nline", 'with ""quotes""\nin it'])
def test_blocks_state_their_byte_and_line(name: str, quotes: bool) -> None:
    content, byte, line = _csv(ROWS // 4, name), 0, 1
    find_end = partial(find_last_row_end, delimiter=",") if quotes else end_of_last_line
    blocks = list(read_line_blocks(_Stream(content), "file", find_end))
    assert [block.is_last for block in blocks[-2:]] == ([False, True] if len(content) > LINE_BLOCK_BYTES else [True])
    for block in blocks:
        assert (block.byte, block.line) == (byte, line)
        assert block.content.endswith(b"\n")
        assert not quotes or count_byte(block.content, b'"') % 2 == 0
        byte, line = byte + len(block.content), line + block.content.count(b"\n")
    assert b"".join(block.content for block in blocks) == content


@pytest.fixture(scope="module")
def ingest_memory() -> Iterator[Callable[[Path], int]]:
    """Return the memory that ingesting a file takes in a process of its own."""
    sandbox = Sandbox()

    def measure(path: Path) -> int:
        outcome = sandbox.ingest([SourceFile((path,), path.name)], IngestOptions(label="y"))
        assert outcome.kind == "stored", outcome.message
        return outcome.memory_growth

    yield measure
    sandbox.close()


def test_memory_does_not_grow_with_file_size(tmp_path: Path, ingest_memory: Callable[[Path], int]) -> None:
    small, large = tmp_path / "small.csv", tmp_path / "large.csv"
    content = _csv(4 * ROWS)  # 70 MB, and four times that
    small.write_bytes(content)
    with large.open("wb") as file:
        file.write(content)
        for _ in range(3):
            file.write(content.partition(b"\n")[2])
    # How far its threads read ahead varies by some 30 MB between runs.
    assert ingest_memory(large) < ingest_memory(small) + 2**26


@pytest.mark.parametrize("write", [arrow_bytes, parquet_bytes])
@pytest.mark.parametrize("infinite", [("a",), ("d",), ("a", "d"), ("c", "d")])
def test_first_of_several_invalid_columns_is_reported(
    tmp_path: Path, write: Callable[[dict[str, list[float]]], bytes], infinite: tuple[str, ...]
) -> None:
    table = {name: [0.0, np.inf if name in infinite else 1.0] for name in "abcd"} | {"y": [0.0, 1.0]}
    with pytest.raises(InvalidInput, match=f"Row 2, column '{infinite[0]}'"):
        ingest(tmp_path, write(table), target=("y",))
