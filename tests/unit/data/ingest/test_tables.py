"""Ingest of tables in every format and with every option."""

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
