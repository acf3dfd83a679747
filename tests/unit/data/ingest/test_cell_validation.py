"""Values that Arrow has and others have not: far dates, unknown zones, numbers as categories, text that is none."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from nabla.engine.data.preview import viewed
from nabla.engine.data.request_rows import named_columns_of
from nabla.engine.data.table_features import TableFeatures
from nabla.engine.errors import InvalidInput
from tests.unit.data.ingest.sample_files import Stored, arrow, npy, parquet, stored
from tests.unit.data.test_profiling import dataset, looked_at

Y = [1.0, 2.0, 3.0]


def rows(found: Stored) -> list[list[Any]]:
    with viewed(dataset(found), found.folder) as view:
        return view.rows(0, found.content.rows)


@pytest.mark.parametrize("write", [parquet, arrow])
@pytest.mark.parametrize("features", [("t", "a"), ("a",)])
def test_times_of_every_unit_and_zone_are_shown(tmp_path: Path, write: Any, features: tuple[str, ...]) -> None:
    times = {
        "t": pa.array([1, 1500, None], pa.timestamp("ns")),
        "a": pa.array([1, 2, 3], pa.timestamp("us", "Mars/Olympus")),
        "b": pa.array([1, 2, 3], pa.timestamp("ns", "Europe/Berlin")),
        "y": Y,
    }
    types = dict.fromkeys(features, "date")
    found = stored(tmp_path, write(times), target=("y",), features=features, types=types, imputation="mean")
    assert [row[0] for row in rows(found)] == ["1970-01-01T00:00:00", "1970-01-01T00:00:00.000001", None]
    assert rows(found)[0][1:3] == ["1970-01-01T00:00:00.000001+00:00", "1970-01-01T00:00:00+00:00"]
    assert [column.distinct for column in looked_at(found).columns] == [2, 3, 1, 3]


@pytest.mark.parametrize("write", [parquet, arrow])
@pytest.mark.parametrize("features", [("t",), ("y",)])
@pytest.mark.parametrize(
    "values",
    [
        pa.array([0, 2**60, 0], pa.timestamp("ms")),
        pa.array([0, -(2**31), 0], pa.int32()).cast(pa.date32()),
        pa.array([0, 253_402_300_800, None], pa.timestamp("s")),
    ],
)
def test_dates_that_no_calendar_has_are_refused(
    tmp_path: Path, write: Any, values: pa.Array, features: tuple[str, ...]
) -> None:
    types = {"t": "date"} if features == ("t",) else {}
    table = {"t": values, "y": Y, "z": Y}
    with pytest.raises(InvalidInput, match="Row 2, column 't': the date is beyond the years 1 to 9999"):
        stored(tmp_path, write(table), target=("z",), features=features, types=types, imputation="mean")


def test_the_first_and_the_last_day_are_accepted(tmp_path: Path) -> None:
    values = pa.array([-62_135_596_800, 253_402_300_799], pa.timestamp("s"))
    found = stored(tmp_path, parquet({"t": values, "y": Y[:2], "z": Y[:2]}), target=("z",), features=("y",))
    assert [row[0] for row in rows(found)] == ["0001-01-01T00:00:00", "9999-12-31T23:59:59"]


def codes(found: Stored) -> list[int]:
    assert found.content.features is not None
    (path,) = found.folder.glob("table.*.arrow")
    (read,) = TableFeatures(path, found.content.features).read(np.arange(found.content.rows))
    return [int(code) for code in read]


@pytest.mark.parametrize("write", [parquet, arrow])
@pytest.mark.parametrize("type", [pa.float64(), pa.float32()])
def test_numbers_as_categories_have_one_spelling(tmp_path: Path, write: Any, type: pa.DataType) -> None:
    numbers = [1e-7, 0.1, 1e20, 1e16, -0.0, 0.0, float("nan"), 3.0]
    table = {"a": pa.array(numbers, type), "y": [1.0] * len(numbers)}
    options: dict[str, Any] = {"target": ("y",), "types": {"a": "category"}, "imputation": "most_frequent"}
    found = stored(tmp_path, write(table), **options)
    assert found.content.features is not None
    (column,) = found.content.features
    assert (set(column.categories), column.missing) == ({"1e-07", "0.1", "1e+20", "1e+16", "0", "3"}, 1)
    read = codes(found)
    assert read[4] == read[5]
    asked = named_columns_of([{"a": None if number != number else number} for number in numbers], [column], "rows")
    assert asked[0].tolist() == read
    assert min(code for place, code in enumerate(read) if place != 6) >= 0
    assert read[6] == min(read)


def labelled(tmp_path: Path, labels: Any, **options: Any) -> Stored:
    inputs = npy(np.arange(len(labels), dtype=np.float64))
    return stored(tmp_path, ("inputs", inputs), ("labels", npy(labels)), **options)


def test_labels_of_zero_and_of_half_precision(tmp_path: Path) -> None:
    assert labelled(tmp_path / "a", [0.0, -0.0, 1.0]).content.classes == ("0", "1")
    found = labelled(tmp_path / "b", np.array([2, 1, 2], np.float16))
    assert found.content.classes == ("1", "2")
    assert found.array("codes").tolist() == [1, 0, 1]
    table = stored(tmp_path / "c", parquet({"a": Y, "y": [-0.0, 0.0, 1.0]}), label="y")
    assert (table.content.classes, table.array("codes").tolist()) == (("0", "1"), [0, 0, 1])


@pytest.mark.parametrize("letter", [0xD800, 0x110000, 0xFFFFFFFF])
@pytest.mark.parametrize("order", ["<", ">"])
def test_labels_of_no_text(tmp_path: Path, letter: int, order: str) -> None:
    labels = np.array([[97, 0], [97, letter], [98, 0]], f"{order}u4").view(f"{order}U2").reshape(-1)
    with pytest.raises(InvalidInput, match="no letter of Unicode") as refused:
        labelled(tmp_path, labels)
    assert refused.value.problems[0][0] == "labels.1"


def test_labels_larger_than_any_number_of_arrow(tmp_path: Path) -> None:
    found = stored(tmp_path, ("x.json", b'{"inputs":[[1],[2],[3]],"labels":[18446744073709551615,1,1]}'))
    assert found.content.classes == ("1", "18446744073709551615")


def test_a_dictionary_of_views(tmp_path: Path) -> None:
    values = pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array(["a", "b" * 50], pa.string_view()))
    found = stored(tmp_path, arrow({"a": values, "y": Y}), target=("y",), imputation="most_frequent")
    assert found.table.column("a").to_pylist() == ["a", "b" * 50, None]


@pytest.mark.parametrize("classes", [None, ("a", "b", "x" * 1001)])
def test_names_of_classes_have_a_limit(tmp_path: Path, classes: tuple[str, ...] | None) -> None:
    labels = ["a", "b", "a" if classes else "x" * 1001]
    with pytest.raises(InvalidInput, match="at most 1000"):
        stored(tmp_path, parquet({"a": Y, "y": labels}), label="y", classes=classes)


def test_a_spreadsheet_is_called_so(tmp_path: Path) -> None:
    for name, first in (
        ("a.xlsx", "[Content_Types].xml"),
        ("a.bin", "xl/workbook.xml"),
        ("a.ods", "mimetype"),
    ):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(first, "application/vnd.oasis.opendocument.spreadsheet" if name == "a.ods" else "<x/>")
        with pytest.raises(InvalidInput, match=f"'{name}' is a spreadsheet; export the sheet as CSV"):
            stored(tmp_path / name, (name, file.getvalue()), target=("y",))
    with pytest.raises(InvalidInput, match="The file is a spreadsheet"):
        stored(tmp_path / "old", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600), target=("y",))


@pytest.mark.parametrize("role", ["target", "weight"])
def test_dates_are_no_numbers_to_learn(tmp_path: Path, role: str) -> None:
    table = {"a": Y, "t": pa.array([1, 2, 3], pa.timestamp("s"))}
    options: dict[str, Any] = {"target": ("t",)} if role == "target" else {"target": ("a",), "weight": "t"}
    with pytest.raises(InvalidInput, match="'t' holds dates; a column of numbers is expected") as refused:
        stored(tmp_path, parquet({**table, "b": Y}), **options)
    assert refused.value.problems[0][0] == role
