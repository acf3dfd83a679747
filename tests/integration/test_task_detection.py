"""Whether a target is learned as classes or as numbers, in every format in which a table reaches the service."""

import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from nabla.app.client import Client, InvalidInput
from tests.support.service import RunningService
from tests.support.table_uploads import UPLOAD_FORMATS, upload_table

ROWS = 40
DAYS = [datetime.date(2024, 1, 1) + datetime.timedelta(days=7 * row) for row in range(ROWS)]
# The other formats have text in their place.
FORMATS_WITH_DATES = ("parquet", "arrow", "pandas", "polars")

CLASSES: dict[str, tuple[Sequence[Any], list[Any], str]] = {
    "texts": (["red", "blue"] * 20, ["blue", "red"], "has 2 different texts"),
    "many texts in two rows each": (
        [f"town {row // 2:02}" for row in range(ROWS)],
        [f"town {number:02}" for number in range(20)],
        "has 20 different texts",
    ),
    "booleans": ([True, False] * 20, [False, True], "which are learned as classes"),
    "zero and one": ([0, 1] * 20, [0, 1], "has two different numbers"),
    "zero and one as fractions": ([0.0, 1.0] * 20, [0, 1], "has two different numbers"),
    "few whole numbers": ([5, 3, 4, 3] * 10, [3, 4, 5], "has 3 different whole numbers"),
    "negative whole numbers": ([-1, 0, 1, 1] * 10, [-1, 0, 1], "has 3 different whole numbers"),
    "codes with leading zeros": (["007", "010"] * 20, ["007", "010"], "has 2 different texts"),
}
NUMBERS: dict[str, tuple[Sequence[Any], float]] = {
    "many whole numbers": ([row * 3 for row in range(ROWS)], 3.0),
    "whole numbers in few rows each": ([row % 10 for row in range(ROWS)], 1.0),
    "decimal numbers": ([row + 0.25 for row in range(ROWS)], 1.25),
    "few decimal numbers": ([row % 4 + 0.5 for row in range(ROWS)], 1.5),
    "decimal commas": ([f"{row % 4},5" for row in range(ROWS)], 1.5),
    "amounts": ([f"${row}.50" for row in range(ROWS)], 1.5),
}


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


def table_with(target: Sequence[Any]) -> dict[str, Sequence[Any]]:
    return {"x": [row % 7 + 0.5 for row in range(len(target))], "y": target}


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize("kind", CLASSES)
def test_target_is_learned_as_classes(client: Client, tmp_path: Path, upload_format: str, kind: str) -> None:
    values, classes, reason = CLASSES[kind]
    dataset = upload_table(client, tmp_path, upload_format, table_with(values), target="y", task="auto")
    assert dataset.classes == classes
    assert list(map(type, dataset.classes)) == list(map(type, classes))
    assert dataset.view.target_columns == ["y"]
    assert len(dataset.view.notes or ()) == 1
    note = (dataset.view.notes or [""])[0]
    assert note.startswith("The target 'y' ")
    assert reason in note
    assert note.endswith("which are learned as classes.")


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize("kind", NUMBERS)
def test_target_is_learned_as_numbers(client: Client, tmp_path: Path, upload_format: str, kind: str) -> None:
    values, second = NUMBERS[kind]
    dataset = upload_table(client, tmp_path, upload_format, table_with(values), target="y", task="auto")
    assert (dataset.classes, dataset.outputs) == (None, 1)
    assert dataset.get_rows(limit=2).data[1][1] == second
    assert "The target 'y' is learned as numbers." in (dataset.view.notes or ())


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_text_with_too_many_values_is_asked_for(client: Client, tmp_path: Path, upload_format: str) -> None:
    table = table_with([f"name {row}" for row in range(ROWS)])
    message = r"'y' holds text with 40 different values in 40 rows.*label=y"
    with pytest.raises(InvalidInput, match=message) as raised:
        upload_table(client, tmp_path, upload_format, table, target="y", task="auto")
    assert [error["field"] for error in raised.value.errors] == ["target"]
    dataset = upload_table(client, tmp_path, upload_format, table, target="y", task="classification")
    assert len(dataset.classes or ()) == ROWS


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_dates_are_not_learned_by_default(client: Client, tmp_path: Path, upload_format: str) -> None:
    days: Sequence[Any] = DAYS if upload_format in FORMATS_WITH_DATES else [day.isoformat() for day in DAYS]
    with pytest.raises(InvalidInput, match=r"'y' holds (dates|text with 40 different values)") as raised:
        upload_table(client, tmp_path, upload_format, table_with(days), target="y", task="auto")
    assert [error["field"] for error in raised.value.errors] == ["target"]


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize(
    ("task", "values", "classes"),
    [
        ("regression", [0, 1] * 20, None),
        ("regression", [3, 4, 5, 3] * 10, None),
        ("regression", [True, False] * 20, None),
        (None, [0, 1] * 20, None),
        ("classification", list(range(ROWS)), list(range(ROWS))),
        ("classification", [0, 1] * 20, [0, 1]),
        ("classification", ["red", "blue"] * 20, ["blue", "red"]),
    ],
)
def test_named_task_takes_precedence(
    client: Client,
    tmp_path: Path,
    upload_format: str,
    task: str | None,
    values: Sequence[Any],
    classes: list[Any] | None,
) -> None:
    options = {} if task is None else {"task": task}
    dataset = upload_table(client, tmp_path, upload_format, table_with(values), target="y", **options)
    assert dataset.classes == classes
    assert dataset.view.target_columns == ["y"]
    assert not dataset.view.notes


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_text_is_not_learned_as_numbers(client: Client, tmp_path: Path, upload_format: str) -> None:
    with pytest.raises(InvalidInput, match=r"'y' holds text such as 'red' \(row 1 and 19 more\)"):
        upload_table(client, tmp_path, upload_format, table_with(["red", "blue"] * 20), target="y", task="regression")


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize("values", [[0, 1], ["red", "blue"], [True, False]])
def test_missing_targets_are_not_a_class(client: Client, tmp_path: Path, upload_format: str, values: list[Any]) -> None:
    table = table_with([None, *values, values[0]] * 10)
    dataset = upload_table(client, tmp_path, upload_format, table, target="y", task="auto", cleaning="auto")
    assert (dataset.classes, dataset.view.rows) == (sorted(values), 30)
    with pytest.raises(InvalidInput, match=r"'y' has no value in rows 1, 5, 9, 13, 17 and 5 more"):
        upload_table(client, tmp_path, upload_format, table, target="y", task="auto")


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_text_among_the_numbers_of_a_target_does_not_make_classes(
    client: Client, tmp_path: Path, upload_format: str
) -> None:
    table = table_with([*(f"{row}.5" for row in range(ROWS - 1)), "not known"])
    dataset = upload_table(client, tmp_path, upload_format, table, target="y", task="auto", cleaning="auto")
    assert (dataset.classes, dataset.view.rows) == (None, ROWS - 1)
    with pytest.raises(InvalidInput, match=r"1 of 40 rows does not: 'not known' in row 40"):
        upload_table(client, tmp_path, upload_format, table, target="y", task="auto")


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
def test_label_is_learned_as_classes_whatever_it_holds(client: Client, tmp_path: Path, upload_format: str) -> None:
    dataset = upload_table(client, tmp_path, upload_format, table_with(list(range(ROWS))), label="y", task="auto")
    assert dataset.classes == list(range(ROWS))


def test_declared_categories_are_classes_in_their_order(client: Client) -> None:
    import pandas as pd

    sizes = pd.Categorical(["small", "large"] * 20, categories=["small", "large"], ordered=True)
    dataset = client.upload(pd.DataFrame(table_with(sizes)), target="y", task="auto")
    assert dataset.classes == ["small", "large"]
    assert dataset.view.notes == ["The target 'y' has categories, which are learned as classes."]


def test_numbers_far_down_the_table_are_seen(client: Client, tmp_path: Path) -> None:
    """The first rows of a target may have few values only."""
    values = [row % 2 for row in range(3000)] + list(range(1000))
    dataset = upload_table(client, tmp_path, "csv", table_with(values), target="y", task="auto")
    assert dataset.classes is None


def test_unknown_task_and_unknown_target_are_named(client: Client, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"'regression', 'classification' or 'auto'"):
        upload_table(client, tmp_path, "csv", table_with([0, 1]), target="y", task="ranking")
    with pytest.raises(InvalidInput, match="There is no column 'z'"):
        upload_table(client, tmp_path, "csv", table_with([0, 1]), target="z", task="auto")


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize("missing", ["?", "n/a", ""])
def test_missing_values_do_not_change_the_decision(
    client: Client, tmp_path: Path, upload_format: str, missing: str
) -> None:
    table: dict[str, Sequence[Any]] = {"x": [float(row) for row in range(40)], "y": ["0", "1"] * 19 + [missing, "1"]}
    dataset = upload_table(client, tmp_path, upload_format, table, target="y", task="auto", cleaning="auto")
    assert dataset.classes is not None
    assert [str(label) for label in dataset.classes] == ["0", "1"]
    assert dataset.view.rows == 39


@pytest.mark.parametrize("upload_format", UPLOAD_FORMATS)
@pytest.mark.parametrize("options", [{"null_values": ["9"]}, {"drop_rows": [40]}])
def test_values_that_are_left_out_do_not_count(
    client: Client, tmp_path: Path, upload_format: str, options: dict[str, Any]
) -> None:
    table: dict[str, Sequence[Any]] = {"x": [float(row) for row in range(40)], "y": ["0", "1"] * 19 + ["0", "9"]}
    dataset = upload_table(client, tmp_path, upload_format, table, target="y", task="auto", cleaning="auto", **options)
    assert dataset.view.rows == 39
    assert any("two different numbers" in note for note in dataset.view.notes or ())
