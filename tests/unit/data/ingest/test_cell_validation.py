"""Values that Arrow supports and Python or JSON do not, and values at the limits."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from nabla.engine.data.dataset_reader import open_reader
from nabla.engine.data.profiling import profile_dataset
from nabla.engine.data.request_rows import parse_records
from nabla.engine.data.table_features import TableFeatures
from nabla.engine.errors import InvalidInput
from tests.unit.data.ingest.sample_files import IngestedDataset, arrow_bytes, ingest, npy_bytes, parquet_bytes

Y = [1.0, 2.0, 3.0]


def preview_rows(dataset: IngestedDataset) -> list[list[Any]]:
    with open_reader(dataset.to_dataset(), dataset.directory) as view:
        return view.read_rows(0, dataset.content.rows)


@pytest.mark.parametrize("write", [parquet_bytes, arrow_bytes])
@pytest.mark.parametrize("features", [("t", "a"), ("a",)])
def test_timestamps_of_every_unit_and_time_zone(tmp_path: Path, write: Any, features: tuple[str, ...]) -> None:
    times = {
        "t": pa.array([1, 1500, None], pa.timestamp("ns")),
        "a": pa.array([1, 2, 3], pa.timestamp("us", "Mars/Olympus")),
        "b": pa.array([1, 2, 3], pa.timestamp("ns", "Europe/Berlin")),
        "y": Y,
    }
    types = dict.fromkeys(features, "date")
    dataset = ingest(tmp_path, write(times), target=("y",), features=features, types=types, imputation="mean")
    assert [row[0] for row in preview_rows(dataset)] == ["1970-01-01T00:00:00", "1970-01-01T00:00:00.000001", None]
    assert preview_rows(dataset)[0][1:3] == ["1970-01-01T00:00:00.000001+00:00", "1970-01-01T00:00:00+00:00"]
    profile = profile_dataset(dataset.to_dataset(), dataset.directory, lambda _: None)
    assert [column.distinct for column in profile.columns] == [2, 3, 1, 3]


@pytest.mark.parametrize("write", [parquet_bytes, arrow_bytes])
@pytest.mark.parametrize("features", [("t",), ("y",)])
@pytest.mark.parametrize(
    "values",
    [
        pa.array([0, 2**60, 0], pa.timestamp("ms")),
        pa.array([0, -(2**31), 0], pa.int32()).cast(pa.date32()),
        pa.array([0, 253_402_300_800, None], pa.timestamp("s")),
    ],
)
def test_dates_outside_years_1_to_9999_are_rejected(
    tmp_path: Path, write: Any, values: pa.Array, features: tuple[str, ...]
) -> None:
    types = {"t": "date"} if features == ("t",) else {}
    table = {"t": values, "y": Y, "z": Y}
    with pytest.raises(InvalidInput, match="Row 2, column 't': the date is outside the accepted years 1 to 9999"):
        ingest(tmp_path, write(table), target=("z",), features=features, types=types, imputation="mean")


def test_first_and_last_accepted_day(tmp_path: Path) -> None:
    values = pa.array([-62_135_596_800, 253_402_300_799], pa.timestamp("s"))
    dataset = ingest(tmp_path, parquet_bytes({"t": values, "y": Y[:2], "z": Y[:2]}), target=("z",), features=("y",))
    assert [row[0] for row in preview_rows(dataset)] == ["0001-01-01T00:00:00", "9999-12-31T23:59:59"]


def decode_codes(dataset: IngestedDataset) -> list[int]:
    assert dataset.content.features is not None
    (path,) = dataset.directory.glob("table.*.arrow")
    (read,) = TableFeatures(path, dataset.content.features).read(np.arange(dataset.content.rows))
    return [int(code) for code in read]


@pytest.mark.parametrize("write", [parquet_bytes, arrow_bytes])
@pytest.mark.parametrize("type", [pa.float64(), pa.float32()])
def test_numeric_categories_have_one_spelling(tmp_path: Path, write: Any, type: pa.DataType) -> None:
    numbers = [1e-7, 0.1, 1e20, 1e16, -0.0, 0.0, float("nan"), 3.0]
    table = {"a": pa.array(numbers, type), "y": [1.0] * len(numbers)}
    options: dict[str, Any] = {"target": ("y",), "types": {"a": "category"}, "imputation": "most_frequent"}
    dataset = ingest(tmp_path, write(table), **options)
    assert dataset.content.features is not None
    (column,) = dataset.content.features
    assert (set(column.categories), column.missing) == ({"1e-07", "0.1", "1e+20", "1e+16", "0", "3"}, 1)
    read = decode_codes(dataset)
    assert read[4] == read[5]
    requested = parse_records([{"a": None if number != number else number} for number in numbers], [column], "rows")
    assert requested[0].tolist() == read
    assert min(code for index, code in enumerate(read) if index != 6) >= 0
    assert read[6] == min(read)


def ingest_labels(tmp_path: Path, labels: Any, **options: Any) -> IngestedDataset:
    inputs = npy_bytes(np.arange(len(labels), dtype=np.float64))
    return ingest(tmp_path, ("inputs", inputs), ("labels", npy_bytes(labels)), **options)


def test_labels_of_negative_zero_and_float16(tmp_path: Path) -> None:
    assert ingest_labels(tmp_path / "a", [0.0, -0.0, 1.0]).content.classes == (0, 1)
    dataset = ingest_labels(tmp_path / "b", np.array([2, 1, 2], np.float16))
    assert dataset.content.classes == (1, 2)
    assert dataset.array("codes").tolist() == [1, 0, 1]
    table = ingest(tmp_path / "c", parquet_bytes({"a": Y, "y": [-0.0, 0.0, 1.0]}), label="y")
    assert (table.content.classes, table.array("codes").tolist()) == ((0, 1), [0, 0, 1])


@pytest.mark.parametrize("code_point", [0xD800, 0x110000, 0xFFFFFFFF])
@pytest.mark.parametrize("order", ["<", ">"])
def test_labels_of_invalid_unicode_are_rejected(tmp_path: Path, code_point: int, order: str) -> None:
    labels = np.array([[97, 0], [97, code_point], [98, 0]], f"{order}u4").view(f"{order}U2").reshape(-1)
    with pytest.raises(InvalidInput, match="not valid Unicode") as error:
        ingest_labels(tmp_path, labels)
    assert error.value.problems[0][0] == "labels.1"


def test_labels_beyond_int64(tmp_path: Path) -> None:
    dataset = ingest(tmp_path, ("x.json", b'{"inputs":[[1],[2],[3]],"labels":[18446744073709551615,1,1]}'))
    assert dataset.content.classes == ("1", "18446744073709551615")


def test_dictionary_of_string_views(tmp_path: Path) -> None:
    values = pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array(["a", "b" * 50], pa.string_view()))
    dataset = ingest(tmp_path, arrow_bytes({"a": values, "y": Y}), target=("y",), imputation="most_frequent")
    assert dataset.table.column("a").to_pylist() == ["a", "b" * 50, None]


@pytest.mark.parametrize("classes", [None, ("a", "b", "x" * 1001)])
def test_class_names_are_limited_in_length(tmp_path: Path, classes: tuple[str, ...] | None) -> None:
    labels = ["a", "b", "a" if classes else "x" * 1001]
    with pytest.raises(InvalidInput, match="at most 1000"):
        ingest(tmp_path, parquet_bytes({"a": Y, "y": labels}), label="y", classes=classes)


def test_spreadsheets_are_rejected(tmp_path: Path) -> None:
    for name, first in (
        ("a.xlsx", "[Content_Types].xml"),
        ("a.bin", "xl/workbook.xml"),
        ("a.ods", "mimetype"),
    ):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(first, "application/vnd.oasis.opendocument.spreadsheet" if name == "a.ods" else "<x/>")
        with pytest.raises(InvalidInput, match=f"'{name}' is a spreadsheet; export the sheet as CSV"):
            ingest(tmp_path / name, (name, file.getvalue()), target=("y",))
    with pytest.raises(InvalidInput, match="The file is a spreadsheet"):
        ingest(tmp_path / "old", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600), target=("y",))


@pytest.mark.parametrize("role", ["target", "weight"])
def test_dates_as_targets_or_weights_are_rejected(tmp_path: Path, role: str) -> None:
    table = {"a": Y, "t": pa.array([1, 2, 3], pa.timestamp("s"))}
    options: dict[str, Any] = {"target": ("t",)} if role == "target" else {"target": ("a",), "weight": "t"}
    with pytest.raises(InvalidInput, match="'t' holds dates; a column of numbers is expected") as error:
        ingest(tmp_path, parquet_bytes({**table, "b": Y}), **options)
    assert error.value.problems[0][0] == role
