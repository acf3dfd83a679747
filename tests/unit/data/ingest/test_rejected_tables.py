"""Tables that are rejected, each with the field, what was found and what is accepted."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from nabla.engine.errors import InvalidInput
from tests.unit.data.ingest.sample_files import (
    arrow_bytes,
    ingest,
    parquet_bytes,
)


@pytest.mark.parametrize(
    ("content", "options", "field", "message"),
    [
        (b"", {"target": ("a",)}, "file", "no data"),
        (b"\n\n", {"target": ("a",)}, "file", "no data"),
        (b"a,b\n", {"target": ("a",)}, "file", "no data"),
        (b"a,b\n1,2\n3\n", {"target": ("a",)}, "file", "Line 3 has 1 cells; the table has 2"),
        (b"a,b\n1,2\n\n3,4,5\n", {"target": ("a",)}, "file", "Line 4 has 3 cells; the table has 2"),
        (b'a,b\n1,"x\ny"\n3\n', {"target": ("a",)}, "file", "Line 4 has 1 cells"),
        (b"a,b\n1,2\n3,4\n5\n6,7\n8,9\n", {"target": ("a",), "cleaning": "auto"}, "file", "Line 4 has 1 cells"),
        (
            b"a,b\n1,2,\n3,4,\n5,6,\n",
            {"target": ("a",), "cleaning": "auto"},
            "file",
            "Line 2 has 3 cells.*needs a name",
        ),
        (
            b"a,b\n1,2\n3,x\n",
            {"target": ("b",)},
            "target",
            r"'b' holds text such as 'x' \(row 2\); numbers are expected",
        ),
        (b"a,b\n1,2\n3,\n", {"target": ("b",)}, "file", "'b' has no value in row 2. Targets, labels and weights must"),
        (b"a,b\n1,nan\n2,3", {"target": ("b",)}, "file", "'b' has no value in row 1"),
        (b"a,b\n1,\n2,x", {"label": "b"}, "file", "'b' has no value in row 1"),
        (b"a,b,w\n1,2,\n", {"target": ("b",), "weight": "w"}, "file", "'w' has no value in row 1"),
        (b"a,b\n1,inf\n", {"target": ("b",)}, "file", "Row 1, column 'b': the value is infinite"),
        (b"a,b\n1,1\n-inf,1\n", {"target": ("b",)}, "file", "Row 2, column 'a': the value is infinite"),
        (
            b"a,b\n,1\n1,1\n" + b",1\n" * 7,
            {"target": ("b",)},
            "file",
            "in rows 1, 3, 4, 5, 6 and 3 more. Set imputation",
        ),
        (b"a,b\n1,2\n", {}, "target", "Name the columns to learn"),
        (b"a,b\n1,2\n", {"target": ("a",), "label": "b"}, "target", "Name the columns to learn"),
        (b"a,b\n1,2\n", {"target": ("c",)}, "target", "no column 'c'. The columns are: a, b."),
        (b"a,b\n1,2\n", {"target": ("b", "b")}, "target", "'b' is named twice"),
        (b"a,b\n1,2\n", {"label": "c"}, "label", "no column 'c'"),
        (b"a,b\n1,2\n", {"target": ("a",), "weight": "w"}, "weight", "no column 'w'. The columns are: a, b"),
        (b"a,b\n1,2\n", {"target": ("a",), "features": ("x",)}, "features", "no column 'x'"),
        (b"a,b\n1,2\n", {"target": ("a",), "features": ("a",)}, "features", "'a' is a target, the label or the weight"),
        (b"a,b\n1,2\n", {"target": ("a",), "features": ()}, "features", "No column is left"),
        (b"a,b\n1,2\n", {"target": ("a",), "types": {"x": "date"}}, "types", "no column 'x'"),
        (b"a,b\n1,2\n", {"target": ("a",), "types": {"a": "date"}}, "types.a", "Types are for features"),
        (
            b"a,b,c\n1,2,3\n",
            {"target": ("a",), "features": ("b",), "types": {"c": "date"}},
            "types.c",
            "is not a feature",
        ),
        (b"a,b\n1,2\n", {"target": ("a",), "types": {"b": "date"}}, "types.b", "not dates"),
        (b"a,b\n1,2020-01-01\n", {"target": ("a",), "types": {"b": "number"}}, "types.b", "holds dates"),
        (b"a,b\n1,2020-01-01\n", {"target": ("a",)}, "file", 'holds dates. .*types={"b": "date"}'),
        (
            b"a,b\n1,k\n",
            {"target": ("a",), "types": {"b": "date"}},
            "file",
            "Row 1, column 'b': the value is 'k'; a date",
        ),
        (b"a,b\n1,0\n1,2\n", {"target": ("a",), "types": {"b": "boolean"}}, "file", "Row 2, .* true or false is"),
        (b"a,b\n1,k\n", {"target": ("a",), "types": {"b": "boolean"}}, "file", "Row 1, .* true or false is"),
        (
            b"a,b\n1,2\n3,k\n",
            {"target": ("a",), "types": {"b": "number"}},
            "types.b",
            r"'b' holds text such as 'k' \(row 2\); numbers are expected",
        ),
        (b"a,b\n1,2\n", {"target": ("a",), "imputation": {"x": "mean"}}, "imputation", "no column 'x'"),
        (
            b"a,b\n1,k\n",
            {"target": ("a",), "imputation": {"b": "mean"}},
            "imputation.b",
            "is a category and has no mean",
        ),
        (b"a,b\n1,k\n", {"target": ("a",), "imputation": {"b": "constant"}}, "constants.b", "State the constant"),
        (b"a,b\n1,k\n", {"target": ("a",), "constants": {"b": "k"}}, "constants.b", "needs the imputation constant"),
        (b"a,b\n1,k\n", {"target": ("a",), "constants": {"x": "k"}}, "constants", "no column 'x'"),
        (
            b"a,b\n1,2\n",
            {"target": ("a",), "imputation": "constant", "constants": {"b": "k"}},
            "constants.b",
            "holds numbers; the constant is 'k'",
        ),
        (
            b"a,b\n1,true\n",
            {"target": ("a",), "imputation": "constant", "constants": {"b": "k"}},
            "constants.b",
            "true and false; the constant is 'k'",
        ),
        (
            b"a,b\n1,2020-01-01\n",
            {"target": ("a",), "types": {"b": "date"}, "imputation": "constant", "constants": {"b": "k"}},
            "constants.b",
            "Expected a date",
        ),
        (b"a,b\n1,\n", {"target": ("a",), "imputation": "constant"}, "file", "'b' has no value in row 1"),
        (b"a,a,b\n1,2,3\n", {"target": ("a",)}, "file", "more than one column 'a'"),
        (b"a,,b\n1,2,3\n", {"target": ("a",)}, "file", "Column 2 has no name"),
        (b"a\n1\n", {"target": ("a",)}, "target", "No column is left"),
        (b"a,w\n1,1\n", {"target": ("a",), "weight": "w"}, "target", "No column is left"),
        (b"a,b\n1,2\n", {"label": "a", "weight": "a"}, "weight", "'a' is a target or label"),
        (
            b"a,b,w\n1,2,x\n",
            {"target": ("a",), "weight": "w"},
            "weight",
            r"'w' holds text such as 'x' \(row 1\); numbers are expected",
        ),
        (b"a,b,w\n1,2,-1\n", {"target": ("a",), "weight": "w"}, "file", "column 'w': the weight is -1"),
        (b"a,b,w\n1,2,0\n", {"target": ("a",), "weight": "w"}, "weight", "at least 1 row must count"),
        (b"a,b\n1,x\n2,x\n", {"label": "b"}, "label", "only one class"),
        (b"a,b\n1,x\n2,y\n", {"label": "b", "classes": ("x", "z")}, "file", "Row 2, .* 'y' is not one of .* x, z"),
        (b"a,b\n1,x\n2,y\n", {"label": "b", "classes": ("x", "x")}, "classes", "once"),
        (b"a,b\n1,2\n3,\xff\n", {"target": ("a",)}, "file", r"not UTF-8 text \(byte 10\)"),
        (b"a,\xff\n1,2\n", {"target": ("a",)}, "file", r"not UTF-8 text \(byte 2\)"),
        (b"\xff\xfea\x00\n\x00\x00\xd8x\x00", {"target": ("a",)}, "file", r"not UTF-16 text \(byte 6\)"),
        (b"a,b\n1,2\x00\n", {"target": ("a",)}, "file", "Line 2 holds a NUL byte"),
        (b'a,b\n1,2\n3,"4\n5,6\n', {"target": ("a",)}, "file", "The row in line 3 .* quotation mark .* not closed"),
        (b'a;b;c\n1;2;x\n3;4;y\n5;6;"x\n7;8;y\n', {"label": "c"}, "file", "quotation mark .* not closed"),
        (b'a\tb\n1\tx\n3\t"x\n5\ty\n', {"label": "b"}, "file", "quotation mark .* not closed"),
        (b'a,b\n"1"2,x\n3,"x\n5,y\n', {"label": "b"}, "file", "quotation mark .* not closed"),
        (b'a,b\n5" pipe,x\n3,"y\n5,z\n', {"label": "b"}, "file", "row in line 3 .* quotation mark .* not closed"),
        (b'a,b\n5" pipe,"x\ny"\n3,"y\n5,z\n', {"label": "b"}, "file", "row in line 4 .* mark .* not closed"),
        (b"{'a': 1}\n", {"target": ("a",), "format": "ndjson"}, "file", "Line 1 is not a JSON object"),
        (b'{"a": 1}\n[1]\n', {"target": ("a",)}, "file", "Line 2 is not a JSON object"),
        (
            b'{"a": 1, "b": 2}\n{"a": ["x"], "b": 2}\n',
            {"target": ("b",)},
            "file",
            "Line 2, column 'a': expected a single",
        ),
        (b'{"a": 1, "b": [2]}\n', {"target": ("a",), "format": "ndjson"}, "file", "'b' holds lists or objects"),
        (b'{"a": 1, "a": 2}\n', {"target": ("a",)}, "file", "do not make a table"),
        (b'{"a": 1, "b": "\xff"}\n', {"target": ("a",), "format": "ndjson"}, "file", "Line 1 is not UTF-8"),
        (b'[{"a": 1}, 7]', {"target": ("a",)}, "file", "not a JSON object"),
        (b"[1", {"target": ("a",)}, "file", "Expected JSON"),
        (b'{"a": [1, 2], "b": [1]}', {"target": ("a",)}, "file", "'b' has 1 values, 'a' has 2"),
    ],
)
def test_rejected_tables(tmp_path: Path, content: bytes, options: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as error:
        ingest(tmp_path, ("" if content[:1] in (b"{", b"[") else "t.csv", content), **options)
    assert error.value.problems[0][0] == field


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([[1]]), "'c' holds list<.*: int64>, which is not supported"),
        (pa.array([{"a": 1}]), "'c' holds struct<a: int64>, which is not supported"),
        (pa.array([b"x"]), "'c' holds binary, which is not supported"),
        (pa.array([datetime.time(1)]), "'c' holds time64"),
    ],
)
@pytest.mark.parametrize("write", [parquet_bytes, arrow_bytes])
def test_unsupported_column_types_may_be_left_out(tmp_path: Path, write: Any, column: pa.Array, message: str) -> None:
    file = write(pa.table({"x": [1], "y": [2], "c": column}))
    with pytest.raises(InvalidInput, match=message):
        ingest(tmp_path, file, target=("y",))
    assert ingest(tmp_path, file, target=("y",), features=("x",)).table.to_pydict() == {"x": [1], "y": [2]}


@pytest.mark.parametrize("stream", [True, False])
def test_first_of_several_invalid_rows_is_reported(tmp_path: Path, stream: bool) -> None:
    """Although batches are measured in parallel."""
    numbers, texts = np.arange(1000.0), np.array(["a"] * 1000, object)
    numbers[[120, 121, 130, 999]] = np.inf
    texts[100:110] = [f"{digit}" * 10_000 for digit in range(10)]
    content = arrow_bytes({"x": numbers, "word": texts, "y": np.zeros(1000)}, stream=stream, batch_rows=10)
    with pytest.raises(InvalidInput, match=r"column 'word' holds texts of up to 10000") as error:
        ingest(tmp_path, content, target=("y",), exclude=("x",))
    assert error.value.problems[0][0] == "file"
    with pytest.raises(InvalidInput, match="Row 121, column 'x': the value is infinite"):
        ingest(tmp_path, content, target=("y",), features=("x",))


def test_limits_of_categories(tmp_path: Path) -> None:
    def file(count: int) -> bytes:
        return b"t,y\n" + b"".join(b"k%d,1\n" % row for row in range(count))

    assert ingest(tmp_path, file(1000), target=("y",)).content.inputs == 1000
    with pytest.raises(InvalidInput, match=r'more than 1000 .* Leave it out .* types={"t": "category"}, .* to 10000'):
        ingest(tmp_path, file(1001), target=("y",))
    assert ingest(tmp_path, file(10_000), target=("y",), types={"t": "category"}).content.inputs == 10_000
    with pytest.raises(InvalidInput, match=r"more than 10000 .* leave it out"):
        ingest(tmp_path, file(10_001), target=("y",), types={"t": "category"})
    with pytest.raises(InvalidInput, match="texts of up to 1001 characters"):
        ingest(tmp_path, b"t,y\n" + b"x" * 1001 + b",1\n", target=("y",))
