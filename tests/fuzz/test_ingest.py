"""Datasets in mutated and in random files, each read in a process of its own."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nabla.engine.data.ingest_options import IngestOptions, SourceFile
from nabla.engine.literals import DataFormat
from tests.fuzz.mutations import MUTATIONS, Mutation
from tests.support.sandbox import Sandbox
from tests.unit.data.ingest.sample_files import (
    arrow_bytes,
    csv_bytes,
    gzip_bytes,
    idx_bytes,
    npy_bytes,
    npz_bytes,
    parquet_bytes,
    zstd_bytes,
)

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
ENCODED = TABLE.set_column(2, "t", TABLE.column("t").dictionary_encode())
X, Y = np.arange(12.0).reshape(4, 3), np.array([0, 1, 0, 1])

FILES: dict[str, tuple[DataFormat, bytes]] = {
    "csv": ("csv", csv_bytes(TABLE)),
    "csv in gzip": ("csv", gzip_bytes(csv_bytes(TABLE))),
    "csv in zstd": ("csv", zstd_bytes(csv_bytes(TABLE))),
    "utf-16": ("csv", csv_bytes(TABLE).decode().encode("utf-16")),
    "tsv": ("tsv", csv_bytes(TABLE).replace(b",", b"\t")),
    "parquet": ("parquet", parquet_bytes(TABLE)),
    "plain parquet": (
        "parquet",
        parquet_bytes(TABLE, use_dictionary=False, compression="none", data_page_version="2.0"),
    ),
    "arrow": ("arrow", arrow_bytes(TABLE)),
    "arrow with dictionaries": ("arrow", arrow_bytes(ENCODED)),
    "arrow stream": ("arrow", arrow_bytes(ENCODED, stream=True, compression="zstd")),
    "ndjson": ("ndjson", NDJSON),
    "json": ("json", json.dumps(TABLE.to_pylist()).encode()),
    "json columns": ("json", json.dumps(TABLE.to_pydict()).encode()),
    "json arrays": ("json", json.dumps({"inputs": X.tolist(), "labels": Y.tolist()}).encode()),
    "npz": ("npz", npz_bytes(inputs=X, labels=Y)),
    "npy": ("npy", npy_bytes(X)),
    "npy by column": ("npy", npy_bytes(np.asfortranarray(X))),
    "idx": ("idx", idx_bytes(X)),
}
OPTIONS: dict[str, Any] = {"label": "y", "imputation": "most_frequent"}


@pytest.mark.parametrize("name", FILES)
def test_mutated_files(sandbox: Sandbox, directory: Path, name: str) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.lists(MUTATIONS, min_size=1, max_size=4), st.booleans())
    def check(mutations: list[Mutation], with_format: bool) -> None:
        format, content = FILES[name]
        for mutate in mutations:
            content = mutate(content)
        _read(sandbox, directory, content, format, with_format)

    check()


@pytest.mark.parametrize("format", ["csv", "parquet", "arrow", "ndjson", "json", "npz", "npy", "idx"])
def test_random_files(sandbox: Sandbox, directory: Path, format: DataFormat) -> None:
    @settings(max_examples=EXAMPLES // 4, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode())))
    def check(content: bytes) -> None:
        _read(sandbox, directory, content, format, True)

    check()


def _read(sandbox: Sandbox, directory: Path, content: bytes, format: DataFormat, with_format: bool) -> None:
    """Check that the process survives, whatever the outcome."""
    (directory / "file").write_bytes(content)
    options = IngestOptions(format=format if with_format else None)
    if format in ("npy", "idx"):
        (directory / "labels").write_bytes(npy_bytes(Y) if format == "npy" else idx_bytes(Y.astype(np.uint8)))
        sources = [
            SourceFile((directory / "file",), field="inputs"),
            SourceFile((directory / "labels",), field="labels"),
        ]
    else:
        sources = [SourceFile((directory / "file",))]
        if format != "npz" and b'"inputs"' not in content:
            options = IngestOptions(format=options.format, **OPTIONS)
    outcome = sandbox.ingest(sources, options)
    assert outcome.kind != "died", outcome.message
