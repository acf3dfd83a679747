"""Columns of numbers that are text, in every format in which a table reaches the service."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from nabla.app.client import Client, Dataset, InvalidInput
from tests.support.service import RunningService
from tests.support.table_uploads import FILE_FORMATS, UPLOAD_FORMATS, Table, upload_table, write_table
from tests.support.terminal import run_nabla

ROWS = 40
# Texts for a missing value, of which a column of numbers has one.
SPELLINGS = ["?", "-", ".", "None", "n.a.", "N/A", "\\N", "#DIV/0!", "null", "NaN", "--", "", " ", "missing"]
# What the number 1234.5 looks like, and the number of which it is a hundredth, a thousandth and so on.
FORMATS = {
    "decimal comma": ("1234,5", "7,25"),
    "thousands": ("1,234.5", "7.25"),
    "thousands with decimal comma": ("1.234,5", "7,25"),
    "thousands with spaces": ("1 234.5", "7.25"),
    "currency": ("$1,234.5", "$7.25"),
    "currency behind": ("1.234,5 €", "7,25 €"),
    "percent": ("1234.5%", "7.25%"),
    "spaces around": (" 1234.5 ", " 7.25"),
    "minus sign": ("\u22121234.5", "\u22127.25"),
}


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


def table_with(texts: dict[int, str]) -> dict[str, Sequence[Any]]:
    """Return a table whose column size has these texts in some rows, and numbers as text in the others."""
    sizes = [texts.get(row, f"{row}.5") for row in range(ROWS)]
    return {"size": sizes, "y": [float(row) for row in range(ROWS)]}


def sizes(dataset: Dataset) -> list[Any]:
    return [row[0] for row in dataset.get_rows(limit=ROWS).data]


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spelling_of_a_missing_value_does_not_make_a_category(
    client: Client, tmp_path: Path, upload_format: str, spelling: str
) -> None:
    table = table_with({2: spelling})
    dataset = upload_table(client, tmp_path, upload_format, table, target="y", imputation="mean")
    column = (dataset.view.columns or [])[0]
    assert (column.type, column.missing) == ("number", 1)
    assert sizes(dataset)[:4] == [0.5, 1.5, None, 3.5]


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_text_among_numbers_is_reported_with_row_and_remedies(
    client: Client, tmp_path: Path, upload_format: str
) -> None:
    table = {**table_with({6: "too wet", 9: "too wet"}), "height": ["1.5"] * 30 + ["total"] + ["2.5"] * 9}
    with pytest.raises(InvalidInput) as raised:
        upload_table(client, tmp_path, upload_format, table, target="y")
    messages = " ".join(error["message"] for error in raised.value.errors)
    assert len(raised.value.errors) == 2, messages  # all problems at once
    for part in ("'size'", "'too wet'", "2 of 40 rows", "row 7", 'null_values=["too wet"]', "drop_rows=", '"category"'):
        assert part in messages
    assert "'height'" in messages
    assert "row 31" in messages


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize(
    ("options", "rows", "missing"),
    [
        ({"null_values": ["too wet"], "imputation": "median"}, ROWS, 1),
        ({"drop_rows": [7]}, ROWS - 1, 0),
        ({"cleaning": "auto"}, ROWS, 1),
    ],
)
def test_remedies_for_text_among_numbers_work(
    client: Client, tmp_path: Path, upload_format: str, options: dict[str, Any], rows: int, missing: int
) -> None:
    dataset = upload_table(client, tmp_path, upload_format, table_with({6: "too wet"}), target="y", **options)
    column = (dataset.view.columns or [])[0]
    assert (dataset.view.rows, column.type, column.missing) == (rows, "number", missing)
    if "cleaning" in options:
        assert any("'too wet'" in note for note in dataset.view.notes or ())


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize("format", FORMATS)
def test_numbers_in_each_format(client: Client, tmp_path: Path, upload_format: str, format: str) -> None:
    large, small = FORMATS[format]
    table: dict[str, Sequence[Any]] = {"price": [large, small] * 20, "y": [float(row) for row in range(ROWS)]}
    dataset = upload_table(client, tmp_path, upload_format, table, target="y")
    sign = -1 if format == "minus sign" else 1
    assert (dataset.view.columns or [])[0].type == "number"
    assert [row[0] for row in dataset.get_rows(limit=2).data] == [sign * 1234.5, sign * 7.25]


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_target_in_text_is_learned_as_numbers(client: Client, tmp_path: Path, upload_format: str) -> None:
    table: dict[str, Sequence[Any]] = {
        "x": [float(row) for row in range(ROWS)],
        "price": [f"{row},{row + 10}" for row in range(ROWS)],
    }
    dataset = upload_table(client, tmp_path, upload_format, table, target="price", task="auto")
    assert dataset.classes is None
    assert [row[1] for row in dataset.get_rows(limit=2).data] == [0.1, 1.11]


@pytest.mark.parametrize("upload_format", ["csv", "ndjson"])
def test_ambiguous_decimal_separator_can_be_set(client: Client, tmp_path: Path, upload_format: str) -> None:
    """1,234 is 1234 with separators of thousands, and 1.234 with a decimal comma."""
    table: dict[str, Sequence[Any]] = {
        "price": [f"{row + 1},{row + 100}" for row in range(ROWS)],
        "y": [float(row) for row in range(ROWS)],
    }
    for decimal, first in ((".", 1100.0), (",", 1.1)):
        dataset = upload_table(client, tmp_path, upload_format, table, target="y", decimal=decimal)
        assert dataset.get_rows(limit=1).data[0][0] == first


def test_ambiguous_decimal_separator_is_asked_for_even_by_cleaning(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "open.csv"
    path.write_text("price;y\n" + "".join(f"{row + 1},{row + 100};{row}\n" for row in range(ROWS)))
    with pytest.raises(InvalidInput, match=r"numbers such as 1,234, whose comma may separate thousands or decimals"):
        client.upload(path, target="y", cleaning="auto")


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_predictions_read_text_in_the_format_of_the_training_data(
    client: Client, tmp_path: Path, upload_format: str
) -> None:
    prices = [f"{row},{row + 100}" if row % 2 else f"{row},5" for row in range(1, ROWS + 1)]
    table: dict[str, Sequence[Any]] = {"price": prices, "y": [float(row) for row in range(ROWS)]}
    dataset = upload_table(client, tmp_path, upload_format, table, target="y")
    network = client.create_network(inputs=1, layers=[{"units": 1, "activation": "identity"}])
    client.create_job(network, dataset, epochs=1).wait()
    expected = network.predict([[1.101]]).outputs
    assert network.predict({"price": "1,101"}).outputs == expected
    assert network.predict(pa.table({"price": ["1,101"]})).to_pydict() == {"output_1": expected[0]}


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["0,125", "0,250", "-0,375"], [0.125, 0.25, -0.375]),
        ([",125", "0,250", "12,375"], [0.125, 0.25, 12.375]),
        (["0.125", "$0.250", "$1.5"], [0.125, 0.25, 1.5]),
        (["\u22121.5", "2.5", "?"], [-1.5, 2.5, None]),
    ],
)
def test_separator_after_a_zero_is_that_of_decimals(
    client: Client, tmp_path: Path, upload_format: str, texts: list[str], numbers: list[float | None]
) -> None:
    table: Table = {"x": texts * 10, "y": [float(row) for row in range(30)]}
    dataset = upload_table(client, tmp_path, upload_format, table, target="y", cleaning="auto")
    assert [row[0] for row in dataset.get_rows(limit=3).data] == numbers
    has_signs = any("currency" in note for note in dataset.view.notes or ())
    assert has_signs == any("$" in text for text in texts)


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_texts_among_numbers_are_named_where_they_are_too_many(
    client: Client, tmp_path: Path, upload_format: str
) -> None:
    ages = ["18*", "19*", *(str(20 + row) for row in range(16))]
    table: Table = {"age": ages, "x": [row % 5 for row in range(18)], "y": [float(row) for row in range(18)]}
    dataset = upload_table(client, tmp_path, upload_format, table, target="y")
    note = " ".join(dataset.view.notes or ())
    assert "'age' holds 16 numbers and 2 other texts, '18*' (row 1), '19*' (row 2)" in note
    numbers = upload_table(client, tmp_path, upload_format, table, target="y", types={"age": "number"}, cleaning="auto")
    assert [row[0] for row in numbers.get_rows(limit=3).data] == [None, None, 20]


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_codes_with_leading_zeros_stay_categories(client: Client, tmp_path: Path, upload_format: str) -> None:
    table: dict[str, Sequence[Any]] = {"zip": ["01234", "00501"] * 20, "y": [float(row) for row in range(ROWS)]}
    dataset = upload_table(client, tmp_path, upload_format, table, target="y", types={"zip": "category"})
    column = (dataset.view.columns or [])[0]
    assert (column.type, column.categories) == ("category", ["00501", "01234"])


@pytest.mark.parametrize("upload_format", FILE_FORMATS)
def test_command_reads_text_among_numbers_as_missing_and_says_so(
    service: RunningService, tmp_path: Path, upload_format: str
) -> None:
    path = write_table(tmp_path, upload_format, table_with({6: "too wet", 8: "?"}))
    done = run_nabla("datasets", "upload", str(path), "--target", "y", "--clean", NABLA_URL=service.url)
    assert done.returncode == 0, done.stderr
    assert "'size' these texts among numbers count as missing: 'too wet'" in done.stderr
    assert f"{ROWS} rows, 1 inputs" in done.stdout
