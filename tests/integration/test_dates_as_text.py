"""Dates written as text in other orders than ISO 8601, in every format in which a table reaches the service."""

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from nabla.app.client import Client, Dataset, InvalidInput
from tests.support.service import RunningService
from tests.support.table_uploads import UPLOAD_FORMATS, Table, upload_table

DAYS = [datetime.date(2024, 1, 1) + datetime.timedelta(days=9 * row) for row in range(40)]
ROWS = len(DAYS)
FORMATS = {
    "31.12.2024": "{0:%d.%m.%Y}",
    "31/12/2024": "{0:%d/%m/%Y}",
    "31-12-2024": "{0:%d-%m-%Y}",
    "1.2.2024": "{0.day}.{0.month}.{0.year}",
    "12/31/2024": "{0:%m/%d/%Y}",
    "1/2/2024, the month first": "{0.month}/{0.day}/{0.year}",
    "31.12.24": "{0:%d.%m.%y}",
    "12/31/24": "{0:%m/%d/%y}",
    "2024/12/31": "{0:%Y/%m/%d}",
    "2024-1-2": "{0.year}-{0.month}-{0.day}",
}
TIMES = {"31.12.2024 9:30": "{0.day}.{0.month}.{0.year} 9:30", "12/31/2024T09:30:00": "{0:%m/%d/%Y}T09:30:00"}
DAY_FIRST, MONTH_FIRST = "begin with the day: 31.12.2024", "begin with the month: 12/31/2024"


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


def table_with(days: list[Any]) -> Table:
    return {"day": days, "x": [row % 7 + 0.5 for row in range(ROWS)], "y": [float(row) for row in range(ROWS)]}


def stored_days(dataset: Dataset) -> list[Any]:
    return [row[0] for row in dataset.get_rows(limit=ROWS).data]


def note_of(format: str) -> str | None:
    if format.startswith("2024"):
        return None
    return MONTH_FIRST if "12/31" in format or "month" in format else DAY_FIRST


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize("format", FORMATS)
def test_dates_are_read_in_the_order_of_the_column(
    client: Client, tmp_path: Path, upload_format: str, format: str
) -> None:
    table = table_with([FORMATS[format].format(day) for day in DAYS])
    dataset = upload_table(client, tmp_path, upload_format, table, target="y", cleaning="auto")
    assert dataset.view.columns is not None
    assert (dataset.view.columns[0].type, dataset.view.columns[0].inputs) == ("date", 5)
    assert [day[:10] for day in stored_days(dataset)] == [day.isoformat() for day in DAYS]
    notes = [note for note in dataset.view.notes or () if "begin with" in note]
    expected = note_of(format)
    assert [expected is not None and expected in note for note in notes] == ([] if expected is None else [True])


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_other_texts_among_dates_are_missing_and_named(client: Client, tmp_path: Path, upload_format: str) -> None:
    days = [f"{day:%d.%m.%Y}" for day in DAYS]
    days[3], days[5], days[7] = "soon", "unknown", DAYS[7].isoformat()
    dataset = upload_table(client, tmp_path, upload_format, table_with(days), target="y", cleaning="auto")
    assert dataset.view.columns is not None
    assert (dataset.view.columns[0].type, dataset.view.columns[0].missing) == ("date", 2)
    notes = " ".join(dataset.view.notes or ())
    assert "In the column 'day' these texts among dates count as missing: 'soon' (row 4)." in notes
    assert "In the column 'day' these texts count as missing values: 'unknown' (1)." in notes


@pytest.mark.parametrize("upload_format", ["csv", "parquet"])
@pytest.mark.parametrize("format", TIMES)
def test_times_are_read_in_the_order_of_the_column(
    client: Client, tmp_path: Path, upload_format: str, format: str
) -> None:
    table = table_with([TIMES[format].format(day) for day in DAYS])
    dataset = upload_table(client, tmp_path, upload_format, table, target="y", types={"day": "date"})
    assert [day[:19] for day in stored_days(dataset)] == [f"{day.isoformat()}T09:30:00" for day in DAYS]


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_dates_that_may_begin_with_day_or_month_stay_text_and_are_named(
    client: Client, tmp_path: Path, upload_format: str
) -> None:
    days = [f"{1 + row % 12:02}/{1 + row % 5:02}/2024" for row in range(ROWS)]
    dataset = upload_table(client, tmp_path, upload_format, table_with(days), target="y", cleaning="auto")
    assert any("'day' holds dates such as 01/02/2024, which may begin" in note for note in dataset.view.notes or ())
    assert "date" not in {column.type for column in dataset.view.columns or ()}
    named = upload_table(client, tmp_path, upload_format, table_with(days), target="y", types={"day": "date"})
    assert stored_days(named)[1][:10] == "2024-02-02"
    assert any("they are read with the day first" in note for note in named.view.notes or ())


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_without_cleaning_dates_as_text_are_named(client: Client, tmp_path: Path, upload_format: str) -> None:
    days = [f"{day:%d.%m.%Y}" for day in DAYS]
    dataset = upload_table(client, tmp_path, upload_format, table_with(days), target="y")
    assert dataset.view.columns is not None
    assert dataset.view.columns[0].type == "category"
    assert any("'day' holds dates, which are read as text" in note for note in dataset.view.notes or ())


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_dates_that_do_not_exist_are_missing_or_rejected(client: Client, tmp_path: Path, upload_format: str) -> None:
    days = [f"{day:%d.%m.%Y}" for day in DAYS]
    days[3] = "31.02.2024"
    dataset = upload_table(client, tmp_path, upload_format, table_with(days), target="y", cleaning="auto")
    assert dataset.view.columns is not None
    assert (dataset.view.columns[0].type, dataset.view.columns[0].missing) == ("date", 1)
    with pytest.raises(InvalidInput, match=r"Row 4, column 'day': the value is '31\.02\.2024'"):
        upload_table(client, tmp_path, upload_format, table_with(days), target="y", types={"day": "date"})


@pytest.mark.parametrize("format", ["31.12.2024", "12/31/2024"])
def test_predictions_read_dates_in_the_order_of_the_training_data(client: Client, tmp_path: Path, format: str) -> None:
    table = table_with([FORMATS[format].format(day) for day in DAYS])
    dataset = upload_table(client, tmp_path, "csv", table, target="y", cleaning="auto")
    proposal = dataset.propose(hidden_units=[4], epochs=3)
    network = client.create_network(**proposal.network)
    client.create_job(network, dataset, **proposal.job).wait()
    # Both may begin with the day or the month.
    first, second = datetime.date(2024, 3, 4), datetime.date(2024, 9, 10)
    expected = network.predict([{"day": day.isoformat(), "x": 1.5} for day in (first, second)]).outputs
    texts = [FORMATS[format].format(day) for day in (first, second)]
    assert network.predict([{"day": text, "x": 1.5} for text in texts]).outputs == expected
    frame = pa.table({"day": texts, "x": [1.5, 1.5]})
    assert network.predict(frame).column(0).to_pylist() == [row[0] for row in expected]
    rows = client.upload(frame, unlabeled=True, cleaning="auto")
    predicted = network.predict_dataset(rows, format="npy").wait().download(tmp_path / "predicted.npy")
    assert predicted.exists()
    with pytest.raises(InvalidInput, match="date"):
        network.predict([{"day": "soon", "x": 1.5}])
