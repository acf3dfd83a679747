"""Files that are as they would be stored are linked instead of copied."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from nabla.engine import durable_files
from nabla.engine.data.ingest.ingest import ingest_files
from nabla.engine.data.ingest_options import FieldName, IngestOptions, SourceFile
from nabla.engine.errors import InvalidInput
from tests.unit.data.ingest.sample_files import arrow_bytes, gzip_bytes, npy_bytes

TABLE: dict[str, list[Any]] = {
    "age": [1.0, None, 4.0] * 1000,
    "job": ["clerk", "smith", "smith"] * 1000,
    "pays": [True, False, True] * 1000,
}
X, Y = np.arange(12.0, dtype=np.float32).reshape(4, 3), np.arange(4.0).reshape(4, 1)


def save_chunk(directory: Path, content: bytes) -> Path:
    """Save an upload chunk as the service does, with its digest in its name."""
    digest = hashlib.sha256(content).hexdigest()[:32]
    path = directory / f"{len([*directory.iterdir()])}.{digest}.part"
    path.write_bytes(content)
    return path


def ingest(directory: Path, paths: dict[FieldName, Path] | Sequence[Path], **options: Any) -> Path:
    output = directory / "stored"
    output.mkdir()
    if isinstance(paths, dict):
        sources = [SourceFile((path,), "", "", field) for field, path in paths.items()]
    else:
        sources = [SourceFile((path,), "", "") for path in paths]
    ingest_files(sources, IngestOptions(**options), output, lambda progress: None)
    for file in output.iterdir():
        durable_files.verify(file)
    return output


def find_file(directory: Path, name: str) -> Path:
    (path,) = directory.glob(f"{name}.*")
    return path


def test_arrow_file_is_linked(tmp_path: Path) -> None:
    path = save_chunk(tmp_path, arrow_bytes(TABLE))
    table = find_file(ingest(tmp_path, [path], label="pays", imputation="mean"), "table")
    assert table.samefile(path)
    assert table.name == f"table.{path.name.split('.')[1]}.arrow"


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (arrow_bytes(TABLE, compression="zstd"), {}),
        (arrow_bytes(TABLE, stream=True), {}),
        (arrow_bytes({**TABLE, "job": pa.array(TABLE["job"]).dictionary_encode()}), {}),
        (arrow_bytes(TABLE), {"types": {"pays": "number"}, "label": "job"}),
    ],
)
def test_arrow_file_in_another_form_is_converted(tmp_path: Path, content: bytes, options: dict[str, Any]) -> None:
    path = save_chunk(tmp_path, content)
    table = find_file(ingest(tmp_path, [path], **{"label": "pays", "imputation": "mean", **options}), "table")
    assert not table.samefile(path)
    with pa.memory_map(str(table)) as source:
        assert pa.ipc.open_file(source).read_all().column("age").to_pylist() == TABLE["age"]


def test_two_arrow_files_are_joined(tmp_path: Path) -> None:
    paths = [save_chunk(tmp_path, arrow_bytes(TABLE)) for _ in range(2)]
    table = find_file(ingest(tmp_path, paths, label="pays", imputation="mean"), "table")
    with pa.memory_map(str(table)) as source:
        assert pa.ipc.open_file(source).read_all().num_rows == 6000


@pytest.mark.parametrize("targets", [Y, Y[:, 0]])
def test_npy_files_are_linked(tmp_path: Path, targets: npt.NDArray[Any]) -> None:
    paths: dict[FieldName, Path] = {
        "inputs": save_chunk(tmp_path, npy_bytes(X)),
        "targets": save_chunk(tmp_path, npy_bytes(targets)),
    }
    directory = ingest(tmp_path, paths)
    for field, path in paths.items():
        assert find_file(directory, field).samefile(path)


@pytest.mark.parametrize(
    "content",
    [
        gzip_bytes(npy_bytes(X)),
        npy_bytes(X) + b"more",
        npy_bytes(np.asfortranarray(X)),
        npy_bytes(X.astype(">f4")),
        npy_bytes(X.astype(np.float16)),
    ],
)
def test_npy_file_in_another_form_is_converted(tmp_path: Path, content: bytes) -> None:
    paths: dict[FieldName, Path] = {
        "inputs": save_chunk(tmp_path, content),
        "targets": save_chunk(tmp_path, npy_bytes(Y)),
    }
    inputs = find_file(ingest(tmp_path, paths), "inputs")
    assert not inputs.samefile(paths["inputs"])
    assert (np.load(inputs) == X).all()
    assert np.load(inputs).dtype == np.float32


def test_linked_files_are_validated(tmp_path: Path) -> None:
    x = X.copy()
    x[2, 1] = np.inf
    with pytest.raises(InvalidInput, match="infinite") as error:
        ingest(tmp_path, {"inputs": save_chunk(tmp_path, npy_bytes(x)), "targets": save_chunk(tmp_path, npy_bytes(Y))})
    assert error.value.problems[0][0] == "inputs.2.1"
