"""A dataset's file says in its first bytes what is in it: each bit of them may be wrong, and the file end anywhere."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from nabla.engine.data.dataset import Dataset, store
from nabla.engine.data.examples import examples
from nabla.engine.data.loading import open_for_training
from nabla.engine.errors import Damaged

HEADER = 128


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    found = examples(np.arange(8.0, dtype=np.float32).reshape(4, 2), targets=np.ones((4, 1), np.float32))
    return store(tmp_path / "ds", found, id="ds", name=None, created_at=datetime.now(UTC))


def damaged(content: bytes) -> Iterator[bytes]:
    for place in range(HEADER):
        for bit in range(8):
            yield content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]
    for length in range(len(content)):
        yield content[:length]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_damaged_header_is_found(dataset: Dataset, tmp_path: Path, dtype: str) -> None:
    (file,) = (tmp_path / "ds").glob("inputs.*.npy")
    content = file.read_bytes()
    for attempt in damaged(content):
        file.write_bytes(attempt)
        with pytest.raises(Damaged):
            open_for_training(dataset, tmp_path / "ds", 1, dtype)
    file.write_bytes(content)
    assert (open_for_training(dataset, tmp_path / "ds", 1, dtype).x == np.arange(8.0).reshape(4, 2)).all()
