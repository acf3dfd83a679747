"""What is prepared of a stored dataset, in memory and in files without names."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from nabla.engine.data import loading
from nabla.engine.data.dataset import Dataset
from nabla.engine.data.loading import open_for_training, open_raw
from nabla.engine.data.npy_io import write_array
from nabla.engine.data.preprocessing import PreprocessingConfig, fit
from nabla.engine.data.schema import Column
from nabla.engine.errors import Damaged, InvalidInput, StorageFull
from tests.unit.data.sample_tables import stored_table
from tests.unit.data.test_dataset import X, harm, stored

COLUMNS = (Column("kind", "category", ("a", "b")), Column("size", "number", imputation="mean"))
TABLE = {"size": pa.array([1.0, None, 5.0]), "kind": pa.array(["b", "a", "b"])}
RULE = PreprocessingConfig(inputs="standardize", targets="min_max")


def table(folder: Path) -> Dataset:
    """A dataset of a table: as one of plain numbers, but for its inputs."""
    dataset = stored(folder, targets=np.array([[10.0], [20.0], [30.0]]))
    (inputs,) = (folder / "ds").glob("inputs.*")
    inputs.unlink()
    stored_table(folder / "ds", TABLE)
    return replace(dataset, inputs=3, features=COLUMNS)


@pytest.mark.parametrize("bytes_in_files", [0, 2**30])
@pytest.mark.parametrize("numbers_at_once", [1, 2**20])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_table_is_prepared_the_same_in_memory_and_in_files(
    tmp_path: Path, bytes_in_files: int, numbers_at_once: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_BYTES_IN_FILES", bytes_in_files)
    monkeypatch.setattr(loading, "_NUMBERS_AT_ONCE", numbers_at_once)
    dataset = table(tmp_path)
    raw = open_raw(dataset, tmp_path / "ds")
    preprocessor = fit(RULE, raw.features, raw.targets, np.arange(3))
    files = sorted(tmp_path.rglob("*"))
    for opened in (
        raw.prepared(preprocessor, 1, dtype),
        open_for_training(dataset, tmp_path / "ds", 1, dtype, preprocessor),
    ):
        inputs = np.array([[0, 1, -(1.5**0.5)], [1, 0, 0], [0, 1, 1.5**0.5]])
        np.testing.assert_allclose(opened.x, inputs, rtol=1e-6)
        np.testing.assert_allclose(opened.y, np.array([[0.0], [0.5], [1.0]]), rtol=1e-6)
        assert opened.units is not None
        assert opened.units.tolist() == [20]
        for array in (opened.x, opened.y):
            assert array.dtype == dtype
            assert array.flags.c_contiguous
            assert not array.flags.writeable
    assert sorted(tmp_path.rglob("*")) == files


def test_plain_numbers_of_the_networks_type_are_the_file_itself(tmp_path: Path) -> None:
    dataset = stored(tmp_path, targets=X)
    opened = open_for_training(dataset, tmp_path / "ds", 2, "float64")
    maps = Path("/proc/self/maps").read_text()
    for name in ("inputs", "targets"):
        (file,) = (tmp_path / "ds").glob(f"{name}.*")
        assert str(file) in maps
    assert opened.units is None
    assert np.array_equal(opened.x, X)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_plain_list_has_a_number_in_each_row(tmp_path: Path, dtype: str) -> None:
    dataset = stored(tmp_path, targets=np.array([[10.0], [20.0], [30.0]]))
    (targets,) = (tmp_path / "ds").glob("targets.*")
    targets.unlink()
    write_array(tmp_path / "ds/targets.npy", np.dtype(np.float64), (3,), iter([np.array([10.0, 20.0, 30.0])]))
    assert open_for_training(dataset, tmp_path / "ds", 1, dtype).y.tolist() == [[10], [20], [30]]


@pytest.mark.parametrize("damage", ["bit", "end", "gone"])
def test_damage_of_a_table_is_found(tmp_path: Path, damage: str) -> None:
    dataset = table(tmp_path)
    (path,) = (tmp_path / "ds").glob("table.*")
    harm(path, damage)
    with pytest.raises(Damaged, match=r"table.*(damaged|missing)"):
        open_raw(dataset, tmp_path / "ds")


def test_numbers_beyond_the_networks_type(tmp_path: Path) -> None:
    for change, what in (({"inputs": X * 1e38}, "inputs"), ({"targets": X * 1e38}, "targets")):
        dataset = stored(tmp_path / what, **{"targets": X, **change})
        with pytest.raises(InvalidInput, match=f"Row 2: number 2 of the {what} is beyond float32"):
            open_for_training(dataset, tmp_path / what / "ds", 2, "float32")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_BYTES_IN_FILES", 0)
    inputs = np.ones((50_000, 2), np.int8)
    dataset = stored(disk, inputs=inputs, targets=inputs[:, :1])
    with pytest.raises(StorageFull, match="no space left for what is prepared of the data"):
        open_for_training(dataset, disk / "ds", 1, "float64")
