"""Tables in every format are stored as they were encoded."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nabla.engine.data.schema import format_category
from tests.unit.data.ingest.sample_files import arrow_bytes, csv_bytes, gzip_bytes, ingest, parquet_bytes, zstd_bytes

_NUMBERS = st.one_of(
    st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**53), 2**53).map(float)
)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_ROWS = st.lists(
    st.tuples(_NUMBERS, st.one_of(st.none(), _TEXTS), st.one_of(st.none(), st.booleans()), st.floats(-1e9, 1e9)),
    min_size=1,
    max_size=20,
)
_SCHEMA = pa.schema({"number": pa.float64(), "text": pa.string(), "flag": pa.bool_(), "y": pa.float64()})

_ENCODERS: dict[str, Callable[[pa.Table], bytes]] = {
    "csv": csv_bytes,
    "csv in gzip": lambda table: gzip_bytes(csv_bytes(table)),
    "utf-16": lambda table: csv_bytes(table).decode().encode("utf-16"),
    "parquet": parquet_bytes,
    "arrow": arrow_bytes,
    "arrow stream": lambda table: arrow_bytes(table, stream=True, compression="lz4"),
    "ndjson": lambda table: b"".join(json.dumps(row).encode() + b"\n" for row in table.to_pylist()),
    "ndjson in zstd": lambda table: zstd_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in table.to_pylist())),
    "json rows": lambda table: json.dumps(table.to_pylist(), indent=2).encode(),
    "json columns": lambda table: json.dumps(table.to_pydict()).encode(),
}


@pytest.mark.parametrize("kind", _ENCODERS)
@settings(max_examples=15, deadline=None)
@given(rows=_ROWS)
def test_round_trip(kind: str, rows: list[tuple[float | None, str | None, bool | None, float]]) -> None:
    first = (0.5, "first", True, 1.0)  # so that every column has a value
    columns = zip(*[first, *rows], strict=True)
    table = pa.table([list(column) for column in columns], schema=_SCHEMA)
    with tempfile.TemporaryDirectory() as directory:
        dataset = ingest(
            Path(directory),
            (f"t.{kind.split()[0].replace('utf-16', 'csv')}", _ENCODERS[kind](table)),
            target=("y",),
            types={"number": "number", "text": "category", "flag": "boolean"},
            imputation="most_frequent",
        )
        assert dataset.table.to_pydict() == table.to_pydict()
        assert dataset.array("targets")[:, 0].tolist() == table.column("y").to_pylist()
        assert dataset.content.features is not None
        missing = [column.missing for column in dataset.content.features]
        assert missing == [table.column(name).null_count for name in ("number", "text", "flag")]
        names = set(map(format_category, table.column("text").drop_null().to_pylist()))
        assert set(dataset.content.features[1].categories) == names
