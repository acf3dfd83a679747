"""Preprocessing of stored datasets, into memory and into unnamed files."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from nabla.engine.data import loading
from nabla.engine.data.dataset import Dataset, write_npy
from nabla.engine.data.loading import open_for_training, open_raw
from nabla.engine.data.preprocessing import PreprocessingConfig, fit_preprocessor
from nabla.engine.data.schema import Column
from nabla.engine.errors import Damaged, InvalidInput, StorageFull
from tests.unit.data.sample_tables import write_table
from tests.unit.data.test_dataset import X, damage_file, store_dataset

COLUMNS = (Column("kind", "category", ("a", "b")), Column("size", "number", imputation="mean"))
TABLE = {"size": pa.array([1.0, None, 5.0]), "kind": pa.array(["b", "a", "b"])}
CONFIG = PreprocessingConfig(inputs="standardize", targets="min_max")


def store_table(directory: Path) -> Dataset:
    """Store a dataset whose inputs are a table."""
    dataset = store_dataset(directory, targets=np.array([[10.0], [20.0], [30.0]]))
    (inputs,) = (directory / "ds").glob("inputs.*")
    inputs.unlink()
    write_table(directory / "ds", TABLE)
    return replace(dataset, inputs=3, features=COLUMNS)


@pytest.mark.parametrize("min_file_bytes", [0, 2**30])
@pytest.mark.parametrize("block_numbers", [1, 2**20])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_preprocessing_in_memory_equals_preprocessing_in_files(
    tmp_path: Path, min_file_bytes: int, block_numbers: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_MIN_FILE_BYTES", min_file_bytes)
    monkeypatch.setattr(loading, "_BLOCK_NUMBERS", block_numbers)
    dataset = store_table(tmp_path)
    raw = open_raw(dataset, tmp_path / "ds")
    preprocessor = fit_preprocessor(CONFIG, raw.features, raw.targets, np.arange(3))
    files = sorted(tmp_path.rglob("*"))
    for opened in (
        raw.preprocess(preprocessor, 1, dtype),
        open_for_training(dataset, tmp_path / "ds", 1, dtype, preprocessor),
    ):
        inputs = np.array([[0, 1, -(1.5**0.5)], [1, 0, 0], [0, 1, 1.5**0.5]])
        np.testing.assert_allclose(opened.x, inputs, rtol=1e-6)
        np.testing.assert_allclose(opened.y, np.array([[0.0], [0.5], [1.0]]), rtol=1e-6)
        assert opened.target_scale is not None
        assert opened.target_scale.tolist() == [20]
        for array in (opened.x, opened.y):
            assert array.dtype == dtype
            assert array.flags.c_contiguous
            assert not array.flags.writeable
    assert sorted(tmp_path.rglob("*")) == files


def test_arrays_in_network_dtype_are_memory_mapped(tmp_path: Path) -> None:
    dataset = store_dataset(tmp_path, targets=X)
    opened = open_for_training(dataset, tmp_path / "ds", 2, "float64")
    maps = Path("/proc/self/maps").read_text()
    for name in ("inputs", "targets"):
        (file,) = (tmp_path / "ds").glob(f"{name}.*")
        assert str(file) in maps
    assert opened.target_scale is None
    assert np.array_equal(opened.x, X)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_dimensional_targets_have_one_column(tmp_path: Path, dtype: str) -> None:
    dataset = store_dataset(tmp_path, targets=np.array([[10.0], [20.0], [30.0]]))
    (targets,) = (tmp_path / "ds").glob("targets.*")
    targets.unlink()
    write_npy(tmp_path / "ds/targets.npy", np.dtype(np.float64), (3,), iter([np.array([10.0, 20.0, 30.0])]))
    assert open_for_training(dataset, tmp_path / "ds", 1, dtype).y.tolist() == [[10], [20], [30]]


@pytest.mark.parametrize("damage", ["bit", "end", "gone"])
def test_damaged_tables_are_detected(tmp_path: Path, damage: str) -> None:
    dataset = store_table(tmp_path)
    (path,) = (tmp_path / "ds").glob("table.*")
    damage_file(path, damage)
    with pytest.raises(Damaged, match=r"table.*(damaged|missing)"):
        open_raw(dataset, tmp_path / "ds")


def test_values_beyond_network_dtype_are_rejected(tmp_path: Path) -> None:
    for change, noun in (({"inputs": X * 1e38}, "inputs"), ({"targets": X * 1e38}, "targets")):
        dataset = store_dataset(tmp_path / noun, **{"targets": X, **change})
        with pytest.raises(InvalidInput, match=f"Row 2: number 2 of the {noun} is beyond float32"):
            open_for_training(dataset, tmp_path / noun / "ds", 2, "float32")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 1 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", str(path)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a file system")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_full_disk_is_reported(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_MIN_FILE_BYTES", 0)
    inputs = np.ones((50_000, 2), np.int8)
    dataset = store_dataset(disk, inputs=inputs, targets=inputs[:, :1])
    with pytest.raises(StorageFull, match="data"):
        open_for_training(dataset, disk / "ds", 1, "float64")
