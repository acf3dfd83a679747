"""Rows that are read for a network: with the types and formats of the data that it was trained on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nabla.app.client import Client, Dataset, InvalidInput, Network, NotFound
from tests.support.service import RunningService
from tests.support.table_uploads import UPLOAD_FORMATS, Table, upload_table, write_table
from tests.support.terminal import run_nabla

ROWS = 60
COUNTRIES = ["DE", "FR", "NA", "US"]


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


def training_table() -> Table:
    """Return a table with formats that a few of its rows do not tell."""
    return {
        "price": [f"{1 + row}.{100 + row}" if row % 2 else f"{row},25" for row in range(ROWS)],
        "day": [f"{1 + row % 28}.{1 + row % 12}.2024" for row in range(ROWS)],
        "zip": [f"0{1000 + row % 3}" for row in range(ROWS)],
        "country": [COUNTRIES[row % 4] for row in range(ROWS)],
        "member": [row % 3 == 0 for row in range(ROWS)],
        "y": [row % 4 + 0.5 for row in range(ROWS)],
    }


@pytest.fixture(scope="module")
def network(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Network:
    dataset = upload_table(
        client, tmp_path_factory.mktemp("train"), "csv", training_table(), target="y", cleaning="auto", delimiter=","
    )
    proposal = dataset.propose(hidden_units=[8], epochs=20)
    created = client.create_network(**proposal.network)
    client.create_job(created, dataset, **proposal.job).wait()
    return created


ROW: dict[str, Any] = {"price": "3.500", "day": "3.4.2024", "zip": "01001", "country": "NA", "member": "true"}


def upload_rows(client: Client, network: Network, directory: Path, upload_format: str, **changes: Any) -> Dataset:
    table = {name: [value] for name, value in {**ROW, **changes}.items()}
    options = {"unlabeled": True, "cleaning": "auto", "network_id": network.id}
    return upload_table(client, directory, upload_format, table, **options)


def predict_dataset(network: Network, dataset: Dataset, directory: Path) -> float:
    file = network.predict_dataset(dataset, format="csv").wait().download(directory / "predicted.csv")
    return float(file.read_text().splitlines()[1])


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize(
    "changes", [{}, {"price": "1.250"}, {"day": "04.03.2024"}, {"day": None}, {"zip": "01002"}, {"country": "DE"}]
)
def test_single_row_is_predicted_as_in_json(
    client: Client, network: Network, tmp_path: Path, upload_format: str, changes: dict[str, Any]
) -> None:
    dataset = upload_rows(client, network, tmp_path, upload_format, **changes)
    (expected,) = network.predict({**ROW, **changes}).outputs[0]
    assert predict_dataset(network, dataset, tmp_path) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_unreadable_values_are_missing_and_named(
    client: Client, network: Network, tmp_path: Path, upload_format: str
) -> None:
    dataset = upload_rows(client, network, tmp_path, upload_format, price="cheap", day="soon")
    notes = " ".join(dataset.view.notes or ())
    assert "In the column 'price' these texts among numbers count as missing: 'cheap' (row 1)." in notes
    assert "In the column 'day' these texts among dates count as missing: 'soon' (row 1)." in notes


def test_other_columns_are_ignored_and_missing_ones_named(client: Client, network: Network, tmp_path: Path) -> None:
    dataset = upload_rows(client, network, tmp_path, "csv", extra="1")
    assert [column.name for column in dataset.view.columns or ()] == ["price", "day", "zip", "country", "member"]
    path = write_table(tmp_path, "csv", {"price": ["1,5"], "zip": ["01001"]})
    with pytest.raises(InvalidInput) as raised:
        client.upload(path, unlabeled=True, network_id=network.id)
    assert raised.value.field == "features"


def test_unknown_network_or_version_is_named(client: Client, network: Network, tmp_path: Path) -> None:
    path = write_table(tmp_path, "csv", {name: [value] for name, value in ROW.items()})
    for fields in ({"network_id": "nobody"}, {"network_id": network.id, "version": 99}):
        with pytest.raises((NotFound, InvalidInput)):
            client.upload(path, unlabeled=True, **fields)


def test_command_evaluates_and_predicts_files_like_the_training_data(
    service: RunningService, network: Network, tmp_path: Path
) -> None:
    table = {name: list(values)[:20] for name, values in training_table().items()}
    table["price"] = [f"{row}.500" for row in range(1, 21)]
    path = write_table(tmp_path, "csv", table)
    evaluated = run_nabla("evaluate", network.id, str(path), "--target", "y", "--json", NABLA_URL=service.url)
    rows = [{name: values[row] for name, values in table.items() if name != "y"} for row in range(20)]
    outputs = [row[0] for row in network.predict(rows).outputs]
    mae = sum(abs(output - target) for output, target in zip(outputs, table["y"], strict=True)) / 20
    assert json.loads(evaluated.stdout)["mae"] == pytest.approx(mae, rel=1e-4)
