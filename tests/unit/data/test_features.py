"""Raw inputs from stored files and from requests."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from nabla.engine import durable_files
from nabla.engine.data.features import MISSING_CODE, UNKNOWN_CODE, ArrayFeatures
from nabla.engine.data.request_rows import parse_matrix, parse_records, parse_rows
from nabla.engine.data.schema import Column
from nabla.engine.data.table_features import TableFeatures
from nabla.engine.errors import Damaged, InvalidInput
from tests.unit.data.sample_tables import write_table

COLUMNS = (
    Column("job", "category", ("clerk", "cook")),
    Column("age", "number"),
    Column("member", "boolean"),
    Column("since", "date"),
)
TABLE = {
    "ignored": pa.array(["x"] * 5),
    "age": pa.array([31, None, 40, 2, 7]),
    "member": pa.array([True, False, None, True, False]),
    "job": pa.array(["cook", "clerk", None, "diver", "cook"]),
    "since": pa.array([date(1970, 1, 2), None, date(1969, 12, 31), date(2024, 5, 31), date(1970, 1, 1)]),
}
EXPECTED = (
    [1, 0, MISSING_CODE, UNKNOWN_CODE, 1],
    [31, np.nan, 40, 2, 7],
    [1, 0, np.nan, 1, 0],
    [1, np.nan, -1, 19874, 0],
)


@pytest.mark.parametrize("batch_rows", [None, 1, 2])
def test_table_rows_are_read_in_any_blocks(tmp_path: Path, batch_rows: int | None) -> None:
    features = TableFeatures(write_table(tmp_path, TABLE, batch_rows), COLUMNS)
    assert (features.rows, features.inputs) == (5, 5)
    for rows in ([0, 1, 2, 3, 4], [1, 3], [4], [], [2, 3]):
        arrays = features.read(np.array(rows, np.int64))
        assert [array.dtype.name for array in arrays] == ["int32", "float64", "float64", "float64"]
        for array, expected in zip(arrays, EXPECTED, strict=True):
            np.testing.assert_array_equal(array, np.array(expected, array.dtype)[rows])
    (ages,) = features.select_column(1).read(np.arange(5))
    np.testing.assert_array_equal(ages, EXPECTED[1])


@pytest.mark.parametrize(
    ("stored", "type_", "expected"),
    [
        (pa.array([1, 2, None], pa.uint8()), "number", [1, 2, np.nan]),
        (pa.array([1.5, np.nan, np.inf], pa.float32()), "number", [1.5, np.nan, np.inf]),
        (pa.array([2**60 + 1, None, 3], pa.int64()), "number", [2.0**60, np.nan, 3]),
        (pa.array([datetime(1970, 1, 1, 12), None], pa.timestamp("us")), "date", [0.5, np.nan]),
        (pa.array([datetime(1970, 1, 3, 6, tzinfo=UTC)], pa.timestamp("s", "UTC")), "date", [2.25]),
        (pa.array([date(1969, 12, 31)], pa.date64()), "date", [-1]),
        (pa.array([1, 0, None], pa.int8()), "boolean", [1, 0, np.nan]),
        (pa.array(["b", None, "c", "a"]).dictionary_encode(), "category", [1, MISSING_CODE, UNKNOWN_CODE, 0]),
        (pa.array(["a", "b"], pa.large_string()), "category", [0, 1]),
    ],
)
def test_arrow_types_are_decoded(tmp_path: Path, stored: pa.Array, type_: Any, expected: list[float]) -> None:
    column = Column("c", type_, ("a", "b") if type_ == "category" else ())
    features = TableFeatures(write_table(tmp_path, {"c": stored}), (column,))
    (values,) = features.read(np.arange(len(stored)))
    np.testing.assert_array_equal(values, expected)


def test_integer_and_boolean_categories_match_in_files_and_requests(tmp_path: Path) -> None:
    table = {"code": pa.array([10, 2, None]), "flag": pa.array([True, False, None])}
    columns = (Column("code", "category", ("2", "10")), Column("flag", "category", ("false", "true")))
    code, flag = TableFeatures(write_table(tmp_path, table), columns).read(np.arange(3))
    assert (code.tolist(), flag.tolist()) == ([1, 0, MISSING_CODE], [1, 0, MISSING_CODE])
    native: list[list[Any]] = [[10, True], [2.0, False], [None, None]]
    text: list[list[Any]] = [["10", "true"], ["2", "false"], [None, None]]
    for rows in (native, text):
        parsed = parse_rows(rows, columns, "inputs")
        assert [array.tolist() for array in parsed] == [code.tolist(), flag.tolist()]


def test_unreadable_or_incomplete_tables_are_damaged(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match="cannot be read"):
        TableFeatures(durable_files.write_file(tmp_path / "table.arrow", lambda file: file.write(b"no table")), COLUMNS)
    with pytest.raises(Damaged, match="cannot be read"):
        TableFeatures(write_table(tmp_path, {"age": pa.array([1])}), COLUMNS)


def test_matrix_rows_are_read_in_any_blocks() -> None:
    matrix = np.arange(12, dtype=np.int16).reshape(4, 3)
    features = ArrayFeatures(matrix)
    assert (features.rows, features.inputs, features.columns) == (4, 3, None)
    for rows in ([0, 1, 2, 3], [1, 2], [0, 3], []):
        np.testing.assert_array_equal(features.read(np.array(rows, np.int64)), matrix[rows])


ROWS: list[list[Any]] = [
    ["cook", 31, True, "1970-01-02"],
    ["clerk", None, False, None],
    [None, 40.0, None, "1969-12-31"],
    ["diver", 2, True, "2024-05-31T00:00:00Z"],
    ["cook", 7, False, "1970-01-01T02:00+02:00"],
]


def test_request_rows_equal_stored_rows() -> None:
    names = [column.name for column in COLUMNS]
    for arrays in (
        parse_rows(ROWS, COLUMNS, "inputs"),
        parse_records([dict(zip(names, row, strict=True)) for row in ROWS], COLUMNS, "rows"),
    ):
        for array, expected in zip(arrays, EXPECTED, strict=True):
            np.testing.assert_array_equal(array, expected)
    assert parse_matrix([[1, 2.5], [3, 4]], 2, "inputs").tolist() == [[1, 2.5], [3, 4]]


ROW: dict[str, Any] = {"job": "cook", "age": 1, "member": True, "since": "2024-05-31"}


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"age": "young"}, "rows.1.age", "A finite number is expected, not 'young'"),
        ({"age": float("nan")}, "rows.1.age", "not nan"),
        ({"age": 10**400}, "rows.1.age", "A finite number"),
        ({"age": [1]}, "rows.1.age", r"not \[1\]"),
        ({"member": 2}, "rows.1.member", "true or false is expected, not 2"),
        ({"member": "maybe"}, "rows.1.member", "true or false is expected, not 'maybe'"),
        ({"since": 3}, "rows.1.since", "2024-05-31"),
        ({"since": "yesterday"}, "rows.1.since", "not 'yesterday'"),
        ({"age": ...}, "rows.1.age", "missing; send null"),
    ],
)
def test_invalid_records_are_rejected(change: dict[str, Any], field: str, message: str) -> None:
    row = {name: value for name, value in {**ROW, **change}.items() if value is not ...}
    with pytest.raises(InvalidInput, match=message) as rejected:
        parse_records([ROW, row], COLUMNS, "rows")
    assert rejected.value.problems[0][0] == field


@pytest.mark.parametrize(
    ("rows", "field", "message"),
    [
        ([[1, 2], [1]], "inputs.1", "1 numbers; the network has 2"),
        ([[1, "2"]], "inputs.0.1", "not '2'"),
        ([[1, None]], "inputs.0.1", "not null"),
        ([[False, 1]], "inputs.0.0", "not false"),
        ([[1, float("inf")]], "inputs.0.1", "finite"),
        ([[10**400, 1]], "inputs.0.0", "finite"),
    ],
)
def test_invalid_matrix_rows_are_rejected(rows: list[list[Any]], field: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as rejected:
        parse_matrix(rows, 2, "inputs")
    assert rejected.value.problems[0][0] == field


def test_invalid_rows_are_rejected() -> None:
    with pytest.raises(InvalidInput, match="3 values; the columns are job, age, member, since") as rejected:
        parse_rows([["cook", 1, True]], COLUMNS, "inputs")
    assert rejected.value.problems[0][0] == "inputs.0"
    with pytest.raises(InvalidInput) as rejected:
        parse_rows([["cook", 1, True, None], ["cook", "one", True, None]], COLUMNS, "inputs")
    assert rejected.value.problems[0][0] == "inputs.1.1"
