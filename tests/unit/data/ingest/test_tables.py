"""Ingest of tables in every format and with every option, and rejected tables."""

import datetime
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from nabla.engine.data.ingest_options import DatasetContent, IngestOptions, SourceFile
from nabla.engine.data.schema import Column
from nabla.engine.errors import InvalidInput
from tests.unit.data.ingest.sample_files import (
    arrow_bytes,
    csv_bytes,
    gzip_bytes,
    ingest,
    ingest_sources,
    parquet_bytes,
    write_chunks,
    zstd_bytes,
)

NUMBERS: dict[str, Any] = {"age": [1.0, 4.0], "height": [2.5, -0.5], "quality": [3.0, 6.0]}
ROWS = [dict(zip(NUMBERS, row, strict=True)) for row in zip(*NUMBERS.values(), strict=True)]
NDJSON = b"\n".join(json.dumps(row).encode() for row in ROWS)
FILES = {
    "csv": csv_bytes(NUMBERS),
    "parquet": parquet_bytes(NUMBERS),
    "arrow": arrow_bytes(NUMBERS),
    "arrow stream": arrow_bytes(NUMBERS, stream=True),
    "compressed arrow": arrow_bytes(NUMBERS, compression="zstd"),
    "ndjson": NDJSON,
    "json rows": json.dumps(ROWS, indent=1).encode(),
    "json columns": json.dumps(NUMBERS).encode(),
}


@pytest.mark.parametrize("kind", FILES)
def test_each_format(tmp_path: Path, kind: str) -> None:
    dataset = ingest(tmp_path, FILES[kind], target=("quality",))
    assert dataset.file_names == {"table", "targets"}
    assert dataset.table.to_pydict() == NUMBERS
    assert dataset.array("targets").tolist() == [[3], [6]]
    assert dataset.content == DatasetContent(
        rows=2,
        inputs=2,
        targets=1,
        classes=None,
        bytes=sum(path.stat().st_size for path in dataset.directory.iterdir()),
        smallest=3,
        largest=6,
        distributions=False,
        magnitude=6,
        weighted=False,
        features=(Column("age", "number"), Column("height", "number")),
        target_columns=("quality",),
    )
    assert dataset.progress[-1].rows == 2
    assert dataset.progress[-1].bytes_total == len(FILES[kind])
    assert dataset.progress[-1].bytes_read <= len(FILES[kind])


@pytest.mark.parametrize("pack", [gzip_bytes, zstd_bytes])
@pytest.mark.parametrize("kind", ["csv", "ndjson", "json rows"])
def test_compressed_text(tmp_path: Path, kind: str, pack: Any) -> None:
    assert ingest(tmp_path, pack(FILES[kind]), target=("quality",)).table.to_pydict() == NUMBERS


@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow", "arrow stream", "ndjson", "json rows"])
def test_chunks_are_read_as_one_file(tmp_path: Path, kind: str) -> None:
    dataset = ingest_sources(tmp_path, [write_chunks(tmp_path, FILES[kind], 7)], target=("quality",))
    assert dataset.table.to_pydict() == NUMBERS
    assert dataset.file_names == {"table", "targets"}


def test_files_of_different_formats_are_joined(tmp_path: Path) -> None:
    other_order = {name: NUMBERS[name] for name in sorted(NUMBERS, reverse=True)}
    whole = {"age": [1, 2], "height": [0, 0], "quality": [1, 1]}
    dataset = ingest(
        tmp_path, parquet_bytes(whole), FILES["csv"], NDJSON, arrow_bytes(other_order), target=("quality",)
    )
    assert dataset.table.to_pydict() == {name: [*whole[name], *(NUMBERS[name] * 3)] for name in NUMBERS}
    assert dataset.content.rows == 8


def test_files_with_different_columns_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="The column 'more' is not in all files"):
        ingest(tmp_path, FILES["csv"], csv_bytes({**NUMBERS, "more": [1, 2]}), target=("quality",))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_is_detected(tmp_path: Path, delimiter: str) -> None:
    lines = ["\ufeffage,height,quality", "1,2.5,3", "", "4,-5e-1,6"]
    dataset = ingest(tmp_path, "\r\n".join(lines).replace(",", delimiter).encode(), target=("quality",))
    assert dataset.table.to_pydict() == NUMBERS


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    mark = "\ufeff" if encoding[-3:] in ("-le", "-be") else ""
    dataset = ingest(tmp_path, (mark + "größe,ort\n1,Köln\n2,東京\n").encode(encoding), label="ort")
    assert dataset.table.to_pydict() == {"größe": [1, 2], "ort": ["Köln", "東京"]}
    assert dataset.content.classes == ("Köln", "東京")


@pytest.mark.parametrize(
    ("content", "header", "names"),
    [
        (b"1,2\n3,4\n", None, ["column_1", "column_2"]),
        (b"x,2\n3,4\n5,6\n", None, ["x", "2"]),
        (b"x,y\n3,4\n5,6\n", None, ["x", "y"]),
        (b"1,2\n3,4\n5,6\n", True, ["1", "2"]),
        (b"x,y\na,b\n", False, ["column_1", "column_2"]),
    ],
)
def test_header_is_detected(tmp_path: Path, content: bytes, header: bool | None, names: list[str]) -> None:
    assert ingest(tmp_path, content, header=header, label=names[1]).table.column_names == names


def test_targets_are_stored_in_requested_order(tmp_path: Path) -> None:
    dataset = ingest(tmp_path, b"a,b,c\n1,2,3\n4,5,6\n", target=("c", "a"))
    assert dataset.array("targets").tolist() == [[3, 1], [6, 4]]
    assert dataset.content.target_columns == ("c", "a")
    assert dataset.content.features == (Column("b", "number"),)


def test_features_weights_and_unused_columns(tmp_path: Path) -> None:
    dataset = ingest(
        tmp_path, b"id,w,b,a,y\nk1,0.5,1,2,3\nk2,0,4,5,6\n", target=("y",), weight="w", features=("a", "b")
    )
    assert dataset.file_names == {"table", "targets", "weights"}
    assert dataset.array("weights").tolist() == [0.5, 0]
    assert dataset.content.features == (Column("a", "number"), Column("b", "number"))
    assert dataset.content.weighted
    assert dataset.table.column_names == ["id", "w", "b", "a", "y"]


@pytest.mark.parametrize(
    ("column", "classes", "codes"),
    [
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        ([10, 9, 10], (9, 10), [1, 0, 1]),
        ([1.0, 2.0, 1.0], (1, 2), [0, 1, 0]),
        ([True, False, True], (False, True), [1, 0, 1]),
        (["10", "9", "9"], ("9", "10"), [1, 0, 0]),
        (["01", "1", "01"], ("01", "1"), [0, 1, 0]),
        ([" b", "b", "a"], ("a", "b"), [1, 1, 0]),
    ],
)
@pytest.mark.parametrize("write", [csv_bytes, parquet_bytes])
def test_labels_become_sorted_classes(
    tmp_path: Path, write: Any, column: list[Any], classes: tuple[Any, ...], codes: list[int]
) -> None:
    dataset = ingest(tmp_path, write({"x": [1, 2, 3], "y": column}), label="y")
    if write is csv_bytes and classes == ("9", "10"):
        classes = (9, 10)  # CSV does not tell text from numbers
    assert (dataset.content.classes, dataset.content.targets) == (classes, len(classes))
    assert [*map(type, dataset.content.classes or ())] == [*map(type, classes)]
    assert dataset.array("codes").tolist() == codes
    assert dataset.array("codes").dtype == np.int32
    assert (dataset.content.smallest, dataset.content.largest, dataset.content.distributions) == (0, 1, True)


def test_given_classes_keep_their_order(tmp_path: Path) -> None:
    dataset = ingest(tmp_path, b"x,y\n1,low\n2,high\n", label="y", classes=("low", "middle", "high"))
    assert dataset.content.classes == ("low", "middle", "high")
    assert dataset.array("codes").tolist() == [0, 2]


DAY = datetime.date(2020, 1, 31)
ALL_TYPES = pa.table(
    {
        "number": pa.array([1, None, 3], pa.int32()),
        "half": pa.array([0.5, 1, float("nan")], pa.float16()),
        "truth": [True, None, False],
        "text": ["b", "a", None],
        "view": pa.array(["v", None, "w"], pa.string_view()),
        "encoded": pa.array(["p", "q", None]).dictionary_encode(),
        "money": pa.array([1, 2, 3], pa.decimal128(5, 2)),
        "day": [DAY, DAY, None],
        "y": [1, 2, 3],
    }
)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_column_types(tmp_path: Path, stream: bool, compression: str | None) -> None:
    file = arrow_bytes(ALL_TYPES, stream=stream, compression=compression)
    dataset = ingest(tmp_path, file, target=("y",), imputation="median", types={"day": "date", "number": "category"})
    assert dataset.content.features == (
        Column("number", "category", ("1", "3"), 1, "most_frequent"),
        Column("half", "number", (), 1, "median"),
        Column("truth", "boolean", (), 1, "most_frequent"),
        Column("text", "category", ("a", "b"), 1, "most_frequent"),
        Column("view", "category", ("v", "w"), 1, "most_frequent"),
        Column("encoded", "category", ("p", "q"), 1, "most_frequent"),
        Column("money", "number", (), 0, "median"),
        Column("day", "date", (), 1, "median"),
    )
    assert dataset.content.inputs == 12
    assert dataset.content.magnitude == (DAY - datetime.date(1970, 1, 1)).days
    assert [str(type) for type in dataset.table.schema.types] == [
        "int32",
        "float",
        "bool",
        "string",
        "string",
        "string",
        "double",
        "date32[day]",
        "int64",
    ]
    assert dataset.table.column("encoded").to_pylist() == ["p", "q", None]
    assert dataset.table.column("view").to_pylist() == ["v", None, "w"]


@pytest.mark.parametrize("texts", [["unused", "b", None, "a text that is not short"], []])
def test_dictionaries_of_string_views(tmp_path: Path, texts: list[str | None]) -> None:
    """Polars writes its categories so."""
    values = pa.array(["cut off", *texts], pa.string_view())[1:]
    indices = [1, None, 3, 2] if texts else [None] * 4
    table = {"t": pa.DictionaryArray.from_arrays(pa.array(indices, pa.uint32()), values), "y": [1.0, 2, 3, 4]}
    dataset = ingest(tmp_path, arrow_bytes(table), target=("y",), imputation="constant", constants={"t": "none"})
    assert dataset.table.column("t").to_pylist() == [None if index is None else texts[index] for index in indices]


@pytest.mark.parametrize("write", [csv_bytes, parquet_bytes, arrow_bytes])
def test_requested_types(tmp_path: Path, write: Any) -> None:
    table = {
        "zip": ["02134", "10115", "02134"],
        "flag": [1, 0, 1],
        "when": ["2020-01-31", "2020-01-31T12:00:00", "1970-01-01T00:00:00Z"],
        "figure": ["1", " 2.5", ""],
        "y": [1, 2, 3],
    }
    types = {"zip": "category", "flag": "boolean", "when": "date", "figure": "number"}
    dataset = ingest(
        tmp_path, write(table), target=("y",), types=types, imputation={"figure": "constant"}, constants={"figure": 7}
    )
    assert dataset.content.features == (
        Column("zip", "category", ("02134", "10115")),
        Column("flag", "boolean"),
        Column("when", "date"),
        Column("figure", "number", (), 1, "constant", 7.0),
    )
    assert dataset.table.column("figure").to_pylist() == [1, 2.5, None]
    assert dataset.table.column("flag").to_pylist() == [True, False, True]
    assert dataset.table.column("when").to_pylist()[1] == datetime.datetime(2020, 1, 31, 12)


def test_missing_category_is_imputed_with_a_category_of_its_own(tmp_path: Path) -> None:
    file = b"x,c,y\n1,a,1\n2,,2\n,b,3\n"
    dataset = ingest(tmp_path, file, target=("y",), imputation="mean", constants={"c": "none"})
    assert dataset.content.features == (
        Column("x", "number", (), 1, "mean"),
        Column("c", "category", ("a", "b", "none"), 1, "constant", "none"),
    )


def test_spellings_of_null(tmp_path: Path) -> None:
    dataset = ingest(tmp_path, b'x,c,y\nNA,NULL,1\n,"NA",2\n3,b,3\n', target=("y",), imputation="mean")
    assert dataset.table.to_pydict() == {"x": [None, None, 3], "c": [None, "NA", "b"], "y": [1, 2, 3]}


@pytest.mark.parametrize("blank", ["", "  ", '""', '" "', " NA", "NA ", '"NA"'])
@pytest.mark.parametrize("before", [0, 1_200_000])
def test_blank_cells_among_numbers_are_missing(tmp_path: Path, blank: str, before: int) -> None:
    """Also in a later block, when the first ones have none."""
    content = b"a,y\n" + b"1,2\n" * before + f"3,4\n{blank},5\n6.5,6\n".encode()
    dataset = ingest(tmp_path, content, target=("y",), imputation="mean")
    assert dataset.content.features == (Column("a", "number", (), 1, "mean"),)
    assert dataset.table.slice(before).to_pydict() == {"a": [3, None, 6.5], "y": [4, 5, 6]}


def test_blank_cells_among_texts_are_text(tmp_path: Path) -> None:
    content = b'a,b,y\n1,x,1\n" ",,2\nk,"",3\n2,y,4\n'
    dataset = ingest(tmp_path, content, target=("y",), imputation="most_frequent")
    assert dataset.table.column("a").to_pylist() == ["1", " ", "k", "2"]
    assert dataset.table.column("b").to_pylist() == ["x", None, "", "y"]
    blank = ingest(tmp_path / "blank", b'a,b,y\n" ",1,1\n" ",2,2\n', target=("y",))
    assert blank.table.column("a").to_pylist() == [" ", " "]


def test_column_types_that_change_in_later_blocks(tmp_path: Path) -> None:
    """Numbers become text, whole numbers get a fraction, dates become times, and empty columns become text."""
    rows = 800_000
    later = b"9.5,k,2020-01-02T03:04:05,late,%d\n"
    content = b"a,b,c,d,y\n" + b"".join(b"%d,1,2020-01-01,,%d\n" % (row % 7, row) for row in range(rows)) + later % rows
    dataset = ingest(tmp_path, content, target=("y",), features=("a",))
    types = {column.name: str(column.type) for column in dataset.table.schema}
    assert types == {"a": "double", "b": "string", "c": "timestamp[us]", "d": "string", "y": "double"}
    assert dataset.content.rows == rows + 1
    assert dataset.array("targets")[:, 0].tolist() == list(range(rows + 1))
    assert dataset.table.slice(rows).to_pylist() == [
        {"a": 9.5, "b": "k", "c": datetime.datetime(2020, 1, 2, 3, 4, 5), "d": "late", "y": rows}
    ]
    assert {batch.num_rows <= 2**16 for batch in dataset.table.to_batches()} == {True}
    assert len(dataset.progress) > 1


def test_quoted_line_breaks_are_kept(tmp_path: Path) -> None:
    """Blocks end where a row ends, even if texts are full of line breaks and quotation marks."""
    text = 'say ""x""\n\n' * 40
    rows = 60_000
    content = b"t,y\n" + b"".join(b'"%s",%d\n' % (text.encode(), row) for row in range(rows))
    dataset = ingest(tmp_path, content, target=("y",), features=None)
    assert len(content) > 2**24
    assert dataset.content.rows == rows
    assert dataset.content.features == (Column("t", "category", (text.replace('""', '"').strip(),)),)


def test_quotation_marks_within_cells_are_text(tmp_path: Path) -> None:
    """Such as the sign for inches; also in a file of more than one block."""
    kinds = ('5" pipe', '6" pipe', "7'")
    rows = 450_000
    content = b'5" pipes,y\n' + b"".join(b"%s,%d\n" % (kinds[row % 3].encode(), row) for row in range(rows))
    dataset = ingest(tmp_path, content + b'"8"" pipe,\nor more",1\n', target=("y",), features=None)
    assert len(content) > 2**22
    assert dataset.content.rows == rows + 1
    assert dataset.content.features == (Column('5" pipes', "category", (*kinds, '8" pipe,\nor more')),)


def test_ndjson_with_widening_numbers_and_late_columns(tmp_path: Path) -> None:
    rows = 500_000
    lines = b"".join(b'{"a": %d, "y": %d, "t": "x%d"}\n' % (row, row, row % 3) for row in range(rows))
    dataset = ingest(
        tmp_path, lines + b'{"a": 0.5, "y": 1, "t": "x", "late": true}\n', target=("y",), imputation="mean"
    )
    assert len(lines) > 2**24
    assert dataset.content.features == (
        Column("a", "number", (), 0, "mean"),
        Column("t", "category", ("x", "x0", "x1", "x2"), 0, "most_frequent"),
        Column("late", "boolean", (), rows, "most_frequent"),
    )


def test_options_and_content_survive_json(tmp_path: Path) -> None:
    source = SourceFile((tmp_path,), "a.csv", "text/csv", "file")
    options = IngestOptions(
        "csv", True, target=("a",), types={"b": "date"}, imputation={"b": "mean"}, classes=("a", 1, True)
    )
    for value in (source, options, ingest(tmp_path, FILES["csv"], target=("quality",)).content):
        text = msgspec.json.encode(value, enc_hook=str)
        assert msgspec.json.decode(text, type=type(value), dec_hook=lambda type, text: type(text)) == value


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
