"""Valid files with bytes changed, cut out, doubled and made up, each read in a process of its own."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nabla.engine.data.ingest_options import Reading, Source
from nabla.engine.literals import DataFormat
from tests.fuzz.mutations import CHANGES, Change
from tests.support.task_process import ReadingChild
from tests.unit.data.ingest.sample_files import arrow, csv, gz, idx, npy, npz, parquet, zst

EXAMPLES = 5000 if os.environ.get("NABLA_FUZZ_LONG") else 10

TABLE = pa.table(
    {
        "x": [0.5, None, 3.0, -1e300],
        "n": [1, 2, 3, 2**40],
        "t": ["a", 'ü,\n"', None, "b"],
        "b": [True, None, False, True],
        "y": [0, 1, 0, 1],
    }
)
NDJSON = b"".join(json.dumps(row).encode() + b"\n" for row in TABLE.to_pylist())
PACKED = TABLE.set_column(2, "t", TABLE.column("t").dictionary_encode())
X, Y = np.arange(12.0).reshape(4, 3), np.array([0, 1, 0, 1])

FILES: dict[str, tuple[DataFormat, bytes]] = {
    "csv": ("csv", csv(TABLE)),
    "csv in gzip": ("csv", gz(csv(TABLE))),
    "csv in zstd": ("csv", zst(csv(TABLE))),
    "utf-16": ("csv", csv(TABLE).decode().encode("utf-16")),
    "tsv": ("tsv", csv(TABLE).replace(b",", b"\t")),
    "parquet": ("parquet", parquet(TABLE)),
    "plain parquet": ("parquet", parquet(TABLE, use_dictionary=False, compression="none", data_page_version="2.0")),
    "arrow": ("arrow", arrow(TABLE)),
    "arrow with dictionaries": ("arrow", arrow(PACKED)),
    "arrow stream": ("arrow", arrow(PACKED, stream=True, compression="zstd")),
    "ndjson": ("ndjson", NDJSON),
    "json": ("json", json.dumps(TABLE.to_pylist()).encode()),
    "json columns": ("json", json.dumps(TABLE.to_pydict()).encode()),
    "json arrays": ("json", json.dumps({"inputs": X.tolist(), "labels": Y.tolist()}).encode()),
    "npz": ("npz", npz(inputs=X, labels=Y)),
    "npy": ("npy", npy(X)),
    "npy by column": ("npy", npy(np.asfortranarray(X))),
    "idx": ("idx", idx(X)),
}
READING: dict[str, Any] = {"label": "y", "imputation": "most_frequent"}


@pytest.mark.parametrize("name", FILES)
def test_changed_files(child: ReadingChild, folder: Path, name: str) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.lists(CHANGES, min_size=1, max_size=4), st.booleans())
    def check(changes: list[Change], is_told: bool) -> None:
        format, content = FILES[name]
        for change in changes:
            content = change(content)
        _read(child, folder, content, format, is_told)

    check()


@pytest.mark.parametrize("format", ["csv", "parquet", "arrow", "ndjson", "json", "npz", "npy", "idx"])
def test_made_up_files(child: ReadingChild, folder: Path, format: DataFormat) -> None:
    @settings(max_examples=EXAMPLES // 4, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode())))
    def check(content: bytes) -> None:
        _read(child, folder, content, format, True)

    check()


def _read(child: ReadingChild, folder: Path, content: bytes, format: DataFormat, is_told: bool) -> None:
    """Any end is right but that the process dies."""
    (folder / "file").write_bytes(content)
    told = Reading(format=format if is_told else None)
    if format in ("npy", "idx"):
        (folder / "labels").write_bytes(npy(Y) if format == "npy" else idx(Y.astype(np.uint8)))
        sources = [Source((folder / "file",), field="inputs"), Source((folder / "labels",), field="labels")]
    else:
        sources = [Source((folder / "file",))]
        if format != "npz" and b'"inputs"' not in content:
            told = Reading(format=told.format, **READING)
    outcome = child.read(sources, told)
    assert outcome.kind != "died", outcome.sentence
