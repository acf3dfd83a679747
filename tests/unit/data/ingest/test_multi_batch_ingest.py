"""Text of many blocks, which are parsed beside each other."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.compute
import pytest

from nabla.engine.data.ingest.formats.csv import BLOCK, blocks, count, last_end, last_newline
from nabla.engine.data.ingest_options import Reading, Source
from nabla.engine.errors import InvalidInput
from tests.support.task_process import ReadingChild
from tests.unit.data.ingest.sample_files import arrow, parquet, stored

ROWS = 2**20


def _csv(rows: int, name: str = "red", odd: dict[int, bytes] | None = None) -> bytes:
    """Columns i, kind and y; `odd`: whole rows that are otherwise, by their number from 0."""
    lines = [b'%d,"%s",%d' % (row, name.encode(), row % 2) for row in range(rows)]
    for row, line in (odd or {}).items():
        lines[row] = line
    return b"i,kind,y\n" + b"\n".join(lines) + b"\n"


@pytest.mark.parametrize("name", ["red", "one\nline and the next, both quoted"])
def test_rows_stay_in_order(tmp_path: Path, name: str) -> None:
    content = _csv(ROWS, name)
    assert len(content) > 3 * BLOCK
    found = stored(tmp_path, ("a.csv", content), label="y")
    assert np.array_equal(found.table["i"], np.arange(ROWS))
    assert pyarrow.compute.unique(found.table["kind"]).to_pylist() == [name]
    assert found.array("codes").tolist() == [row % 2 for row in range(ROWS)]


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        ({900_000: b"1,2", 1_000_000: b"1"}, "Line 900002 has 2 cells"),
        ({500_000: b"1,a,\0", 900_000: b"1"}, "Line 500002 holds a NUL byte"),
        ({500_000: b"1", 1_000_000: b"1,a,\0"}, "Line 500002 has 1 cells"),
        ({900_000: b"1,\xff,1", 1_000_000: b"1"}, "not UTF-8 text"),
    ],
)
def test_the_first_of_several_errors_is_told(tmp_path: Path, odd: dict[int, bytes], words: str) -> None:
    before = threading.active_count()
    with pytest.raises(InvalidInput, match=words):
        stored(tmp_path, ("a.csv", _csv(ROWS, odd=odd)), label="y")
    assert threading.active_count() == before


def test_a_type_that_changes_late(tmp_path: Path) -> None:
    found = stored(tmp_path, ("a.csv", _csv(ROWS, odd={900_000: b"many,red,0"})), label="y", features=("kind",))
    assert found.table["i"][899_999:900_002].to_pylist() == ["899999", "many", "900001"]


class _Stream:
    def __init__(self, content: bytes) -> None:
        self._content, self._place = content, 0

    def read(self, amount: int, /) -> bytes:
        self._place += amount
        return self._content[self._place - amount : self._place]


@pytest.mark.parametrize("quotes", [False, True])
@pytest.mark.parametrize("name", ["red", "one\nline", 'with ""quotes""\nin it'])
def test_blocks_say_where_they_begin(name: str, quotes: bool) -> None:
    content, byte, line = _csv(ROWS // 4, name), 0, 1
    ends = partial(last_end, delimiter=",") if quotes else last_newline
    found = list(blocks(_Stream(content), "file", ends))
    assert [block.last for block in found[-2:]] == ([False, True] if len(content) > BLOCK else [True])
    for block in found:
        assert (block.byte, block.line) == (byte, line)
        assert block.content.endswith(b"\n")
        assert not quotes or count(block.content, b'"') % 2 == 0
        byte, line = byte + len(block.content), line + block.content.count(b"\n")
    assert b"".join(block.content for block in found) == content


@pytest.fixture(scope="module")
def read_apart() -> Iterator[Callable[[Path], int]]:
    child = ReadingChild()

    def read(path: Path) -> int:
        outcome = child.read([Source((path,), path.name)], Reading(label="y"))
        assert outcome.kind == "stored", outcome.sentence
        return outcome.bytes_more

    yield read
    child.close()


def test_memory_does_not_grow_with_the_file(tmp_path: Path, read_apart: Callable[[Path], int]) -> None:
    small, large = tmp_path / "small.csv", tmp_path / "large.csv"
    content = _csv(4 * ROWS)  # of some 70 MB, and four times that
    small.write_bytes(content)
    with large.open("wb") as file:
        file.write(content)
        for _ in range(3):
            file.write(content.partition(b"\n")[2])
    # How far its threads are ahead of each other differs by some 30 MB between runs.
    assert read_apart(large) < read_apart(small) + 2**26


@pytest.mark.parametrize("write", [arrow, parquet])
@pytest.mark.parametrize("odd", [("a",), ("d",), ("a", "d"), ("c", "d")])
def test_of_columns_seen_beside_each_other_the_first_is_told(
    tmp_path: Path, write: Callable[[dict[str, list[float]]], bytes], odd: tuple[str, ...]
) -> None:
    table = {name: [0.0, np.inf if name in odd else 1.0] for name in "abcd"} | {"y": [0.0, 1.0]}
    with pytest.raises(InvalidInput, match=f"Row 2, column '{odd[0]}'"):
        stored(tmp_path, write(table), target=("y",))
