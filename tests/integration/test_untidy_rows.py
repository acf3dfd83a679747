"""Rows and cells that are not data: units, totals, infinite numbers and mixtures, in every upload format."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nabla.app.client import Client, Dataset, InvalidInput
from tests.support.service import RunningService
from tests.support.table_uploads import UPLOAD_FORMATS, Table, upload_table

ROWS = 40
# JSON has no infinite numbers.
WAYS_WITH_INFINITY = ("csv", "parquet", "arrow", "pandas", "polars")


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


def types(dataset: Dataset) -> dict[str, str]:
    return {column.name: column.type for column in dataset.view.columns or ()}


def join_notes(dataset: Dataset) -> str:
    return " ".join(dataset.view.notes or ())


UNITS: dict[str, Table] = {
    "numbers": {"a": ["kg"], "b": ["m"], "c": ["-"], "y": ["s"]},
    "a target of classes": {"a": ["kg"], "b": ["m"], "c": ["-"], "y": ["species"]},
}


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize("first", ["<18", "inf"])
def test_text_in_the_first_row_does_not_make_it_one_of_units(
    client: Client, tmp_path: Path, upload_format: str, first: str
) -> None:
    table: Table = {
        "age": [first, *(str(20 + row) for row in range(ROWS))],
        "y": [row * 1.5 for row in range(ROWS + 1)],
    }
    dataset = upload_table(client, tmp_path, upload_format, table, target="y", cleaning="auto")
    assert dataset.view.rows == ROWS + 1


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize("kind", UNITS)
def test_row_of_units_is_left_out(client: Client, tmp_path: Path, upload_format: str, kind: str) -> None:
    columns: dict[str, list[Any]] = {
        "a": [f"{row}.5" for row in range(ROWS)],
        "b": [str(row % 7) for row in range(ROWS)],
        "c": ["uvw"[row % 3] for row in range(ROWS)],
        "y": [str(row * 1.5) if kind == "numbers" else "pq"[row % 2] for row in range(ROWS)],
    }
    table = {name: [*UNITS[kind][name], *values] for name, values in columns.items()}
    dataset = upload_table(client, tmp_path, upload_format, table, target="y", cleaning="auto", task="auto")
    assert types(dataset) == {"a": "number", "b": "number", "c": "category"}
    assert dataset.view.rows == ROWS
    assert dataset.classes == (None if kind == "numbers" else ["p", "q"])
    assert "Row 1 is left out, since it holds units instead of numbers: 'kg', 'm'" in join_notes(dataset)
    with pytest.raises(InvalidInput, match=r"'kg' in row 1.*drop_rows=\[1\]"):
        upload_table(client, tmp_path, upload_format, table, target="y", task="auto")


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize("name", ["Total", "grand total", "SUM", "Average"])
def test_row_of_totals_is_left_out(client: Client, tmp_path: Path, upload_format: str, name: str) -> None:
    table: Table = {
        "town": [*(f"town {row % 5}" for row in range(ROWS)), name],
        "x": [*(row % 7 for row in range(ROWS)), 120],
        "y": [*(row * 1.5 for row in range(ROWS)), 1170.0],
    }
    dataset = upload_table(client, tmp_path, upload_format, table, target="y", cleaning="auto")
    assert dataset.view.rows == ROWS
    assert f"The last row, 41, is left out, since it holds totals: '{name}'." in join_notes(dataset)
    kept = upload_table(client, tmp_path, upload_format, table, target="y")
    assert kept.view.rows == ROWS + 1
    assert "The last row may hold totals" in join_notes(kept)
    dropped = upload_table(client, tmp_path, upload_format, table, target="y", drop_rows=[ROWS + 1])
    assert (dropped.view.rows, dropped.view.notes) == (ROWS, [])


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_totals_among_the_numbers_of_a_column_are_left_out(client: Client, tmp_path: Path, upload_format: str) -> None:
    table: Table = {
        "year": [*(str(1980 + row) for row in range(ROWS)), "Total"],
        "x": [*(row % 7 for row in range(ROWS)), 120],
        "y": [*(row % 2 for row in range(ROWS)), 20],
    }
    dataset = upload_table(client, tmp_path, upload_format, table, target="y", cleaning="auto", task="auto")
    assert (types(dataset), dataset.view.rows, dataset.classes) == ({"year": "number", "x": "number"}, ROWS, [0, 1])


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_row_with_a_category_of_that_name_is_kept(client: Client, tmp_path: Path, upload_format: str) -> None:
    table: Table = {
        "quality": ["good", "average"] * (ROWS // 2),
        "y": [row * 1.5 for row in range(ROWS)],
    }
    dataset = upload_table(client, tmp_path, upload_format, table, target="y", cleaning="auto")
    assert (dataset.view.rows, dataset.view.notes) == (ROWS, [])


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_row_that_repeats_the_names_is_left_out(client: Client, tmp_path: Path, upload_format: str) -> None:
    table: Table = {
        "job": ["clerk", "smith", "job", "clerk", "smith"] * 4,
        "age": ["31", "52", "age", "47", "28"] * 4,
        "pays": ["yes", "no", "pays", "no", "yes"] * 4,
    }
    dataset = upload_table(client, tmp_path, upload_format, table, label="pays", cleaning="auto")
    assert (dataset.classes, dataset.view.rows) == (["no", "yes"], 16)
    assert types(dataset) == {"job": "category", "age": "number"}
    assert "Row 3 is left out, since it repeats the names of the columns." in join_notes(dataset)
    kept = upload_table(client, tmp_path, upload_format, {"job": table["job"], "pays": table["pays"]}, label="pays")
    assert "Row 3 repeats the names of the columns; set drop_rows=[3] to leave it out." in join_notes(kept)


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize(("value", "type"), [(1, "number"), (0.0, "number"), (True, "boolean")])
def test_value_or_blank_stays_a_difference(
    client: Client, tmp_path: Path, upload_format: str, value: Any, type: str
) -> None:
    table: Table = {"checked": [value, None] * 20, "y": [float(row % 7) for row in range(ROWS)]}
    dataset = upload_table(client, tmp_path, upload_format, table, target="y", cleaning="auto")
    assert types(dataset) == {"checked": type}
    assert "Missing values are filled: 'checked' (20: " in join_notes(dataset)
    assert dataset.view.columns is not None
    assert dataset.view.columns[0].imputation == "constant"


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_categories_and_classes_in_several_cases_are_named(client: Client, tmp_path: Path, upload_format: str) -> None:
    table: Table = {"job": ["clerk", "Clerk", "smith"] * 4, "pays": ["yes", "no", "YES", "no"] * 3}
    dataset = upload_table(client, tmp_path, upload_format, table, label="pays")
    assert "Categories of the column 'job' that differ in case only are not joined: Clerk and clerk." in join_notes(
        dataset
    )
    assert "Classes that differ in case only are not joined: YES and yes." in join_notes(dataset)


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_unlabeled_rows_are_all_kept(client: Client, tmp_path: Path, upload_format: str) -> None:
    table: Table = {
        "town": [*(f"town {row % 5}" for row in range(ROWS)), "Total"],
        "x": ["kg", *(str(row % 7) for row in range(ROWS))],
    }
    dataset = upload_table(client, tmp_path, upload_format, table, unlabeled=True, cleaning="auto")
    assert dataset.view.rows == ROWS + 1


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize("missing", ["-", "?", "NA", "#N/A"])
def test_spelling_of_a_missing_value_is_not_a_class_among_numbers(
    client: Client, tmp_path: Path, upload_format: str, missing: str
) -> None:
    labels = [missing if row == 4 else str(row % 2) for row in range(ROWS)]
    table: Table = {"x": [row * 1.5 for row in range(ROWS)], "y": labels}
    dataset = upload_table(client, tmp_path, upload_format, table, target="y", cleaning="auto", task="auto")
    assert (len(dataset.classes or ()), dataset.view.rows) == (2, ROWS - 1)
    assert "1 row without a target is left out" in join_notes(dataset)
    with pytest.raises(InvalidInput, match=r"'y' has no value.* in row 5"):
        upload_table(client, tmp_path, upload_format, table, label="y")


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_text_among_numeric_classes_is_reported(client: Client, tmp_path: Path, upload_format: str) -> None:
    labels = ["5+" if row == 4 else str(row % 2) for row in range(ROWS)]
    table: Table = {"x": [row * 1.5 for row in range(ROWS)], "y": labels}
    dataset = upload_table(client, tmp_path, upload_format, table, label="y")
    assert dataset.classes == ["0", "1", "5+"]
    assert "The classes are numbers, except '5+' (row 5)." in join_notes(dataset)


@pytest.mark.parametrize("upload_format", WAYS_WITH_INFINITY)
@pytest.mark.parametrize("infinite", [math.inf, -math.inf])
def test_infinite_numbers_are_missing_or_rejected(
    client: Client, tmp_path: Path, upload_format: str, infinite: float
) -> None:
    numbers = [infinite if row == 4 else row * 1.5 for row in range(ROWS)]
    table: Table = {"x": numbers, "y": [float(row % 7) for row in range(ROWS)]}
    dataset = upload_table(client, tmp_path, upload_format, table, target="y", cleaning="auto")
    assert dataset.view.columns is not None
    assert (dataset.view.columns[0].missing, dataset.view.rows) == (1, ROWS)
    assert "Infinite numbers count as missing: 'x' (1)." in join_notes(dataset)
    with pytest.raises(InvalidInput, match="Row 5, column 'x': the value is infinite"):
        upload_table(client, tmp_path, upload_format, table, target="y")


@pytest.mark.parametrize("upload_format", ["csv", "ndjson", "json", "rows", "pandas"])
@pytest.mark.parametrize(
    ("values", "type", "categories"),
    [
        ([1, "one", True, 2.5], "category", ["1", "2.5", "one", "true"]),
        ([True, 0, "FALSE", "1.0"], "boolean", None),
        ([1, "2.5", 3, "?"], "number", None),
    ],
)
def test_values_of_several_kinds_are_read_as_in_csv(
    client: Client, tmp_path: Path, upload_format: str, values: list[Any], type: str, categories: list[str] | None
) -> None:
    table: Table = {"mixed": values * 10, "y": [float(row % 7) for row in range(ROWS)]}
    dataset = upload_table(client, tmp_path, upload_format, table, target="y", cleaning="auto")
    assert [(column.type, column.categories) for column in dataset.view.columns or ()] == [(type, categories)]


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_merged_spellings_of_categories_are_named(client: Client, tmp_path: Path, upload_format: str) -> None:
    table: Table = {"a": ["1", "1.0", "TRUE", "true", "x"] * 8, "y": [float(row % 7) for row in range(ROWS)]}
    dataset = upload_table(client, tmp_path, upload_format, table, target="y")
    assert "differ in spelling only are one category: 1 and 1.0 are 1, TRUE and true are true." in join_notes(dataset)


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_classes_false_and_true_are_evaluated_as_0_and_1(client: Client, tmp_path: Path, upload_format: str) -> None:
    numbers = [row * 1.5 for row in range(ROWS)]
    booleans = upload_table(
        client, tmp_path, upload_format, {"x": numbers, "y": [row % 2 == 0 for row in range(ROWS)]}, label="y"
    )
    network = client.create_network(
        inputs=1, layers=[{"units": 1, "activation": "sigmoid"}], cost="binary_cross_entropy"
    )
    client.create_job(network, booleans, epochs=1).wait()
    digits = upload_table(
        client, tmp_path, upload_format, {"x": numbers, "y": [1 - row % 2 for row in range(ROWS)]}, label="y"
    )
    assert digits.classes == [0, 1]
    assert network.evaluate(digits).accuracy == network.evaluate(booleans).accuracy
    named = upload_table(
        client,
        tmp_path,
        upload_format,
        {"x": numbers, "y": [1 - row % 2 for row in range(ROWS)]},
        label="y",
        classes=[False, True],
    )
    assert named.classes == [False, True]
    assert network.evaluate(named).accuracy == network.evaluate(booleans).accuracy


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_classes_of_two_targets_are_rejected(client: Client, tmp_path: Path, upload_format: str) -> None:
    table: Table = {"x": [1.5, 2.5], "y": [0, 1], "z": [1, 0]}
    with pytest.raises(InvalidInput, match="Classes are learned from a single target; 2 are named"):
        upload_table(client, tmp_path, upload_format, table, target=["y", "z"], task="classification")
