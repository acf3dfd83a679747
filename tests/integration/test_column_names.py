"""Names of columns in options, files and predictions: commas, brackets, Unicode normal forms, white space."""

import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from nabla.app.client import Client, Dataset, InvalidInput
from tests.support.service import RunningService
from tests.support.table_uploads import UPLOAD_FORMATS, upload_table, write_table
from tests.support.terminal import run_nabla

COMPOSED = "größe"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


def names(dataset: Dataset) -> list[str]:
    return [column.name for column in dataset.view.columns or ()]


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize("features", ["height, cm", ["height, cm"], '["height, cm"]'])
def test_name_with_a_comma_or_brackets_is_one_name(
    client: Client, tmp_path: Path, upload_format: str, features: str | list[str]
) -> None:
    table = {"height, cm": [1.0, 2.0], "[x]": [1.0, 2.0], "weight, kg": [3.0, 4.0]}
    dataset = upload_table(client, tmp_path, upload_format, table, target="weight, kg", features=features)
    assert names(dataset) == ["height, cm"]
    assert dataset.view.target_columns == ["weight, kg"]
    assert names(upload_table(client, tmp_path, upload_format, table, target="weight, kg", features="[x]")) == ["[x]"]


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_names_are_separated_by_commas(client: Client, tmp_path: Path, upload_format: str) -> None:
    table = {"a": [1.0, 2.0], "b, c": [1.0, 2.0], "d": [5.0, 6.0], "y": [3.0, 4.0], "z": [3.0, 4.0]}
    dataset = upload_table(client, tmp_path, upload_format, table, target="y, z", features='a,"b, c"')
    assert names(dataset) == ["a", "b, c"]
    assert dataset.view.target_columns == ["y", "z"]
    assert names(upload_table(client, tmp_path, upload_format, table, target="y", exclude='"b, c",z')) == ["a", "d"]


@pytest.mark.parametrize("option", ["features", "exclude"])
def test_name_with_a_line_break(client: Client, tmp_path: Path, option: str) -> None:
    table = {"height\n(cm)": [1.0, 2.0], "x": [1.0, 2.0], "y": [3.0, 4.0]}
    dataset = upload_table(client, tmp_path, "csv", table, target="y", **{option: ["height\n(cm)"]})
    assert names(dataset) == ["height\n(cm)"] if option == "features" else ["x"]


def test_unknown_names_are_named_one_by_one(client: Client, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="There is no column 'c'"):
        upload_table(client, tmp_path, "csv", {"a": [1.0, 2.0], "b": [3.0, 4.0]}, target="b", features="a, c")


def test_options_of_the_command(service: RunningService, tmp_path: Path) -> None:
    table = {"height, cm": list(range(9)), "age": list(range(9)), "id, old": list(range(9)), "y": list(range(9))}
    path = str(write_table(tmp_path, "csv", table))
    options = ("--target", "y", "--features", 'age,"height, cm"')
    done = run_nabla("datasets", "upload", path, *options, "--json", NABLA_URL=service.url)
    assert done.returncode == 0, done.stderr
    assert '"name":"height, cm"' in done.stdout
    done = run_nabla("datasets", "upload", path, "--target", "y", "--exclude", "id, old", NABLA_URL=service.url)
    assert "2 inputs" in done.stdout


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize("written", [COMPOSED, DECOMPOSED, f" {COMPOSED} "])
@pytest.mark.parametrize("named", [COMPOSED, DECOMPOSED])
def test_names_match_in_every_normal_form(
    client: Client, tmp_path: Path, upload_format: str, written: str, named: str
) -> None:
    table = {written: [1.0, 2.0, 4.0], "z": [1.0, 0.0, 1.0], "y": [3.0, 4.0, 5.0]}
    dataset = upload_table(client, tmp_path, upload_format, table, target="y", features=[named])
    assert names(dataset) == [COMPOSED]
    assert names(upload_table(client, tmp_path, upload_format, table, target=named)) == ["z", "y"]


@pytest.mark.parametrize("written", [COMPOSED, DECOMPOSED, f" {COMPOSED}"])
def test_predictions_match_in_every_normal_form(client: Client, tmp_path: Path, written: str) -> None:
    table = {DECOMPOSED: [1.0, 2.0, 4.0], "y": [3.0, 4.0, 5.0]}
    dataset = upload_table(client, tmp_path, "pandas", table, target="y")
    network = client.create_network(inputs=1, layers=[{"units": 1, "activation": "identity"}])
    client.create_job(network, dataset, epochs=1).wait()
    expected = network.predict({COMPOSED: 2.0}).outputs
    assert network.predict({written: 2.0}).outputs == expected
    import pyarrow as pa

    assert network.predict(pa.table({written: [2.0]})).to_pydict() == {"output_1": expected[0]}


@pytest.mark.parametrize("upload_format", [upload_format for upload_format in UPLOAD_FORMATS if upload_format != "csv"])
def test_names_that_are_equal_in_normal_form_are_rejected(client: Client, tmp_path: Path, upload_format: str) -> None:
    table = {COMPOSED: [1.0, 2.0], DECOMPOSED: [1.0, 2.0], "y": [3.0, 4.0]}
    with pytest.raises(InvalidInput, match=f"more than one column '{COMPOSED}'"):
        upload_table(client, tmp_path, upload_format, table, target="y")
