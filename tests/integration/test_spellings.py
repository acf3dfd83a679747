"""Categories and classes in several spellings: one of them in every format, in training and in predictions."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pytest

from nabla.app.client import Client, Dataset, Network, UnusualRowsWarning
from tests.support.service import RunningService
from tests.support.table_uploads import UPLOAD_FORMATS, upload_table

ROWS = 40
ARROW = "application/vnd.apache.arrow.stream"

# Values of a column, and its categories.
CATEGORIES: dict[str, tuple[list[Any], list[str]]] = {
    "whole numbers": ([1, 2, 10], ["1", "2", "10"]),
    "whole numbers as fractions": ([1.0, 2.0, 10.0], ["1", "2", "10"]),
    "whole numbers as text": (["1", "2", "10"], ["1", "2", "10"]),
    "numbers as text": (["1.0", "2.", "10.00", " 1 ", "+2"], ["1", "2", "10"]),
    "fractions": ([1.5, 0.25], ["0.25", "1.5"]),
    "fractions as text": (["1.50", "1.5", ".25"], ["0.25", "1.5"]),
    "numbers and text": (["1", "1.0", "1.00", "one"], ["1", "one"]),
    "negative zero": ([0.0, -0.0, 1.0], ["0", "1"]),
    "booleans": ([True, False], ["false", "true"]),
    "booleans as text": (["True", "TRUE", "true", "False", " false "], ["false", "true"]),
    "booleans and text": (["TRUE", "true", "maybe"], ["maybe", "true"]),
    "names": (["clerk", " clerk ", "clerk\t", "smith"], ["clerk", "smith"]),
    "names in other cases": (["clerk", "Clerk"], ["Clerk", "clerk"]),
    "Unicode normal forms": (["größe", "gro\u0308ße"], ["größe"]),
    "codes with leading zeros": (["007", "7", "7.0"], ["007", "7"]),
    "identifiers beyond int64": (["10000000000000000001", "2"], ["2", "10000000000000000001"]),
}
# Labels, the classes in a format that tells text from numbers, and what a note says about merged ones.
CLASSES: dict[str, tuple[list[Any], list[Any], str | None]] = {
    "whole numbers": ([1, 2, 10], [1, 2, 10], None),
    "whole numbers as fractions": ([1.0, 2.0, 10.0], [1, 2, 10], None),
    "whole numbers as text": (["1", "2", "10"], ["1", "2", "10"], None),
    "numbers as text": (["1.0", "1", "2"], ["1", "2"], "1 and 1.0 are 1"),
    "numbers and text": (["1.0", "1", "one"], ["1", "one"], "1 and 1.0 are 1"),
    "booleans": ([True, False], [False, True], None),
    "booleans as text": (["True", "FALSE", "true"], ["false", "true"], "True and true are true"),
    "booleans and numbers as text": (["true", "1", "0", "False"], ["false", "true"], "1 and true are true"),
    "names": (["clerk", " clerk ", "smith"], ["clerk", "smith"], None),
    "codes with leading zeros": (["007", "7"], ["007", "7"], None),
}


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


def table_with(values: Sequence[Any], name: str = "kind") -> dict[str, Sequence[Any]]:
    kinds = [values[row % len(values)] for row in range(ROWS)]
    return {name: kinds, "x": [row % 7 + 0.5 for row in range(ROWS)], "y": [row % 3 + 0.5 for row in range(ROWS)]}


def describe(dataset: Dataset) -> list[tuple[str, str, list[str] | None]]:
    return [(column.name, column.type, column.categories) for column in dataset.view.columns or ()]


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize("kind", CATEGORIES)
def test_categories_have_one_spelling(client: Client, tmp_path: Path, upload_format: str, kind: str) -> None:
    values, categories = CATEGORIES[kind]
    options: dict[str, Any] = {"target": "y", "types": {"kind": "category"}}
    dataset = upload_table(client, tmp_path, upload_format, table_with(values), **options)
    assert describe(dataset) == [("kind", "category", categories), ("x", "number", None)]


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize("kind", CLASSES)
def test_classes_have_one_spelling(client: Client, tmp_path: Path, upload_format: str, kind: str) -> None:
    values, classes, merged = CLASSES[kind]
    dataset = upload_table(client, tmp_path, upload_format, table_with(values), label="kind")
    if upload_format == "csv" and {*classes} <= {"1", "2", "10"}:
        classes = list(map(int, classes))
    elif upload_format == "csv" and classes == ["false", "true"]:
        classes = [False, True]
    assert dataset.classes == classes
    assert list(map(type, dataset.classes)) == list(map(type, classes))
    notes = [note for note in dataset.view.notes or () if "one class" in note]
    assert len(notes) == (merged is not None)
    if merged is not None:
        assert notes[0].startswith("Labels that differ in spelling only are one class: ")
        assert merged in notes[0]


@pytest.mark.parametrize("upload_format", [upload_format for upload_format in UPLOAD_FORMATS if upload_format != "csv"])
@pytest.mark.parametrize(
    "values",
    [[1, 2, 10], [1.5, 2.25], ["1", "2"], ["1.0", "x"], [True, False], ["a", " a ", "b"], ["TRUE", "true", "maybe"]],
)
@pytest.mark.parametrize("cleaning", ["none", "auto"])
def test_table_has_the_columns_and_categories_that_it_has_as_csv(
    client: Client, tmp_path: Path, upload_format: str, values: list[Any], cleaning: str
) -> None:
    options = {"target": "y", "cleaning": cleaning}
    expected = upload_table(client, tmp_path, "csv", table_with(values), **options)
    dataset = upload_table(client, tmp_path, upload_format, table_with(values), **options)
    assert describe(dataset) == describe(expected)
    assert (dataset.inputs, dataset.view.notes) == (expected.inputs, expected.view.notes)


TRAINED: dict[str, list[Any]] = {
    "job": ["clerk", "smith", " clerk ", "smith"],
    "grade": ["1", "2", "1.0", "3"],
    "answer": ["true", "FALSE", "maybe", "True"],
    "member": [True, False, False, True],
    "age": [20.5, 30.5, 40.5, 50.5],
    "pay": [1.0, 2.0, 3.0, 4.0],
}
ROW: dict[str, Any] = {"job": "clerk", "grade": "1", "answer": "true", "member": True, "age": 30.5}
SPELLINGS = [
    {"job": " clerk "},
    {"job": "clerk\n"},
    {"grade": 1},
    {"grade": 1.0},
    {"grade": "1.0"},
    {"grade": " 1 "},
    {"answer": True},
    {"answer": "TRUE"},
    {"answer": " True"},
    {"member": "true"},
    {"member": "TRUE "},
    {"member": 1},
    {"member": "1"},
    {"age": "30.5"},
    {"age": " 30.50 "},
]
UNKNOWN: dict[str, list[Any]] = {
    "job": ["clerk", "baker", "miner"],
    "grade": ["1.0", "9", " 2 "],
    "answer": ["TRUE", "True", "no"],
    "member": [True, False, True],
    "age": [30.5, 40.5, 20.5],
}
WARNINGS = [
    "In the column 'job', 2 rows (first: row 2) have a category that did not occur in training; its inputs are 0.",
    "In the column 'grade', row 2 has a category that did not occur in training; its inputs are 0.",
    "In the column 'answer', row 3 has a category that did not occur in training; its inputs are 0.",
]


@pytest.fixture(scope="module")
def network(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Network:
    table = {name: values * 10 for name, values in TRAINED.items()}
    options: dict[str, Any] = {"target": "pay", "types": {"grade": "category"}}
    dataset = upload_table(client, tmp_path_factory.mktemp("jobs"), "parquet", table, **options)
    proposal = dataset.propose(hidden_units=[], epochs=3)
    created = client.create_network(**proposal.network)
    client.create_job(created, dataset, **proposal.job).wait()
    return created


@pytest.mark.parametrize("spelling", SPELLINGS, ids=str)
def test_predictions_are_the_same_for_every_spelling(
    client: Client, network: Network, spelling: dict[str, Any]
) -> None:
    expected = network.predict(ROW)
    assert expected.warnings == []
    prediction = network.predict({**ROW, **spelling})
    assert (prediction.outputs, prediction.warnings) == (expected.outputs, [])
    table = pa.table({name: [value] for name, value in {**ROW, **spelling}.items()})
    assert network.predict(table).to_pydict() == {"output_1": expected.outputs[0]}


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_batch_predictions_are_the_same_for_every_spelling(
    client: Client, network: Network, tmp_path: Path, upload_format: str
) -> None:
    rows: dict[str, list[Any]] = {
        "job": ["clerk", " clerk ", "clerk"],
        "grade": ["1", "1.0", " 1"],
        "answer": ["true", "TRUE", " True "],
        "member": [True, True, True],
        "age": ["30.5", "30.50", " 30.5"],
    }
    dataset = upload_table(client, tmp_path, upload_format, rows, unlabeled=True, types={"grade": "category"})
    batch = network.predict_dataset(dataset).wait()
    lines = batch.download(tmp_path / "predictions.csv").read_text().split()
    assert len(lines) == 4
    assert {float(line) for line in lines[1:]} == {network.predict(ROW).outputs[0][0]}
    assert batch.view.warnings == []


def test_unknown_categories_are_counted_in_json(service: RunningService, network: Network) -> None:
    rows = [dict(zip(UNKNOWN, row, strict=True)) for row in zip(*UNKNOWN.values(), strict=True)]
    answer = service.post(f"/v1/networks/{network.id}/predictions", {"rows": rows}, 200)
    assert answer["warnings"] == WARNINGS
    assert service.post(f"/v1/networks/{network.id}/predictions", {"rows": rows[:1]}, 200)["warnings"] == []


def test_unknown_categories_are_counted_in_a_header(service: RunningService, network: Network) -> None:
    table, body = pa.table(UNKNOWN), io.BytesIO()
    with pa.ipc.new_stream(body, table.schema) as writer:
        writer.write_table(table)
    headers = {"Content-Type": ARROW, "Accept": ARROW}
    path = f"/v1/networks/{network.id}/predictions"
    response = service.http.post(path, content=body.getvalue(), headers=headers)
    assert response.status_code == 200
    assert [unquote(text) for text in response.headers["Nabla-Warnings"][2:-1].split('", %"')] == WARNINGS
    with pytest.warns(UnusualRowsWarning) as issued:
        network.predict(table)
    assert [str(warning.message) for warning in issued] == WARNINGS


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_unknown_categories_are_counted_in_batch_predictions_and_evaluations(
    client: Client, network: Network, tmp_path: Path, upload_format: str
) -> None:
    rows = upload_table(client, tmp_path, upload_format, UNKNOWN, unlabeled=True)
    assert network.predict_dataset(rows).wait().view.warnings == WARNINGS
    labeled = upload_table(client, tmp_path, upload_format, {**UNKNOWN, "pay": [1.0, 2.0, 3.0]}, target="pay")
    assert network.evaluate(labeled).warnings == WARNINGS


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_classes_in_other_spellings_are_evaluated(client: Client, tmp_path: Path, upload_format: str) -> None:
    options: dict[str, Any] = {"label": "kind", "features": ["x"]}
    trained = upload_table(client, tmp_path, upload_format, table_with([1, 2]), **options)
    network = client.create_network(
        inputs=1, layers=[{"units": 1, "activation": "sigmoid"}], cost="binary_cross_entropy"
    )
    client.create_job(network, trained, epochs=1).wait()
    expected = network.evaluate(trained, rows="all")
    for spelled in ([1.0, 2.0], ["1", "2"], ["1.0", " 2"]):
        evaluation = network.evaluate(
            upload_table(client, tmp_path, upload_format, table_with(spelled), **options), rows="all"
        )
        assert (evaluation.accuracy, evaluation.cost) == (expected.accuracy, expected.cost)
