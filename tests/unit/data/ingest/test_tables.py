"""Tables of every format: what is stored of them, and what becomes of each option."""

import datetime
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from nabla.engine.data.ingest_options import Content, Reading, Source
from nabla.engine.data.schema import Column
from nabla.engine.errors import InvalidInput
from tests.unit.data.ingest.sample_files import arrow, csv, gz, of, parquet, stored, zst

NUMBERS: dict[str, Any] = {"age": [1.0, 4.0], "height": [2.5, -0.5], "quality": [3.0, 6.0]}
ROWS = [dict(zip(NUMBERS, row, strict=True)) for row in zip(*NUMBERS.values(), strict=True)]
NDJSON = b"\n".join(json.dumps(row).encode() for row in ROWS)
FILES = {
    "csv": csv(NUMBERS),
    "parquet": parquet(NUMBERS),
    "arrow": arrow(NUMBERS),
    "arrow stream": arrow(NUMBERS, stream=True),
    "packed arrow": arrow(NUMBERS, compression="zstd"),
    "ndjson": NDJSON,
    "json rows": json.dumps(ROWS, indent=1).encode(),
    "json columns": json.dumps(NUMBERS).encode(),
}


@pytest.mark.parametrize("kind", FILES)
def test_every_format(tmp_path: Path, kind: str) -> None:
    found = stored(tmp_path, FILES[kind], target=("quality",))
    assert found.names == {"table", "targets"}
    assert found.table.to_pydict() == NUMBERS
    assert found.array("targets").tolist() == [[3], [6]]
    assert found.content == Content(
        rows=2,
        inputs=2,
        targets=1,
        classes=None,
        bytes=sum(path.stat().st_size for path in found.folder.iterdir()),
        smallest=3,
        largest=6,
        distributions=False,
        magnitude=6,
        weighted=False,
        features=(Column("age", "number"), Column("height", "number")),
        target_columns=("quality",),
    )
    assert found.told[-1].rows == 2
    assert found.told[-1].bytes_total == len(FILES[kind])
    assert found.told[-1].bytes_read <= len(FILES[kind])


@pytest.mark.parametrize("pack", [gz, zst])
@pytest.mark.parametrize("kind", ["csv", "ndjson", "json rows"])
def test_packed_text(tmp_path: Path, kind: str, pack: Any) -> None:
    assert stored(tmp_path, pack(FILES[kind]), target=("quality",)).table.to_pydict() == NUMBERS


@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow", "arrow stream", "ndjson", "json rows"])
def test_pieces_are_read_as_one_file(tmp_path: Path, kind: str) -> None:
    content, paths = FILES[kind], []
    for number, start in enumerate(range(0, len(content), 7)):
        paths.append(tmp_path / f"piece-{number}")
        paths[-1].write_bytes(content[start : start + 7])
    found = of(tmp_path, [Source(tuple(paths))], target=("quality",))
    assert found.table.to_pydict() == NUMBERS
    assert found.names == {"table", "targets"}


def test_several_files_are_one_table_whatever_their_formats(tmp_path: Path) -> None:
    other_order = {name: NUMBERS[name] for name in sorted(NUMBERS, reverse=True)}
    whole = {"age": [1, 2], "height": [0, 0], "quality": [1, 1]}
    found = stored(tmp_path, parquet(whole), FILES["csv"], NDJSON, arrow(other_order), target=("quality",))
    assert found.table.to_pydict() == {name: [*whole[name], *(NUMBERS[name] * 3)] for name in NUMBERS}
    assert found.content.rows == 8


def test_files_of_other_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="The column 'more' is not in all of the files"):
        stored(tmp_path, FILES["csv"], csv({**NUMBERS, "more": [1, 2]}), target=("quality",))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(tmp_path: Path, delimiter: str) -> None:
    lines = ["\ufeffage,height,quality", "1,2.5,3", "", "4,-5e-1,6"]
    found = stored(tmp_path, "\r\n".join(lines).replace(",", delimiter).encode(), target=("quality",))
    assert found.table.to_pydict() == NUMBERS


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    mark = "\ufeff" if encoding[-3:] in ("-le", "-be") else ""
    found = stored(tmp_path, (mark + "größe,ort\n1,Köln\n2,東京\n").encode(encoding), label="ort")
    assert found.table.to_pydict() == {"größe": [1, 2], "ort": ["Köln", "東京"]}
    assert found.content.classes == ("Köln", "東京")


@pytest.mark.parametrize(
    ("content", "header", "names"),
    [
        (b"1,2\n3,4\n", None, ["column_1", "column_2"]),
        (b"x,2\n3,4\n", None, ["column_1", "column_2"]),
        (b"x,y\n3,4\n5,6\n", None, ["x", "y"]),
        (b"1,2\n3,4\n5,6\n", True, ["1", "2"]),
        (b"x,y\na,b\n", False, ["column_1", "column_2"]),
    ],
)
def test_headers(tmp_path: Path, content: bytes, header: bool | None, names: list[str]) -> None:
    assert stored(tmp_path, content, header=header, label=names[1]).table.column_names == names


def test_targets_in_the_order_asked_for(tmp_path: Path) -> None:
    found = stored(tmp_path, b"a,b,c\n1,2,3\n4,5,6\n", target=("c", "a"))
    assert found.array("targets").tolist() == [[3, 1], [6, 4]]
    assert found.content.target_columns == ("c", "a")
    assert found.content.features == (Column("b", "number"),)


def test_features_weights_and_what_is_neither(tmp_path: Path) -> None:
    found = stored(tmp_path, b"id,w,b,a,y\nk1,0.5,1,2,3\nk2,0,4,5,6\n", target=("y",), weight="w", features=("a", "b"))
    assert found.names == {"table", "targets", "weights"}
    assert found.array("weights").tolist() == [0.5, 0]
    assert found.content.features == (Column("a", "number"), Column("b", "number"))
    assert found.content.weighted
    assert found.table.column_names == ["id", "w", "b", "a", "y"]


@pytest.mark.parametrize(
    ("column", "classes", "codes"),
    [
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        ([10, 9, 10], ("9", "10"), [1, 0, 1]),
        ([1.0, 2.0, 1.0], ("1", "2"), [0, 1, 0]),
        ([True, False, True], ("false", "true"), [1, 0, 1]),
        (["10", "9", "9"], ("9", "10"), [1, 0, 0]),
        (["01", "1", "01"], ("01", "1"), [0, 1, 0]),
        ([" b", "b", "a"], ("a", "b"), [1, 1, 0]),
    ],
)
@pytest.mark.parametrize("write", [csv, parquet])
def test_labels(tmp_path: Path, write: Any, column: list[Any], classes: tuple[str, ...], codes: list[int]) -> None:
    found = stored(tmp_path, write({"x": [1, 2, 3], "y": column}), label="y")
    assert (found.content.classes, found.content.targets) == (classes, len(classes))
    assert found.array("codes").tolist() == codes
    assert found.array("codes").dtype == np.int32
    assert (found.content.smallest, found.content.largest, found.content.distributions) == (0, 1, True)


def test_given_classes_keep_their_order(tmp_path: Path) -> None:
    found = stored(tmp_path, b"x,y\n1,low\n2,high\n", label="y", classes=("low", "middle", "high"))
    assert found.content.classes == ("low", "middle", "high")
    assert found.array("codes").tolist() == [0, 2]


DAY = datetime.date(2020, 1, 31)
EVERYTHING = pa.table(
    {
        "number": pa.array([1, None, 3], pa.int32()),
        "half": pa.array([0.5, 1, float("nan")], pa.float16()),
        "truth": [True, None, False],
        "text": ["b", "a", None],
        "view": pa.array(["v", None, "w"], pa.string_view()),
        "packed": pa.array(["p", "q", None]).dictionary_encode(),
        "money": pa.array([1, 2, 3], pa.decimal128(5, 2)),
        "day": [DAY, DAY, None],
        "y": [1, 2, 3],
    }
)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_types_of_columns(tmp_path: Path, stream: bool, compression: str | None) -> None:
    file = arrow(EVERYTHING, stream=stream, compression=compression)
    found = stored(tmp_path, file, target=("y",), imputation="median", types={"day": "date", "number": "category"})
    assert found.content.features == (
        Column("number", "category", ("1", "3"), 1, "most_frequent"),
        Column("half", "number", (), 1, "median"),
        Column("truth", "boolean", (), 1, "most_frequent"),
        Column("text", "category", ("a", "b"), 1, "most_frequent"),
        Column("view", "category", ("v", "w"), 1, "most_frequent"),
        Column("packed", "category", ("p", "q"), 1, "most_frequent"),
        Column("money", "number", (), 0, "median"),
        Column("day", "date", (), 1, "median"),
    )
    assert found.content.inputs == 12
    assert found.content.magnitude == (DAY - datetime.date(1970, 1, 1)).days
    assert [str(type) for type in found.table.schema.types] == [
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
    assert found.table.column("packed").to_pylist() == ["p", "q", None]
    assert found.table.column("view").to_pylist() == ["v", None, "w"]


@pytest.mark.parametrize("words", [["unused", "b", None, "a text that is not short"], []])
def test_dictionaries_of_views(tmp_path: Path, words: list[str | None]) -> None:
    """As Polars writes its categories."""
    values = pa.array(["cut off", *words], pa.string_view())[1:]
    taken = [1, None, 3, 2] if words else [None] * 4
    table = {"t": pa.DictionaryArray.from_arrays(pa.array(taken, pa.uint32()), values), "y": [1.0, 2, 3, 4]}
    found = stored(tmp_path, arrow(table), target=("y",), imputation="constant", constants={"t": "none"})
    assert found.table.column("t").to_pylist() == [None if place is None else words[place] for place in taken]


@pytest.mark.parametrize("write", [csv, parquet, arrow])
def test_types_that_were_asked_for(tmp_path: Path, write: Any) -> None:
    table = {
        "zip": ["02134", "10115", "02134"],
        "flag": [1, 0, 1],
        "when": ["2020-01-31", "2020-01-31T12:00:00", "1970-01-01T00:00:00Z"],
        "figure": ["1", " 2.5", ""],
        "y": [1, 2, 3],
    }
    types = {"zip": "category", "flag": "boolean", "when": "date", "figure": "number"}
    found = stored(
        tmp_path, write(table), target=("y",), types=types, imputation={"figure": "constant"}, constants={"figure": 7}
    )
    assert found.content.features == (
        Column("zip", "category", ("02134", "10115")),
        Column("flag", "boolean"),
        Column("when", "date"),
        Column("figure", "number", (), 1, "constant", 7.0),
    )
    assert found.table.column("figure").to_pylist() == [1, 2.5, None]
    assert found.table.column("flag").to_pylist() == [True, False, True]
    assert found.table.column("when").to_pylist()[1] == datetime.datetime(2020, 1, 31, 12)


def test_a_missing_value_may_have_a_category_of_its_own(tmp_path: Path) -> None:
    file = b"x,c,y\n1,a,1\n2,,2\n,b,3\n"
    found = stored(tmp_path, file, target=("y",), imputation="mean", constants={"c": "none"})
    assert found.content.features == (
        Column("x", "number", (), 1, "mean"),
        Column("c", "category", ("a", "b", "none"), 1, "constant", "none"),
    )


def test_null_spellings(tmp_path: Path) -> None:
    found = stored(tmp_path, b'x,c,y\nNA,NULL,1\n,"NA",2\n3,b,3\n', target=("y",), imputation="mean")
    assert found.table.to_pydict() == {"x": [None, None, 3], "c": [None, "NA", "b"], "y": [1, 2, 3]}


@pytest.mark.parametrize("blank", ["", "  ", '""', '" "', " NA", "NA ", '"NA"'])
@pytest.mark.parametrize("before", [0, 1_200_000])
def test_blank_cells_among_numbers_are_missing(tmp_path: Path, blank: str, before: int) -> None:
    """Also where the first blocks have none."""
    content = b"a,y\n" + b"1,2\n" * before + f"3,4\n{blank},5\n6.5,6\n".encode()
    found = stored(tmp_path, content, target=("y",), imputation="mean")
    assert found.content.features == (Column("a", "number", (), 1, "mean"),)
    assert found.table.slice(before).to_pydict() == {"a": [3, None, 6.5], "y": [4, 5, 6]}


def test_blank_cells_among_texts_are_texts(tmp_path: Path) -> None:
    content = b'a,b,y\n1,x,1\n" ",,2\nk,"",3\n2,y,4\n'
    found = stored(tmp_path, content, target=("y",), imputation="most_frequent")
    assert found.table.column("a").to_pylist() == ["1", " ", "k", "2"]
    assert found.table.column("b").to_pylist() == ["x", None, "", "y"]
    blank = stored(tmp_path / "blank", b'a,b,y\n" ",1,1\n" ",2,2\n', target=("y",))
    assert blank.table.column("a").to_pylist() == [" ", " "]


def test_columns_that_are_not_what_they_began_as(tmp_path: Path) -> None:
    """Over several blocks: numbers that become text, whole numbers that get a fraction, columns that begin empty."""
    rows = 800_000
    later = b"9.5,k,2020-01-02T03:04:05,late,%d\n"
    content = b"a,b,c,d,y\n" + b"".join(b"%d,1,2020-01-01,,%d\n" % (row % 7, row) for row in range(rows)) + later % rows
    found = stored(tmp_path, content, target=("y",), features=("a",))
    types = {column.name: str(column.type) for column in found.table.schema}
    assert types == {"a": "double", "b": "string", "c": "timestamp[us]", "d": "string", "y": "double"}
    assert found.content.rows == rows + 1
    assert found.array("targets")[:, 0].tolist() == list(range(rows + 1))
    assert found.table.slice(rows).to_pylist() == [
        {"a": 9.5, "b": "k", "c": datetime.datetime(2020, 1, 2, 3, 4, 5), "d": "late", "y": rows}
    ]
    assert {batch.num_rows <= 2**16 for batch in found.table.to_batches()} == {True}
    assert len(found.told) > 1


def test_quoted_lines_are_not_cut(tmp_path: Path) -> None:
    """Blocks end where a row ends, also where texts are full of line ends and quotes."""
    text = 'say ""x""\n\n' * 40
    rows = 60_000
    content = b"t,y\n" + b"".join(b'"%s",%d\n' % (text.encode(), row) for row in range(rows))
    found = stored(tmp_path, content, target=("y",), features=None)
    assert len(content) > 2**24
    assert found.content.rows == rows
    assert found.content.features == (Column("t", "category", (text.replace('""', '"'),)),)


def test_quotation_marks_that_open_no_cell_are_text(tmp_path: Path) -> None:
    """As for inches; also where a file is read in more than one block."""
    kinds = ('5" pipe', '6" pipe', "7'")
    rows = 450_000
    content = b'5" pipes,y\n' + b"".join(b"%s,%d\n" % (kinds[row % 3].encode(), row) for row in range(rows))
    found = stored(tmp_path, content + b'"8"" pipe,\nor more",1\n', target=("y",), features=None)
    assert len(content) > 2**22
    assert found.content.rows == rows + 1
    assert found.content.features == (Column('5" pipes', "category", (*kinds, '8" pipe,\nor more')),)


def test_ndjson_whose_numbers_widen_and_whose_columns_come_late(tmp_path: Path) -> None:
    rows = 500_000
    lines = b"".join(b'{"a": %d, "y": %d, "t": "x%d"}\n' % (row, row, row % 3) for row in range(rows))
    found = stored(tmp_path, lines + b'{"a": 0.5, "y": 1, "t": "x", "late": true}\n', target=("y",), imputation="mean")
    assert len(lines) > 2**24
    assert found.content.features == (
        Column("a", "number", (), 0, "mean"),
        Column("t", "category", ("x", "x0", "x1", "x2"), 0, "most_frequent"),
        Column("late", "boolean", (), rows, "most_frequent"),
    )


def test_what_travels_to_another_process(tmp_path: Path) -> None:
    source = Source((tmp_path,), "a.csv", "text/csv", "file")
    reading = Reading("csv", True, ("a",), types={"b": "date"}, imputation={"b": "mean"}, classes=("a", 1, True))
    for sent in (source, reading, stored(tmp_path, FILES["csv"], target=("quality",)).content):
        text = msgspec.json.encode(sent, enc_hook=str)
        assert msgspec.json.decode(text, type=type(sent), dec_hook=lambda type, text: type(text)) == sent


@pytest.mark.parametrize(
    ("content", "reading", "field", "words"),
    [
        (b"", {"target": ("a",)}, "file", "no data"),
        (b"\n\n", {"target": ("a",)}, "file", "no data"),
        (b"a,b\n", {"target": ("a",)}, "file", "no data"),
        (b"a,b\n1,2\n3\n", {"target": ("a",)}, "file", "Line 3 has 1 cells; the table has 2"),
        (b"a,b\n1,2\n\n3,4,5\n", {"target": ("a",)}, "file", "Line 4 has 3 cells; the table has 2"),
        (b'a,b\n1,"x\ny"\n3\n', {"target": ("a",)}, "file", "Line 4 has 1 cells"),
        (b"a,b\n1,2\n3,x\n", {"target": ("b",)}, "file", "Row 2, column 'b': it holds 'x'; a number is expected"),
        (b"a,b\n1,2\n3,\n", {"target": ("b",)}, "file", "'b' has no value in row 2. What is to be learned"),
        (b"a,b\n1,nan\n2,3", {"target": ("b",)}, "file", "'b' has no value in row 1"),
        (b"a,b\n1,\n2,x", {"label": "b"}, "file", "'b' has no value in row 1"),
        (b"a,b,w\n1,2,\n", {"target": ("b",), "weight": "w"}, "file", "'w' has no value in row 1"),
        (b"a,b\n1,inf\n", {"target": ("b",)}, "file", "Row 1, column 'b': the value is infinite"),
        (b"a,b\n1,1\n-inf,1\n", {"target": ("b",)}, "file", "Row 2, column 'a': the value is infinite"),
        (b"a,b\n,1\n1,1\n" + b",1\n" * 7, {"target": ("b",)}, "file", "in rows 1, 3, 4, 5, 6 and 3 more. Say with"),
        (b"a,b\n1,2\n", {}, "target", "Name what to learn"),
        (b"a,b\n1,2\n", {"target": ("a",), "label": "b"}, "target", "Name what to learn"),
        (b"a,b\n1,2\n", {"target": ("c",)}, "target", "no column called 'c'. The columns are: a, b."),
        (b"a,b\n1,2\n", {"target": ("b", "b")}, "target", "'b' is named twice"),
        (b"a,b\n1,2\n", {"label": "c"}, "label", "no column called 'c'"),
        (b"a,b\n1,2\n", {"target": ("a",), "weight": "w"}, "weight", "no column called 'w'. The columns are: a, b"),
        (b"a,b\n1,2\n", {"target": ("a",), "features": ("x",)}, "features", "no column called 'x'"),
        (b"a,b\n1,2\n", {"target": ("a",), "features": ("a",)}, "features", "'a' is to be learned"),
        (b"a,b\n1,2\n", {"target": ("a",), "features": ()}, "features", "No column is left"),
        (b"a,b\n1,2\n", {"target": ("a",), "types": {"x": "date"}}, "types", "no column called 'x'"),
        (b"a,b\n1,2\n", {"target": ("a",), "types": {"a": "date"}}, "types.a", "Types are for inputs"),
        (b"a,b,c\n1,2,3\n", {"target": ("a",), "features": ("b",), "types": {"c": "date"}}, "types.c", "not among"),
        (b"a,b\n1,2\n", {"target": ("a",), "types": {"b": "date"}}, "types.b", "and no dates"),
        (b"a,b\n1,2020-01-01\n", {"target": ("a",), "types": {"b": "number"}}, "types.b", "holds dates"),
        (b"a,b\n1,2020-01-01\n", {"target": ("a",)}, "file", 'holds dates. .*types={"b": "date"}'),
        (b"a,b\n1,k\n", {"target": ("a",), "types": {"b": "date"}}, "file", "Row 1, column 'b': it holds 'k'; a date"),
        (b"a,b\n1,0\n1,2\n", {"target": ("a",), "types": {"b": "boolean"}}, "file", "Row 2, .* true or false is"),
        (b"a,b\n1,k\n", {"target": ("a",), "types": {"b": "boolean"}}, "file", "Row 1, .* true or false is"),
        (b"a,b\n1,2\n3,k\n", {"target": ("a",), "types": {"b": "number"}}, "file", "Row 2, column 'b': it holds 'k'"),
        (b"a,b\n1,2\n", {"target": ("a",), "imputation": {"x": "mean"}}, "imputation", "no column called 'x'"),
        (
            b"a,b\n1,k\n",
            {"target": ("a",), "imputation": {"b": "mean"}},
            "imputation.b",
            "is a category and has no mean",
        ),
        (b"a,b\n1,k\n", {"target": ("a",), "imputation": {"b": "constant"}}, "constants.b", "Say which constant"),
        (b"a,b\n1,k\n", {"target": ("a",), "constants": {"b": "k"}}, "constants.b", "go with the filling constant"),
        (b"a,b\n1,k\n", {"target": ("a",), "constants": {"x": "k"}}, "constants", "no column called 'x'"),
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
            "true and false; got 'k'",
        ),
        (
            b"a,b\n1,2020-01-01\n",
            {"target": ("a",), "types": {"b": "date"}, "imputation": "constant", "constants": {"b": "k"}},
            "constants.b",
            "Expected a date",
        ),
        (b"a,b\n1,\n", {"target": ("a",), "imputation": "constant"}, "file", "'b' has no value in row 1"),
        (b"a,a,b\n1,2,3\n", {"target": ("a",)}, "file", "more than one column called 'a'"),
        (b"a,,b\n1,2,3\n", {"target": ("a",)}, "file", "Column 2 has no name"),
        (b"a\n1\n", {"target": ("a",)}, "target", "No column is left"),
        (b"a,w\n1,1\n", {"target": ("a",), "weight": "w"}, "target", "No column is left"),
        (b"a,b\n1,2\n", {"label": "a", "weight": "a"}, "weight", "'a' is to be learned"),
        (b"a,b,w\n1,2,x\n", {"target": ("a",), "weight": "w"}, "file", "column 'w': it holds 'x'; a number is"),
        (b"a,b,w\n1,2,-1\n", {"target": ("a",), "weight": "w"}, "file", "column 'w': the weight is -1"),
        (b"a,b,w\n1,2,0\n", {"target": ("a",), "weight": "w"}, "weight", "at least 1 row must count"),
        (b"a,b\n1,x\n2,x\n", {"label": "b"}, "label", "only one class"),
        (b"a,b\n1,x\n2,y\n", {"label": "b", "classes": ("x", "z")}, "file", "Row 2, .* 'y' is not one of .* x, z"),
        (b"a,b\n1,x\n2,y\n", {"label": "b", "classes": ("x", "x")}, "classes", "once"),
        (b"a,b\n1,2\n3,\xff\n", {"target": ("a",)}, "file", r"not UTF-8 text \(byte 10\)"),
        (b"a,\xff\n1,2\n", {"target": ("a",)}, "file", r"not UTF-8 text \(byte 2\)"),
        (b"\xff\xfea\x00\n\x00\x00\xd8x\x00", {"target": ("a",)}, "file", "not UTF-16"),
        (b"a,b\n1,2\x00\n", {"target": ("a",)}, "file", "Line 2 holds a NUL byte"),
        (b'a,b\n1,2\n3,"4\n5,6\n', {"target": ("a",)}, "file", "The row in line 3 .* quotation mark .* not closed"),
        (b'a;b;c\n1;2;x\n3;4;y\n5;6;"x\n7;8;y\n', {"label": "c"}, "file", "quotation mark .* not closed"),
        (b'a\tb\n1\tx\n3\t"x\n5\ty\n', {"label": "b"}, "file", "quotation mark .* not closed"),
        (b'a,b\n"1"2,x\n3,"x\n5,y\n', {"label": "b"}, "file", "quotation mark .* not closed"),
        (b'a,b\n5" pipe,x\n3,"y\n5,z\n', {"label": "b"}, "file", "row in line 3 .* quotation mark .* not closed"),
        (b'a,b\n5" pipe,"x\ny"\n3,"y\n5,z\n', {"label": "b"}, "file", "row in line 4 .* mark .* not closed"),
        (b"{'a': 1}\n", {"target": ("a",), "format": "ndjson"}, "file", "Line 1 is not a JSON object"),
        (b'{"a": 1}\n[1]\n', {"target": ("a",)}, "file", "Line 2 is not a JSON object"),
        (b'{"a": 1, "b": 2}\n{"a": "x", "b": 2}\n', {"target": ("b",)}, "file", "Line 2, column 'a': got text"),
        (b'{"a": 1, "b": [2]}\n', {"target": ("a",), "format": "ndjson"}, "file", "'b' holds lists or objects"),
        (b'{"a": 1, "a": 2}\n', {"target": ("a",)}, "file", "do not make a table"),
        (b'{"a": 1, "b": "\xff"}\n', {"target": ("a",), "format": "ndjson"}, "file", "Line 1 is not UTF-8"),
        (b'[{"a": 1}, 7]', {"target": ("a",)}, "file", "not a JSON object"),
        (b"[1", {"target": ("a",)}, "file", "Expected JSON"),
        (b'{"a": [1, 2], "b": [1]}', {"target": ("a",)}, "file", "'b' has 1 values, 'a' has 2"),
    ],
)
def test_what_is_refused(tmp_path: Path, content: bytes, reading: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        stored(tmp_path, ("" if content[:1] in (b"{", b"[") else "t.csv", content), **reading)
    assert refused.value.problems[0][0] == field


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array([[1]]), "'c' holds list<.*: int64>, which cannot be learned"),
        (pa.array([{"a": 1}]), "'c' holds struct<a: int64>, which cannot be learned"),
        (pa.array([b"x"]), "'c' holds binary, which cannot be learned"),
        (pa.array([datetime.time(1)]), "'c' holds time64"),
    ],
)
@pytest.mark.parametrize("write", [parquet, arrow])
def test_columns_that_cannot_be_stored_may_be_left_out(
    tmp_path: Path, write: Any, column: pa.Array, words: str
) -> None:
    file = write(pa.table({"x": [1], "y": [2], "c": column}))
    with pytest.raises(InvalidInput, match=words):
        stored(tmp_path, file, target=("y",))
    assert stored(tmp_path, file, target=("y",), features=("x",)).table.to_pydict() == {"x": [1], "y": [2]}


@pytest.mark.parametrize("stream", [True, False])
def test_of_several_wrong_rows_the_first_is_told(tmp_path: Path, stream: bool) -> None:
    """Although batches are looked at side by side."""
    numbers, words = np.arange(1000.0), np.array(["a"] * 1000, object)
    numbers[[120, 121, 130, 999]] = np.inf
    words[100:110] = [f"{place}" * 10_000 for place in range(10)]
    content = arrow({"x": numbers, "word": words, "y": np.zeros(1000)}, stream=stream, rows_of_batch=10)
    with pytest.raises(InvalidInput, match=r"column 'word' holds texts of up to 10000") as refused:
        stored(tmp_path, content, target=("y",))
    assert refused.value.problems[0][0] == "file"
    with pytest.raises(InvalidInput, match="Row 121, column 'x': the value is infinite"):
        stored(tmp_path, content, target=("y",), features=("x",))


def test_text_of_many_values_is_no_category_unless_it_is_said(tmp_path: Path) -> None:
    def file(count: int) -> bytes:
        return b"t,y\n" + b"".join(b"k%d,1\n" % row for row in range(count))

    assert stored(tmp_path, file(1000), target=("y",)).content.inputs == 1000
    with pytest.raises(InvalidInput, match=r'more than 1000 .* Leave it out .* types={"t": "category"}, .* to 10000'):
        stored(tmp_path, file(1001), target=("y",))
    assert stored(tmp_path, file(10_000), target=("y",), types={"t": "category"}).content.inputs == 10_000
    with pytest.raises(InvalidInput, match=r"more than 10000 .* leave it out"):
        stored(tmp_path, file(10_001), target=("y",), types={"t": "category"})
    with pytest.raises(InvalidInput, match="texts of up to 1001 characters"):
        stored(tmp_path, b"t,y\n" + b"x" * 1001 + b",1\n", target=("y",))
