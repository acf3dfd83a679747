"""Columns that the data declare to be categories: pandas, Polars, Arrow and Parquet."""

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from nabla.app.client import Client, Dataset
from tests.support.service import RunningService

LEVELS, SIZES = [30, 20, 10, 40], ["low", "mid", "high"]
SHELVES, SIZE = [10, 20, 10, 30], ["low", "high", "low", "high"]


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


def _pandas_frame() -> Any:
    pandas = import_module("pandas")
    shelf = pandas.Categorical(SHELVES, categories=LEVELS)
    size = pandas.Categorical(SIZE, categories=SIZES, ordered=True)
    return pandas.DataFrame({"shelf": shelf, "size": size, "y": [1.0, 2.0, 3.0, 4.0]})


def _polars_frame() -> Any:
    polars = import_module("polars")
    shelf = polars.Series([str(number) for number in SHELVES], dtype=polars.Enum([str(number) for number in LEVELS]))
    size = polars.Series(SIZE, dtype=polars.Enum(SIZES))
    return polars.DataFrame({"shelf": shelf, "size": size, "y": [1.0, 2.0, 3.0, 4.0]})


def _arrow_table() -> Any:
    def ordered(values: list[Any], levels: list[Any]) -> pa.Array:
        indices = pa.array([levels.index(value) for value in values], pa.int8())
        return pa.DictionaryArray.from_arrays(indices, pa.array(levels), ordered=True)

    return pa.table({"shelf": ordered(SHELVES, LEVELS), "size": ordered(SIZE, SIZES), "y": [1.0, 2.0, 3.0, 4.0]})


def _as_file(make_table: Callable[[], Any], suffix: str) -> Callable[[Path], Any]:
    def write(directory: Path) -> Path:
        table, path = make_table(), directory / f"table.{suffix}"
        (table.to_feather if suffix == "arrow" else table.to_parquet)(path)
        return path

    return write


SOURCES: dict[str, Callable[[Path], Any]] = {
    "pandas": lambda _: _pandas_frame(),
    "Polars": lambda _: _polars_frame(),
    "Arrow": lambda _: _arrow_table(),
    "Feather of pandas": _as_file(_pandas_frame, "arrow"),
    "Parquet of pandas": _as_file(_pandas_frame, "parquet"),
}


def categories(dataset: Dataset, name: str) -> list[str] | None:
    (column,) = (column for column in dataset.view.columns or () if column.name == name)
    return column.categories if column.type == "category" else None


@pytest.mark.parametrize("source", SOURCES)
def test_order_and_unused_levels_are_kept(client: Client, tmp_path: Path, source: str) -> None:
    dataset = client.upload(SOURCES[source](tmp_path), target="y")
    assert categories(dataset, "size") == SIZES
    # A Parquet file has no dictionary of numbers: there the levels are those that occur.
    assert categories(dataset, "shelf") == (["10", "20", "30"] if "Parquet" in source else list(map(str, LEVELS)))


@pytest.mark.parametrize("source", SOURCES)
def test_classes_are_those_declared(client: Client, tmp_path: Path, source: str) -> None:
    assert client.upload(SOURCES[source](tmp_path), label="size").classes == SIZES
    automatic = client.upload(SOURCES[source](tmp_path), target="size", task="auto")
    assert automatic.classes == SIZES


def test_numeric_classes_keep_their_type(client: Client, tmp_path: Path) -> None:
    assert client.upload(_pandas_frame(), label="shelf").classes == LEVELS


@pytest.mark.parametrize("dictionary", [["b", "a"], [7, 5], [2.5, 1.0], [True, False]])
def test_plain_dictionaries_are_categories_in_sorted_order(client: Client, dictionary: list[Any]) -> None:
    """Their values are in the order in which they happen to occur."""
    table = pa.table({"kind": pa.array([*dictionary, dictionary[0]]).dictionary_encode(), "y": [1.0, 2.0, 3.0]})
    expected = {"b": ["a", "b"], "7": ["5", "7"], "2.5": ["1", "2.5"], "True": ["false", "true"]}
    assert categories(client.upload(table, target="y"), "kind") == expected[str(dictionary[0])]


def test_declared_text_is_not_read_as_numbers(client: Client) -> None:
    frame = import_module("pandas").DataFrame({"code": ["10", "9"] * 20, "y": [1.0, 2.0] * 20})
    assert categories(client.upload(frame, target="y"), "code") is None
    assert categories(client.upload(frame.astype({"code": "category"}), target="y"), "code") == ["10", "9"]


def test_requested_type_takes_precedence(client: Client) -> None:
    dataset = client.upload(_pandas_frame(), target="y", types={"shelf": "number"})
    assert categories(dataset, "shelf") is None
