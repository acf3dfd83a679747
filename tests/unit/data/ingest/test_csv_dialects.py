"""Dialects, encodings and compressions of text tables as spreadsheets, pandas and R write them."""

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nabla.engine.data.ingest_options import SourceFile
from nabla.engine.data.schema import Column
from nabla.engine.errors import InvalidInput
from tests.unit.data.ingest.sample_files import IngestedDataset, ingest, ingest_sources, parquet_bytes, zstd_bytes

TABLE = b"a,y\n1.5,2\n2.5,3\n"
VALUES = {"a": [1.5, 2.5], "y": [2, 3]}


def read(directory: Path, content: bytes, name: str = "", content_type: str = "", **options: Any) -> IngestedDataset:
    """Ingest one file with a name and a media type."""
    path = directory / "file"
    path.write_bytes(content)
    return ingest_sources(directory, [SourceFile((path,), name, content_type, "file")], **options)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_decimal_commas_beside_each_delimiter(tmp_path: Path, delimiter: str) -> None:
    lines = ["a;town;y", "1,5;Bonn, Rhein;2,25", "-2,5;Ulm;3,5", "1.234,5;Ulm;1e2"]
    dataset = ingest(tmp_path, "\n".join(lines).replace(";", delimiter).encode(), target=("y",))
    towns = ["Bonn, Rhein", "Ulm", "Ulm"]
    assert dataset.table.to_pydict() == {"a": [1.5, -2.5, 1234.5], "town": towns, "y": [2.25, 3.5, 100]}
    (note,) = dataset.content.notes
    assert "decimal separator of the columns 'a', 'y'" in note


def test_decimal_commas_in_quotes_beside_commas(tmp_path: Path) -> None:
    dataset = ingest(tmp_path, b'a,y\n"1,5","2,25"\n"2,5",3\n', target=("y",))
    assert dataset.table.to_pydict() == {"a": [1.5, 2.5], "y": [2.25, 3]}


def test_comma_that_may_separate_thousands_or_decimals_is_asked_for(tmp_path: Path) -> None:
    content = b"a;y\n1,234;2\n2,345;3\n"
    with pytest.raises(InvalidInput, match=r'numbers such as 1,234.*Set decimal to "\." or ","'):
        ingest(tmp_path, content, target=("y",))
    for decimal, first in ((",", 1.234), (".", 1234)):
        assert ingest(tmp_path, content, target=("y",), decimal=decimal).table["a"][0].as_py() == first


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b'"height, cm",y', "height, cm"),
        (b'"height, cm; rounded",y', "height, cm; rounded"),
        (b'"height, cm";y', "height, cm"),
        (b"height, cm;y", "height, cm"),
        (b"height, cm; rounded\ty", "height, cm; rounded"),
        (b'"height\n(cm)",y', "height\n(cm)"),
        (b'"5"" pipe",y', '5" pipe'),
    ],
)
def test_names_with_delimiters_and_line_breaks(tmp_path: Path, line: bytes, name: str) -> None:
    delimiter = line.removesuffix(b"y")[-1:]
    rows = b"\n1.5,2\n2.5,3\n".replace(b",", delimiter)
    dataset = ingest(tmp_path, line + rows, target=("y",))
    assert dataset.table.to_pydict() == {name: [1.5, 2.5], "y": [2, 3]}


@pytest.mark.parametrize(
    ("content", "values"),
    [
        (b"sep=;\na;y\n1,5;2\n2,5;3\n", [1.5, 2.5]),
        (b"\xef\xbb\xbfsep=;\r\na;y\r\n1,5;2\r\n2,5;3\r\n", [1.5, 2.5]),
        (b"SEP=,\na,y\n1;5,2\n2;5,3\n", ["1;5", "2;5"]),
        (b"sep=\t\na\ty\n1,5\t2\n2,5\t3\n", [1.5, 2.5]),
        ("sep=|\na|y\n1;2|2\n2;3|3\n".encode("utf-16"), ["1;2", "2;3"]),
    ],
)
def test_first_line_that_states_the_delimiter(tmp_path: Path, content: bytes, values: list[Any]) -> None:
    assert ingest(tmp_path, content, target=("y",)).table.to_pydict() == {"a": values, "y": [2, 3]}


def test_lines_are_counted_from_the_one_that_states_the_delimiter(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="Line 4 has 1 cells"):
        ingest(tmp_path, b"sep=;\na;y\n1;2\n2\n", target=("y",))


@pytest.mark.parametrize(
    ("content", "options", "names"),
    [
        (b"0,1,2\n0.5,1.5,2\n1.5,2.5,3\n", {}, ["0", "1", "2"]),
        (b"2001,2002,2003\n5,6,7\n1,2,4\n", {}, ["2001", "2002", "2003"]),
        (b"2001,2002\n2005,2006\n2001,2002\n", {}, None),
        (b"1,2,3\n3,4,5\n5,6,7\n", {}, None),
        (b"1,2,3\n3,4,5\n5,6,7\n", {"target": ("3",), "unlabeled": False}, ["1", "2", "3"]),
        (b"1,2,3\n3,4,5\n5,6,7\n", {"types": {"2": "number"}}, ["1", "2", "3"]),
        (b"1,2,3\n3,4,5\n5,6,7\n", {"exclude": ("2",)}, ["1", "2", "3"]),
        (b"a,2,y\nq,r,s\nr,t,u\n", {"label": "y", "unlabeled": False}, ["a", "2", "y"]),
        (b"land,2001,2002\nNZ,5.5,6\nDE,1,2\n", {}, ["land", "2001", "2002"]),
        (b"NZ,2001,2002\nDE,2004,2005\nFR,1999,2000\n", {}, None),
        (b"NZ,0,1\nDE,0.5,2\nFR,1.5,2\n", {}, None),
        (b"NZ,5,6\nDE,1,2\nFR,1,2\n", {}, None),
        (b"0.5,1.5\n2.5,3.5\n", {}, None),
        (b"0,1,2\n0.5,1.5,2\n", {"header": False}, None),
    ],
)
def test_first_line_is_a_header_or_a_row(
    tmp_path: Path, content: bytes, options: dict[str, Any], names: list[str] | None
) -> None:
    dataset = ingest(tmp_path, content, **{"unlabeled": True, **options})
    rows = content.count(b"\n") - (names is not None)
    numbered = [f"column_{number + 1}" for number in range(len(dataset.table.column_names))]
    assert (dataset.table.column_names, dataset.table.num_rows) == (names or numbered, rows)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b",a,y\n0,1.5,2\n1,2.5,3\n", ["a", "y"]),
        (b'"","a","y"\n"1",1.5,2\n"2",2.5,3\n', ["a", "y"]),
        (b"\ta\ty\n0\t1.5\t2\n1\t2.5\t3\n", ["a", "y"]),
        (b",a,y\n7,1.5,2\n3,2.5,3\n", ["column_1", "a", "y"]),
        (b",a,y\nq,1.5,2\nr,2.5,3\n", ["column_1", "a", "y"]),
    ],
)
def test_index_without_a_name_is_left_out_if_it_numbers_the_rows(
    tmp_path: Path, content: bytes, names: list[str]
) -> None:
    assert ingest(tmp_path, content, target=("y",)).table.column_names == names


GERMAN = "größe,stadt,y\n1,Köln €,2\n2,Nîmes,3\n"
GERMAN_VALUES = {"größe": [1, 2], "stadt": ["Köln €", "Nîmes"], "y": [2, 3]}


@pytest.mark.parametrize(
    ("encoding", "content_type", "options"),
    [
        ("cp1252", "", {"encoding": "cp1252"}),
        ("cp1252", "text/csv; charset=windows-1252", {}),
        ("cp1252", 'text/csv; charset="cp1252"; header=present', {}),
        ("cp1252", "text/csv; charset=utf-8", {"encoding": "cp1252"}),
        ("cp1252", "", {"cleaning": "auto"}),
        ("cp1252", "", {"cleaning": "auto", "task": "auto", "features": ("größe", "stadt")}),
        ("iso8859-15", "", {"encoding": "iso-8859-15"}),
        ("utf-16", "text/csv; charset=utf-16", {}),
        ("utf-8-sig", "text/csv; charset=utf-8", {"cleaning": "auto"}),
        ("utf-8", "text/csv; charset=unknown-8bit", {}),
    ],
)
def test_encodings_of_csv(tmp_path: Path, encoding: str, content_type: str, options: dict[str, Any]) -> None:
    dataset = read(tmp_path, GERMAN.encode(encoding), "t.csv", content_type, **{"target": ("y",), **options})
    assert dataset.table.drop_columns("y").to_pydict() == {name: GERMAN_VALUES[name] for name in ("größe", "stadt")}
    is_guessed = encoding == "cp1252" and "encoding" not in options and not content_type
    assert ("The file is not UTF-8 text; it is read as cp1252." in dataset.content.notes) == is_guessed


@pytest.mark.parametrize("options", [{}, {"cleaning": "none"}, {"task": "auto"}])
def test_encoding_is_not_guessed_without_cleaning(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"not UTF-8 text \(byte 2\)\. Set encoding"):
        read(tmp_path, GERMAN.encode("cp1252"), "t.csv", **{"target": ("y",), **options})


def test_text_that_is_in_no_guessed_encoding_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"not CP1252 text \(byte 2\)"):
        read(tmp_path, b"gr\x81,y\n1,2\n", "t.csv", target=("y",), cleaning="auto")


def test_utf16_from_a_spreadsheet(tmp_path: Path) -> None:
    content = "größe;y\r\n1,5;2\r\n2,5;3\r\n".encode("utf-16")
    assert ingest(tmp_path, content, target=("y",)).table.to_pydict() == {"größe": [1.5, 2.5], "y": [2, 3]}


@pytest.mark.parametrize(("name", "text"), [("t.json", '[{"größe": 1, "y": 2}]'), ("t.ndjson", '{"größe": 1, "y": 2}')])
def test_encodings_of_json(tmp_path: Path, name: str, text: str) -> None:
    for content_type, options in (("", {"encoding": "cp1252"}), ("application/json; charset=cp1252", {})):
        media_type = content_type if name == "t.json" else content_type.replace("json", "x-ndjson")
        dataset = read(tmp_path, text.encode("cp1252"), name, media_type, target=("y",), **options)
        assert dataset.table.to_pydict() == {"größe": [1], "y": [2]}


def zip_bytes(content: bytes, name: str = "data/t.csv", *others: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/", b"")
        for member in (name, *others):
            archive.writestr(member, content)
    return file.getvalue()


PACKS: dict[str, Callable[[bytes], bytes]] = {
    "zip": zip_bytes,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "gz": gzip.compress,
    "zst": zstd_bytes,
}


@pytest.mark.parametrize("name", ["", "t.csv", "upload"])
@pytest.mark.parametrize("pack", PACKS)
def test_compressions_are_recognized_by_content(tmp_path: Path, pack: str, name: str) -> None:
    dataset = read(tmp_path, PACKS[pack](TABLE), f"{name}.{pack}" if name == "t.csv" else name, target=("y",))
    assert dataset.table.to_pydict() == VALUES
    tabs = read(tmp_path, PACKS[pack](b"a,b\ty\n1\t2\n"), f"t.tsv.{pack}", target=("y",))
    assert tabs.table.column_names == ["a,b", "y"]


@pytest.mark.parametrize("pack", PACKS)
def test_cut_off_compressed_files_are_rejected(tmp_path: Path, pack: str) -> None:
    with pytest.raises(InvalidInput, match=r"is damaged, or its end is missing"):
        read(tmp_path, PACKS[pack](TABLE)[:-8], f"t.csv.{pack}", target=("y",))


@pytest.mark.parametrize("pack", ["bz2", "xz", "gz"])
def test_joined_compressed_files_are_read_as_one(tmp_path: Path, pack: str) -> None:
    dataset = ingest(tmp_path, PACKS[pack](TABLE) + PACKS[pack](b"3.5,4\n"), target=("y",))
    assert dataset.table.to_pydict() == {"a": [1.5, 2.5, 3.5], "y": [2, 3, 4]}


def test_members_of_zip_archives(tmp_path: Path) -> None:
    of_macos = zip_bytes(TABLE, "t.csv", "__MACOSX/._t.csv", ".DS_Store")
    assert ingest(tmp_path, of_macos, target=("y",)).table.to_pydict() == VALUES
    rows = zip_bytes(b'{"a": 1.5, "y": 2}\n{"a": 2.5, "y": 3}\n', "t.ndjson")
    assert ingest(tmp_path, rows, target=("y",)).table.to_pydict() == VALUES
    for content, message in (
        (zip_bytes(TABLE, "t.csv", "README.md"), r"has 2 files: t\.csv, README\.md"),
        (zip_bytes(parquet_bytes(VALUES), "t.parquet"), "parquet file is compressed as a whole"),
        (zip_bytes(b"", "[Content_Types].xml", "xl/workbook.xml"), "is a spreadsheet; export the sheet as CSV"),
    ):
        with pytest.raises(InvalidInput, match=message):
            read(tmp_path, content, "t.zip", target=("y",))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.json", b'[{"a": NaN, "s": "NaN", "y": 1}, {"a": 2.5, "s": "x \\" NaN", "y": 2}]'),
        ("t.json", b'{"a": [NaN, 2.5], "s": ["NaN", "x \\" NaN"], "y": [1, 2]}'),
        ("t.ndjson", b'{"a": NaN, "s": "NaN", "y": 1}\n{"a": 2.5, "s": "x \\" NaN", "y": 2}\n'),
    ],
)
def test_nan_in_json_is_missing_and_text_stays(tmp_path: Path, name: str, content: bytes) -> None:
    dataset = read(tmp_path, content, name, target=("y",), imputation="mean", types={"s": "category"})
    assert dataset.table.to_pydict() == {"a": [None, 2.5], "s": ["NaN", 'x " NaN'], "y": [1, 2]}
    with pytest.raises(InvalidInput, match="'a' has no value in row 1"):
        read(tmp_path, content, name, target=("y",))


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        ("007 008 010 011", ["007", "008", "010", "011"]),
        ("01067 10115 80331 ", ["01067", "10115", "80331", None]),
        ("0 10 20 5", [0, 10, 20, 5]),
        ("0.5 00.5 1 007", [0.5, 0.5, 1, 7]),
        ("-01 1 2 3", [-1, 1, 2, 3]),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_digits_with_leading_zeros_are_codes(tmp_path: Path, delimiter: str, cells: str, values: list[Any]) -> None:
    rows = "".join(f"{cell}{delimiter}{row}\n" for row, cell in enumerate(cells.split(" ")))
    dataset = ingest(tmp_path, f"x{delimiter}y\n{rows}".encode(), target=("y",), imputation="most_frequent")
    assert dataset.table.column("x").to_pylist() == values


def test_targets_with_leading_zeros_are_numbers(tmp_path: Path) -> None:
    dataset = ingest(tmp_path, b"x,y\n1,007\n2,010\n", target=("y",))
    assert dataset.table.column("y").to_pylist() == [7, 10]


@pytest.mark.parametrize("address", [b"0x1F", b"0XFF", b"0x1p3"])
def test_hexadecimal_text_in_an_unused_column(tmp_path: Path, address: bytes) -> None:
    """Arrow takes it for a number, also where other rows have decimal ones."""
    for first in (address, b"12"):
        dataset = ingest(tmp_path, b"a,h,y\n1.5,%s,2\n2.5,%s,3\n" % (first, address), target=("y",), features=("a",))
        assert dataset.table.to_pydict() == {**VALUES, "h": [first.decode(), address.decode()]}
        assert dataset.content.features == (Column("a", "number"),)


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (b"DE NA FR", ["DE", "NA", "FR"]),
        (b"NA DE FR", ["NA", "DE", "FR"]),
        (b"DE NA USA", ["DE", None, "USA"]),
        (b"A NA B", ["A", None, "B"]),
        (b"de NA fr", ["de", None, "fr"]),
    ],
)
def test_na_is_a_code_among_two_letter_codes(tmp_path: Path, cells: bytes, values: list[str | None]) -> None:
    rows = b"".join(b"%s,%d\n" % (cell, number) for number, cell in enumerate(cells.split()))
    dataset = ingest(tmp_path, b"c,y\n" + rows, target=("y",), imputation="most_frequent")
    assert dataset.table["c"].to_pylist() == values
    if None not in values:
        assert ingest(tmp_path, b"c,y\n" + rows, label="c").content.classes == ("DE", "FR", "NA")


@pytest.mark.parametrize("encoding", ["utf-16", "ascii", "punycode", "undefined"])
def test_wrong_encoding_is_an_error_of_the_file(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(InvalidInput):
        ingest(tmp_path, "größe,y\n1,2\n3,4\n".encode("latin-1"), target=("y",), encoding=encoding)


@pytest.mark.parametrize(
    ("text", "options", "names"),
    [
        ("Report\n\na,b,y\n1,2,3\n4,5,6\n7,8,9\n", {"cleaning": "auto"}, ["a", "b", "y"]),
        ("# made by x, y and z\n# on Monday\na;b;y\n1;2;3\n4;5;6\n", {"cleaning": "auto"}, ["a", "b", "y"]),
        ('a,b,y\n"US\nUSA",2,3\n"AT\nAUT\n",5,6\n1,2,3\n', {"cleaning": "auto"}, ["a", "b", "y"]),
        ('"Report,\nof May"\na,b,y\n"US\nUSA",2,3\n4,5,6\n7,8,9\n', {"cleaning": "auto"}, ["a", "b", "y"]),
        ("a,b,y\n1,2,3\n4,5,6\n\n7,8,9\n1,2,3\n", {"cleaning": "auto"}, ["a", "b", "y"]),
        ('"a\n(USD)",b,y\n1,2,3\n4,5,6\n7,8,9\n', {"cleaning": "auto"}, ["a\n(USD)", "b", "y"]),
        ("one\ntwo, three\na,b,y\n1,2,3\n4,5,6\n7,8,9\n", {"cleaning": "auto"}, ["a", "b", "y"]),
        ("one\ntwo, three\na,b,y\n1,2,3\n4,5,6\n", {"skip_rows": 2}, ["a", "b", "y"]),
        ('a,b,y\n# no, "row\n1,2,3\n4,"x\n# y",6\n', {"comment": "#"}, ["a", "b", "y"]),
        ("a b y\n1 2 3\n4 5 6\n", {"delimiter": " "}, ["a", "b", "y"]),
        ("a;b,c;y\n1;2,5;3\n4;5,5;6\n", {"delimiter": ";"}, ["a", "b,c", "y"]),
    ],
)
def test_lines_before_the_table_comments_and_other_delimiters(
    tmp_path: Path, text: str, options: dict[str, Any], names: list[str]
) -> None:
    dataset = ingest(tmp_path, text.encode(), target=("y",), **options)
    assert dataset.table.column_names == names
    assert dataset.table.column("y").to_pylist()[:2] == [3, 6]


def test_errors_after_skipped_lines_and_comments_name_lines_of_the_file(tmp_path: Path) -> None:
    text = b"title\n#c\na,y\n1,2\n# c\n3\n"
    with pytest.raises(InvalidInput, match="Line 6 has 1 cells"):
        ingest(tmp_path, text, target=("y",), skip_rows=1, comment="#")


def test_file_that_begins_with_other_lines_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="If lines precede the table, set skip_rows"):
        ingest(tmp_path, b"title\na,y\n1,2\n3,4\n", target=("y",))
