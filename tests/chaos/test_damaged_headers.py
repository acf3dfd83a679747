"""Damaged headers of dataset files: every flipped bit, and every truncation, is found."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from nabla.engine.data.dataset import Dataset, store_examples
from nabla.engine.data.examples import build_examples
from nabla.engine.data.loading import open_for_training
from nabla.engine.errors import Damaged

HEADER_BYTES = 128


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    rows = build_examples(np.arange(8.0, dtype=np.float32).reshape(4, 2), targets=np.ones((4, 1), np.float32))
    return store_examples(tmp_path / "ds", rows, id="ds", name=None, created_at=datetime.now(UTC))


def damaged_copies(content: bytes) -> Iterator[bytes]:
    for index in range(HEADER_BYTES):
        for bit in range(8):
            yield content[:index] + bytes([content[index] ^ 1 << bit]) + content[index + 1 :]
    for length in range(len(content)):
        yield content[:length]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_damaged_header_is_found(dataset: Dataset, tmp_path: Path, dtype: str) -> None:
    (file,) = (tmp_path / "ds").glob("inputs.*.npy")
    content = file.read_bytes()
    for copy in damaged_copies(content):
        file.write_bytes(copy)
        with pytest.raises(Damaged):
            open_for_training(dataset, tmp_path / "ds", 1, dtype)
    file.write_bytes(content)
    assert (open_for_training(dataset, tmp_path / "ds", 1, dtype).x == np.arange(8.0).reshape(4, 2)).all()
