"""Profiles of ordinary and extreme datasets: close numbers, the limits of float64, wide tables and long texts."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from nabla.engine.data.dataset import Dataset
from nabla.engine.data.dataset_reader import open_reader
from nabla.engine.data.ingest_options import Progress
from nabla.engine.data.profiling import Distribution, profile_dataset
from nabla.engine.data.schema import ColumnProfile, Profile
from nabla.engine.errors import InvalidInput
from tests.unit.data.ingest.sample_files import IngestedDataset, ingest, npy_bytes, parquet_bytes


def to_dataset(upload: IngestedDataset) -> Dataset:
    return Dataset.from_content("ds_x", None, datetime.now(UTC), upload.content, upload.directory)


def compute_profile(upload: IngestedDataset, reports: list[Progress] | None = None) -> Profile:
    return profile_dataset(to_dataset(upload), upload.directory, (reports if reports is not None else []).append)


def profile_numbers(directory: Path, values: npt.ArrayLike) -> ColumnProfile:
    column = np.array(values, np.float64)[:, None]
    upload = ingest(directory, ("inputs", npy_bytes(column)), ("targets", npy_bytes(np.ones(len(column)))))
    return compute_profile(upload).columns[0]


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
def test_statistics_of_close_and_extreme_numbers(
    tmp_path: Path, values: list[float], mean: float, deviation: float
) -> None:
    profile = profile_numbers(tmp_path, values)
    assert (profile.smallest, profile.largest, profile.distinct) == (min(values), max(values), len(set(values)))
    assert profile.deviation is not None
    assert profile.mean == pytest.approx(mean, rel=1e-15, abs=1e-12 * profile.deviation)
    assert profile.deviation == pytest.approx(deviation, rel=0.1, abs=1e-300)
    assert profile.histogram is not None
    assert sum(profile.histogram) == len(values)
    if len(set(values)) > 1:
        assert profile.histogram[0]
        assert profile.histogram[-1]


def test_histogram_matches_numpy_for_any_blocks() -> None:
    values = np.round(np.random.default_rng(1).normal(10, 3, 1000), 2)
    distribution = Distribution()
    for block in np.split(values, 10):
        distribution.scan(block)
    for block in np.split(values, 10):
        distribution.measure(block)
    assert distribution.histogram == tuple(np.histogram(values, 20)[0].tolist())
    assert (distribution.mean, distribution.deviation) == pytest.approx((values.mean(), values.std()))


def test_infinite_values_of_unused_columns_are_ignored(tmp_path: Path) -> None:
    table = {"odd": [np.inf, -np.inf, np.nan, 3.0, 5.0], "none": [np.inf] * 5, "a": [1.0] * 5, "y": [1.0] * 5}
    odd, none, *_ = compute_profile(ingest(tmp_path, parquet_bytes(table), target=("y",), features=("a",))).columns
    assert (odd.missing, odd.smallest, odd.largest, odd.mean, odd.deviation) == (1, 3, 5, 4, 1)
    assert (none.missing, none.smallest, none.histogram) == (0, None, None)


def test_wide_array_is_profiled_in_small_blocks_with_progress(tmp_path: Path) -> None:
    rows, width = 900, 6000
    x = np.arange(rows * width, dtype=np.float32).reshape(rows, width) % 1013
    x[:, 7] = 5
    upload = ingest(tmp_path, ("inputs", npy_bytes(x)), ("targets", npy_bytes(x[:, 3])))
    with open_reader(to_dataset(upload), upload.directory) as reader:
        assert max(len(block[0]) * len(block) for block in reader.iter_blocks(0, rows)) <= 2**22
    reports: list[Progress] = []
    columns = compute_profile(upload, reports).columns
    assert len(reports) >= 2 * width
    assert [column.distinct for column in columns[6:9]] == [None, 1, None], "the limit is shared by all columns"
    assert columns[-1].same_as == "input 4"
    assert columns[5999].mean == pytest.approx(x[:, 5999].mean(dtype=np.float64))


def test_too_many_columns_are_rejected(tmp_path: Path) -> None:
    upload = ingest(tmp_path, ("inputs", npy_bytes(np.ones((1, 100_001), np.float32))), ("targets", npy_bytes([1.0])))
    with pytest.raises(InvalidInput, match="100002 columns"):
        compute_profile(upload)


def test_long_texts_are_cut_but_stay_distinct(tmp_path: Path) -> None:
    long = ["x" * 500_000 + end for end in "aab"]
    table = {"long": [*long, "short", None], "again": [*long, "short", None], "a": [1.0] * 5, "y": [1.0] * 5}
    profile = compute_profile(ingest(tmp_path, parquet_bytes(table), target=("y",), features=("a",)))
    column, again, *_ = profile.columns
    assert (column.distinct, column.missing, again.same_as) == (3, 1, "long")
    assert column.frequent == (("x" * 100 + "…", 2), ("x" * 100 + "…", 1), ("short", 1))


def test_table_of_one_batch_is_read_in_small_blocks(tmp_path: Path) -> None:
    rows = 100_000
    table = pa.table({"a": np.arange(rows) % 7, "b": [str(row % 5) for row in range(rows)], "y": np.ones(rows)})
    upload = ingest(tmp_path, parquet_bytes(table), target=("y",))
    with open_reader(to_dataset(upload), upload.directory) as reader:
        assert max(len(block[0]) for block in reader.iter_blocks(0, rows)) <= 2**14
    a, b, _ = compute_profile(upload).columns
    assert (a.distinct, b.distinct, b.missing) == (7, 5, 0)


def test_integers_beyond_float64_precision_are_distinct(tmp_path: Path) -> None:
    table = {"a": pa.array([2**63 + 1, 2**63 + 2, None], pa.uint64()), "b": [1.0] * 3, "y": [1.0] * 3}
    profile = compute_profile(ingest(tmp_path, parquet_bytes(table), target=("y",), features=("b",)))
    assert (profile.columns[0].distinct, profile.columns[0].missing) == (2, 1)


def test_error_of_the_caller_is_not_reported_as_damage(tmp_path: Path) -> None:
    upload = ingest(tmp_path, ("inputs", npy_bytes(np.ones((2, 2)))), ("targets", npy_bytes([1.0, 2.0])))
    with pytest.raises(ValueError, match="of the caller"), open_reader(to_dataset(upload), upload.directory):
        raise ValueError("of the caller")
