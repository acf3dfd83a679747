"""Profiles of what is healthy and extreme: numbers side by side, at the ends of float64, wide and long."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from nabla.engine.data.dataset import Dataset
from nabla.engine.data.ingest_options import Progress
from nabla.engine.data.preview import viewed
from nabla.engine.data.profile_schema import ColumnProfile, Profile
from nabla.engine.data.profiling import Spread, profile
from nabla.engine.errors import InvalidInput
from tests.unit.data.ingest.sample_files import Stored, npy, parquet, stored


def dataset(found: Stored) -> Dataset:
    return Dataset.of("ds_x", None, datetime.now(UTC), found.content, found.folder)


def looked_at(found: Stored, told: list[Progress] | None = None) -> Profile:
    return profile(dataset(found), found.folder, (told if told is not None else []).append)


def of_numbers(place: Path, values: npt.ArrayLike) -> ColumnProfile:
    column = np.array(values, np.float64)[:, None]
    found = stored(place, ("inputs", npy(column)), ("targets", npy(np.ones(len(column)))))
    return looked_at(found).columns[0]


@pytest.mark.parametrize(
    ("values", "mean", "deviation"),
    [
        ([1e15, 1e15 + 0.125, 1e15 + 0.25], 1e15 + 0.125, 0.125 * np.sqrt(2 / 3)),
        ([1e9, 1e9 + 1e-6], 1e9 + 5e-7, 5e-7),
        ([1.0, np.nextafter(1, 2)], 1.0, 2.0**-53),
        ([0.0, 5e-324], 0.0, 0.0),
        ([1e308, -1e308], 0.0, 1e308),
        ([1e308, 1.1e308, 1.2e308, 1.7e308], 1.25e308, 2.6925824035672517e307),
        ([1e200, -1e200, 0.0, 1.0], 0.0, 1e200 / np.sqrt(2)),
        ([np.finfo(np.float64).max] * 3, np.finfo(np.float64).max, 0.0),
        ([-np.finfo(np.float64).max, np.finfo(np.float64).max], 0.0, np.finfo(np.float64).max),
    ],
)
def test_numbers_of_every_size(tmp_path: Path, values: list[float], mean: float, deviation: float) -> None:
    found = of_numbers(tmp_path, values)
    assert (found.smallest, found.largest, found.distinct) == (min(values), max(values), len(set(values)))
    assert found.deviation is not None
    assert found.mean == pytest.approx(mean, rel=1e-15, abs=1e-12 * found.deviation)
    assert found.deviation == pytest.approx(deviation, rel=0.1, abs=1e-300)
    assert found.histogram is not None
    assert sum(found.histogram) == len(values)
    if len(set(values)) > 1:
        assert found.histogram[0]
        assert found.histogram[-1]


def test_a_histogram_is_that_of_numpy_and_blocks_make_no_difference() -> None:
    values = np.round(np.random.default_rng(1).normal(10, 3, 1000), 2)
    spread = Spread()
    for block in np.split(values, 10):
        spread.see(block)
    for block in np.split(values, 10):
        spread.measure(block)
    assert spread.histogram == tuple(np.histogram(values, 20)[0].tolist())
    assert (spread.mean, spread.deviation) == pytest.approx((values.mean(), values.std()))


def test_infinite_numbers_of_an_unused_column_are_passed_over(tmp_path: Path) -> None:
    table = {"odd": [np.inf, -np.inf, np.nan, 3.0, 5.0], "none": [np.inf] * 5, "a": [1.0] * 5, "y": [1.0] * 5}
    odd, none, *_ = looked_at(stored(tmp_path, parquet(table), target=("y",), features=("a",))).columns
    assert (odd.missing, odd.smallest, odd.largest, odd.mean, odd.deviation) == (1, 3, 5, 4, 1)
    assert (none.missing, none.smallest, none.histogram) == (0, None, None)


def test_a_wide_array_is_looked_at_in_small_blocks_with_signs_of_life(tmp_path: Path) -> None:
    rows, width = 900, 6000
    x = np.arange(rows * width, dtype=np.float32).reshape(rows, width) % 1013
    x[:, 7] = 5
    found = stored(tmp_path, ("inputs", npy(x)), ("targets", npy(x[:, 3])))
    with viewed(dataset(found), found.folder) as view:
        assert max(len(block[0]) * len(block) for block in view.blocks(0, rows)) <= 2**22
    told: list[Progress] = []
    columns = looked_at(found, told).columns
    assert len(told) >= 2 * width
    assert [column.distinct for column in columns[6:9]] == [None, 1, None], "too many to be kept, of so many columns"
    assert columns[-1].same_as == "input 4"
    assert columns[5999].mean == pytest.approx(x[:, 5999].mean(dtype=np.float64))


def test_a_profile_of_too_many_columns_is_refused_in_words(tmp_path: Path) -> None:
    found = stored(tmp_path, ("inputs", npy(np.ones((1, 100_001), np.float32))), ("targets", npy([1.0])))
    with pytest.raises(InvalidInput, match="100002 columns"):
        looked_at(found)


def test_long_texts_are_cut_and_stay_different(tmp_path: Path) -> None:
    long = ["x" * 500_000 + end for end in "aab"]
    table = {"long": [*long, "short", None], "again": [*long, "short", None], "a": [1.0] * 5, "y": [1.0] * 5}
    found = looked_at(stored(tmp_path, parquet(table), target=("y",), features=("a",)))
    column, again, *_ = found.columns
    assert (column.distinct, column.missing, again.same_as) == (3, 1, "long")
    assert column.frequent == (("x" * 100 + "…", 2), ("x" * 100 + "…", 1), ("short", 1))


def test_a_table_that_is_one_batch_is_looked_at_in_parts(tmp_path: Path) -> None:
    rows = 100_000
    table = pa.table({"a": np.arange(rows) % 7, "b": [str(row % 5) for row in range(rows)], "y": np.ones(rows)})
    found = stored(tmp_path, parquet(table), target=("y",))
    with viewed(dataset(found), found.folder) as view:
        assert max(len(block[0]) for block in view.blocks(0, rows)) <= 2**14
    a, b, _ = looked_at(found).columns
    assert (a.distinct, b.distinct, b.missing) == (7, 5, 0)


def test_whole_numbers_beyond_float64_are_told_apart(tmp_path: Path) -> None:
    table = {"a": pa.array([2**63 + 1, 2**63 + 2, None], pa.uint64()), "b": [1.0] * 3, "y": [1.0] * 3}
    found = looked_at(stored(tmp_path, parquet(table), target=("y",), features=("b",)))
    assert (found.columns[0].distinct, found.columns[0].missing) == (2, 1)


def test_an_error_of_who_looks_is_no_damage(tmp_path: Path) -> None:
    found = stored(tmp_path, ("inputs", npy(np.ones((2, 2)))), ("targets", npy([1.0, 2.0])))
    with pytest.raises(ValueError, match="out here"), viewed(dataset(found), found.folder):
        raise ValueError("out here")
