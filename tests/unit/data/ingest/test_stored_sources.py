"""Files that are as they would be stored are not written anew: they get another name."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from nabla.engine import durable_files
from nabla.engine.data.examples import Array
from nabla.engine.data.ingest.ingest import read
from nabla.engine.data.ingest_options import FieldName, Reading, Source
from nabla.engine.errors import InvalidInput
from tests.unit.data.ingest.sample_files import arrow, gz, npy

TABLE: dict[str, list[Any]] = {
    "age": [1.0, None, 4.0] * 1000,
    "job": ["clerk", "smith", "smith"] * 1000,
    "pays": [True, False, True] * 1000,
}
X, Y = np.arange(12.0, dtype=np.float32).reshape(4, 3), np.arange(4.0).reshape(4, 1)


def kept(place: Path, content: bytes) -> Path:
    """As the service keeps what it has received."""
    digest = hashlib.sha256(content).hexdigest()[:32]
    path = place / f"{len([*place.iterdir()])}.{digest}.part"
    path.write_bytes(content)
    return path


def stored(place: Path, paths: dict[FieldName, Path] | Sequence[Path], **reading: Any) -> Path:
    folder = place / "stored"
    folder.mkdir()
    if isinstance(paths, dict):
        sources = [Source((path,), "", "", field) for field, path in paths.items()]
    else:
        sources = [Source((path,), "", "") for path in paths]
    read(sources, Reading(**reading), folder, lambda progress: None)
    for file in folder.iterdir():
        durable_files.check(file)
    return folder


def the(folder: Path, name: str) -> Path:
    (found,) = folder.glob(f"{name}.*")
    return found


def test_an_arrow_file(tmp_path: Path) -> None:
    path = kept(tmp_path, arrow(TABLE))
    table = the(stored(tmp_path, [path], label="pays", imputation="mean"), "table")
    assert table.samefile(path)
    assert table.name == f"table.{path.name.split('.')[1]}.arrow"


@pytest.mark.parametrize(
    ("content", "reading"),
    [
        (arrow(TABLE, compression="zstd"), {}),
        (arrow(TABLE, stream=True), {}),
        (arrow({**TABLE, "job": pa.array(TABLE["job"]).dictionary_encode()}), {}),
        (arrow(TABLE), {"types": {"pays": "number"}, "label": "job"}),
    ],
)
def test_an_arrow_file_that_is_not_as_it_would_be_stored(
    tmp_path: Path, content: bytes, reading: dict[str, Any]
) -> None:
    path = kept(tmp_path, content)
    table = the(stored(tmp_path, [path], **{"label": "pays", "imputation": "mean", **reading}), "table")
    assert not table.samefile(path)
    with pa.memory_map(str(table)) as source:
        assert pa.ipc.open_file(source).read_all().column("age").to_pylist() == TABLE["age"]


def test_two_arrow_files(tmp_path: Path) -> None:
    paths = [kept(tmp_path, arrow(TABLE)) for _ in range(2)]
    table = the(stored(tmp_path, paths, label="pays", imputation="mean"), "table")
    with pa.memory_map(str(table)) as source:
        assert pa.ipc.open_file(source).read_all().num_rows == 6000


@pytest.mark.parametrize("targets", [Y, Y[:, 0]])
def test_arrays(tmp_path: Path, targets: Array) -> None:
    paths: dict[FieldName, Path] = {"inputs": kept(tmp_path, npy(X)), "targets": kept(tmp_path, npy(targets))}
    folder = stored(tmp_path, paths)
    for field, path in paths.items():
        assert the(folder, field).samefile(path)


@pytest.mark.parametrize(
    "content",
    [gz(npy(X)), npy(X) + b"more", npy(np.asfortranarray(X)), npy(X.astype(">f4")), npy(X.astype(np.float16))],
)
def test_arrays_that_are_not_as_they_would_be_stored(tmp_path: Path, content: bytes) -> None:
    paths: dict[FieldName, Path] = {"inputs": kept(tmp_path, content), "targets": kept(tmp_path, npy(Y))}
    inputs = the(stored(tmp_path, paths), "inputs")
    assert not inputs.samefile(paths["inputs"])
    assert (np.load(inputs) == X).all()
    assert np.load(inputs).dtype == np.float32


def test_what_is_wrong_in_them_is_found_all_the_same(tmp_path: Path) -> None:
    x = X.copy()
    x[2, 1] = np.inf
    with pytest.raises(InvalidInput, match="infinite") as refused:
        stored(tmp_path, {"inputs": kept(tmp_path, npy(x)), "targets": kept(tmp_path, npy(Y))})
    assert refused.value.problems[0][0] == "inputs.2.1"
