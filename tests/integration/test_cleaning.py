"""Cleaning of untidy tables, in every format in which a table reaches the service."""

import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from nabla.app.client import Client, Dataset, InvalidInput, Network
from nabla.app.schemas.datasets import ColumnView
from tests.support.service import RunningService
from tests.support.table_uploads import UPLOAD_FORMATS, Table, upload_table

ROWS = 120
FIRST_DAY = datetime.date(2024, 1, 1)
# The other formats have text in their place.
FORMATS_WITH_DATES = ("parquet", "arrow", "pandas", "polars")
# Town 0 to town 59 once each, and town 60 in all other rows.
TOWNS = [f"town {min(row, 60)}" for row in range(ROWS)]
TARGET = [row % 6 + 0.5 for row in range(ROWS)]

# Columns, each with the reason for which it is left out; None if it is kept.
COLUMNS: dict[str, tuple[str, Sequence[Any], str | None]] = {
    "identifiers in any order": ("PassengerId", [500 + row * 7 % ROWS for row in range(ROWS)], "an identifier"),
    "numbers of the rows": ("row_number", list(range(1, ROWS + 1)), "it numbers the rows"),
    "repeated identifiers": ("shop_id", [row % 30 for row in range(ROWS)], None),
    "different numbers of another name": ("weight", [500 + row * 7 % ROWS for row in range(ROWS)], None),
    "consecutive years": ("year", [1900 + row for row in range(ROWS)], None),
    "names": ("name", [f"Person {row}" for row in range(ROWS)], "nearly every row has another text"),
    "names with a few repetitions": ("name", [f"Person {row % 110}" for row in range(ROWS)], "another text"),
    "names, some of them missing": ("name", [f"P {row}" if row % 3 else None for row in range(ROWS)], "another text"),
    "long text": ("review", ["good " * 300, "bad"] * 60, "its texts are too many or too long"),
    "equal numbers": ("version", [7.0] * ROWS, "it has the same value in all rows"),
    "equal texts": ("country", ["NZ"] * ROWS, "it has the same value in all rows"),
    "equal numbers, some of them missing": ("checked", [1, None] * 60, None),
    "no values": ("notes", [None] * ROWS, "it has no value"),
}
MISSING: dict[str, tuple[Sequence[Any], str, str]] = {
    "numbers": ([1.5, None, 2.5] * 40, "median", "median"),
    "whole numbers": ([1, None, 2] * 40, "median", "median"),
    "numbers as text": (["1.5", "?", "2.5"] * 40, "median", "median"),
    "categories": (["clerk", None, "smith"] * 40, "constant", "a category of their own"),
    "booleans": ([True, None, False] * 40, "most_frequent", "most frequent"),
}
UNTIDY: dict[str, Sequence[Any]] = {
    "town": TOWNS,
    "size": [None if row % 5 == 0 else float(row % 9) for row in range(ROWS)],
    "job": [None if row % 7 == 0 else ("clerk", "smith")[row % 2] for row in range(ROWS)],
    "y": TARGET,
}


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


def days(upload_format: str, step: datetime.timedelta, count: int = ROWS) -> list[Any]:
    """Return moments in the type of the format: whole days if the step is one."""
    is_time = step % datetime.timedelta(days=1) != datetime.timedelta(0)
    first = datetime.datetime(2024, 1, 1) if is_time else FIRST_DAY
    moments = [first + row * step for row in range(count)]
    return moments if upload_format in FORMATS_WITH_DATES else [moment.isoformat() for moment in moments]


def clean(client: Client, directory: Path, upload_format: str, table: Table, **options: Any) -> Dataset:
    return upload_table(client, directory, upload_format, table, **{"target": "y", "cleaning": "auto", **options})


def columns(dataset: Dataset) -> dict[str, ColumnView]:
    return {column.name: column for column in dataset.view.columns or ()}


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize("kind", COLUMNS)
def test_columns_without_use_are_left_out_and_named(
    client: Client, tmp_path: Path, upload_format: str, kind: str
) -> None:
    name, values, reason = COLUMNS[kind]
    table: dict[str, Sequence[Any]] = {name: values, "x": [row % 11 for row in range(ROWS)], "y": TARGET}
    dataset = clean(client, tmp_path, upload_format, table)
    left_out = [note for note in dataset.view.notes or () if "left out" in note]
    if reason is None:
        assert (list(columns(dataset)), left_out) == ([name, "x"], [])
        return
    assert list(columns(dataset)) == ["x"]
    (note,) = left_out
    assert note.startswith(f"These columns are left out: '{name}' (")
    assert reason in note


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize("kind", [kind for kind, (name, *_) in COLUMNS.items() if name not in ("review", "notes")])
def test_named_features_are_kept(client: Client, tmp_path: Path, upload_format: str, kind: str) -> None:
    name, values, _ = COLUMNS[kind]
    table: dict[str, Sequence[Any]] = {name: values, "x": [row % 11 for row in range(ROWS)], "y": TARGET}
    dataset = clean(client, tmp_path, upload_format, table, features=["x", name])
    assert set(columns(dataset)) == {"x", name}
    assert not any("left out" in note for note in dataset.view.notes or ())


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_columns_of_a_named_type_are_kept(client: Client, tmp_path: Path, upload_format: str) -> None:
    table: dict[str, Sequence[Any]] = {
        "id": list(range(ROWS)),
        "name": [f"P {row}" for row in range(ROWS)],
        "y": TARGET,
    }
    dataset = clean(client, tmp_path, upload_format, table, types={"id": "number", "name": "category"})
    assert list(columns(dataset)) == ["id", "name"]
    assert len(columns(dataset)["name"].categories or ()) == ROWS


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_table_without_any_usable_column_is_rejected(client: Client, tmp_path: Path, upload_format: str) -> None:
    with pytest.raises(InvalidInput, match=r"No column is left to learn from: 'id' \(it numbers the rows\)"):
        clean(client, tmp_path, upload_format, {"id": list(range(ROWS)), "y": TARGET})


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize("kind", MISSING)
def test_missing_values_are_filled_and_counted(client: Client, tmp_path: Path, upload_format: str, kind: str) -> None:
    values, imputation, description = MISSING[kind]
    dataset = clean(client, tmp_path, upload_format, {"size": values, "y": TARGET})
    column = columns(dataset)["size"]
    assert (column.missing, column.imputation) == (40, imputation)
    if column.type == "category":
        assert column.categories == ["(missing)", "clerk", "smith"]
    assert f"Missing values are filled: 'size' (40: {description})." in (dataset.view.notes or ())
    assert dataset.view.rows == ROWS


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_named_imputation_takes_precedence(client: Client, tmp_path: Path, upload_format: str) -> None:
    table: dict[str, Sequence[Any]] = {"size": [1.5, None, 2.5] * 40, "job": ["clerk", None, "smith"] * 40, "y": TARGET}
    options = {"imputation": {"size": "mean", "job": "constant"}, "constants": {"job": "none"}}
    dataset = clean(client, tmp_path, upload_format, table, **options)
    assert columns(dataset)["size"].imputation == "mean"
    assert columns(dataset)["job"].categories == ["clerk", "none", "smith"]


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_rare_categories_are_joined(client: Client, tmp_path: Path, upload_format: str) -> None:
    dataset = clean(client, tmp_path, upload_format, UNTIDY)
    categories = columns(dataset)["town"].categories or []
    assert len(categories) == 50
    assert {"(other)", "town 60"} <= set(categories)
    assert "12 rare categories of 'town' are joined as (other)." in (dataset.view.notes or ())
    fifty = clean(client, tmp_path, upload_format, {"town": [f"town {row % 50}" for row in range(ROWS)], "y": TARGET})
    assert (len(columns(fifty)["town"].categories or ()), fifty.view.notes) == (50, [])


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize(
    ("step", "inputs", "parts"),
    [
        (datetime.timedelta(days=9), 5, "the year, the week"),
        (datetime.timedelta(hours=35), 7, "the year, the week, the day"),
    ],
)
def test_dates_get_their_positions_in_periods(
    client: Client, tmp_path: Path, upload_format: str, step: datetime.timedelta, inputs: int, parts: str
) -> None:
    dataset = clean(client, tmp_path, upload_format, {"day": days(upload_format, step), "y": TARGET})
    assert (columns(dataset)["day"].type, columns(dataset)["day"].inputs, dataset.inputs) == ("date", inputs, inputs)
    assert dataset.view.notes == [f"The date 'day' becomes days, and its positions in {parts}."]
    plain = clean(
        client, tmp_path, upload_format, {"day": days(upload_format, step), "y": TARGET}, types={"day": "date"}
    )
    assert (plain.inputs, plain.view.notes) == (1, [])


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize("options", [{"target": "y"}, {"target": "y", "task": "auto"}, {"label": "y", "target": ()}])
def test_rows_without_a_target_are_left_out_and_counted(
    client: Client, tmp_path: Path, upload_format: str, options: dict[str, Any]
) -> None:
    missing = 1 if "label" in options else 4
    target = [None if 2 <= row < 2 + missing else row % 2 for row in range(ROWS)]
    dataset = clean(client, tmp_path, upload_format, {"x": [row % 11 for row in range(ROWS)], "y": target}, **options)
    counted = "1 row without a target is left out." if missing == 1 else "4 rows without a target are left out."
    assert dataset.view.rows == ROWS - missing
    assert counted in (dataset.view.notes or ())
    assert [row[0] for row in dataset.get_rows(limit=4).data] == [0, 1, 2 + missing, 3 + missing]


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_table_without_any_target_is_rejected(client: Client, tmp_path: Path, upload_format: str) -> None:
    with pytest.raises(InvalidInput, match="No row has a target"):
        clean(client, tmp_path, upload_format, {"x": list(range(ROWS)), "y": [None] * ROWS})


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize("options", [{}, {"cleaning": "none"}])
def test_without_cleaning_all_problems_are_reported_at_once(
    client: Client, tmp_path: Path, upload_format: str, options: dict[str, Any]
) -> None:
    table: dict[str, Sequence[Any]] = {
        **UNTIDY,
        "day": days(upload_format, datetime.timedelta(days=9)),
        "height": [*(f"{row}.5" for row in range(ROWS - 1)), "tall"],
        "review": ["good " * 300] * ROWS,
        "y": [None, *TARGET[1:]],
    }
    with pytest.raises(InvalidInput) as raised:
        upload_table(client, tmp_path, upload_format, table, target="y", **options)
    messages = "\n".join(error["message"] for error in raised.value.errors)
    names = ["'height'", "'y'", "'day'", "'review'", "'size'", "'job'"]
    assert [next(name for name in names if name in error["message"]) for error in raised.value.errors] == names
    for part in ("'tall' in row 120", "no value in row 1", "holds dates", "1500 characters", "19 more", "imputation"):
        assert part in messages


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_unlabeled_rows_keep_all_columns(client: Client, tmp_path: Path, upload_format: str) -> None:
    table: dict[str, Sequence[Any]] = {
        "id": list(range(ROWS)),
        "c": [1.5] * ROWS,
        "name": [f"P {row}" for row in range(ROWS)],
    }
    dataset = clean(client, tmp_path, upload_format, table, target=(), unlabeled=True)
    assert list(columns(dataset)) == ["id", "c", "name"]


@pytest.fixture(scope="module")
def network(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Network:
    """Train on a table with everything that is cleaned."""
    table = {**UNTIDY, "day": days("parquet", datetime.timedelta(hours=35))}
    dataset = clean(client, tmp_path_factory.mktemp("untidy"), "parquet", table)
    proposal = dataset.propose(hidden_units=[4], epochs=3)
    created = client.create_network(**{**proposal.network, "dtype": "float64"})
    client.create_job(created, dataset, **proposal.job).wait()
    return created


PREDICTED: list[dict[str, Any]] = [
    {"town": "town 60", "size": 2.5, "job": "clerk", "day": "2024-03-05T06:00:00"},
    {"town": "nowhere", "size": None, "job": None, "day": "2026-07-01T23:30:00"},
    {"town": None, "size": 1.0, "job": "smith", "day": None},
]


def test_unknown_categories_count_as_the_other_ones(network: Network) -> None:
    known, row = network.predict({**PREDICTED[0], "town": "(other)"}), PREDICTED[0]
    for town in ("nowhere", "", "town 61", 7, True):
        prediction = network.predict({**row, "town": town})
        assert (prediction.outputs, prediction.warnings) == (known.outputs, [])
    assert network.predict(row).outputs != known.outputs


def test_missing_categories_are_a_category_of_their_own(network: Network) -> None:
    row = PREDICTED[0]
    assert network.predict({**row, "job": None}).outputs == network.predict({**row, "job": "(missing)"}).outputs
    assert network.predict({**row, "job": None}).outputs != network.predict(row).outputs


def test_exported_network_predicts_the_same_from_dates_and_rare_categories(network: Network, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    epoch = datetime.datetime(1970, 1, 1)
    moments = [row["day"] and datetime.datetime.fromisoformat(row["day"]) - epoch for row in PREDICTED]
    inputs = {
        "day": np.array([[np.nan if moment is None else moment / datetime.timedelta(days=1)] for moment in moments]),
        "size": np.array([[np.nan if row["size"] is None else row["size"]] for row in PREDICTED]),
        **{name: np.array([[row[name] or ""] for row in PREDICTED], object) for name in ("town", "job")},
    }
    content = network.download(tmp_path / "network.onnx").read_bytes()
    (outputs,) = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(["outputs"], inputs)
    np.testing.assert_allclose(outputs, network.predict(PREDICTED).outputs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize("missing", ["?", "", " ", "n/a", "NaN"])
def test_texts_for_missing_values_are_not_categories(
    client: Client, tmp_path: Path, upload_format: str, missing: str
) -> None:
    table: Table = {
        "job": ["clerk", "smith", missing] * 13,
        "kind": ["red", "blue", "red"] * 12 + ["blue", "red", missing],
    }
    dataset = upload_table(client, tmp_path, upload_format, table, label="kind", cleaning="auto")
    assert dataset.view.columns is not None
    (column,) = dataset.view.columns
    assert column.categories == ["(missing)", "clerk", "smith"]
    assert (dataset.classes, dataset.view.rows) == (["blue", "red"], 38)


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize("missing", ["?", "unknown", "", "2024-02-01"])
def test_dates_that_are_text_become_dates(client: Client, tmp_path: Path, upload_format: str, missing: str) -> None:
    days = [f"2024-01-{day:02}" for day in range(1, 31)] + [missing]
    table: Table = {"day": days, "x": [float(row % 7) for row in range(31)], "y": [float(row) for row in range(31)]}
    dataset = upload_table(client, tmp_path, upload_format, table, target="y", cleaning="auto")
    column = next(column for column in dataset.view.columns or () if column.name == "day")
    assert (column.type, column.missing) == ("date", int(missing != "2024-02-01"))


def test_columns_of_unsupported_types_are_left_out(client: Client) -> None:
    table: Table = {
        "list": [[1, 2]] * 30,
        "struct": [{"a": 1}] * 30,
        "binary": [b"x"] * 30,
        "x": [float(row) for row in range(30)],
        "y": [float(row) for row in range(30)],
    }
    dataset = client.upload(pa.table(dict(table)), target="y", cleaning="auto")
    assert [column.name for column in dataset.view.columns or ()] == ["x"]
    assert any("'list' (list<item: int64>), 'struct'" in note for note in dataset.view.notes or ())


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_many_categories_are_joined_and_constant_booleans_left_out(
    client: Client, tmp_path: Path, upload_format: str
) -> None:
    rows = 2400
    table: Table = {
        "city": [f"city {row % 1200}" if row % 3 else "Paris" for row in range(rows)],
        "flag": [True] * rows,
        "y": [float(row) for row in range(rows)],
    }
    dataset = upload_table(client, tmp_path, upload_format, table, target="y", cleaning="auto")
    assert dataset.view.columns is not None
    (column,) = dataset.view.columns
    assert column.categories is not None
    assert len(column.categories) <= 50
    assert {"Paris", "(other)"} <= set(column.categories)
