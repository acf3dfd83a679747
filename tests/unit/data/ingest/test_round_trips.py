"""What is read is what was written, in every format that holds tables."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.data.ingest.sample_files import arrow, csv, gz, parquet, stored, zst

_NUMBERS = st.one_of(
    st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**53), 2**53).map(float)
)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_ROWS = st.lists(
    st.tuples(_NUMBERS, st.one_of(st.none(), _TEXTS), st.one_of(st.none(), st.booleans()), st.floats(-1e9, 1e9)),
    min_size=1,
    max_size=20,
)
_SCHEMA = pa.schema({"number": pa.float64(), "text": pa.string(), "truth": pa.bool_(), "y": pa.float64()})

_WRITTEN: dict[str, Callable[[pa.Table], bytes]] = {
    "csv": csv,
    "csv in gzip": lambda table: gz(csv(table)),
    "utf-16": lambda table: csv(table).decode().encode("utf-16"),
    "parquet": parquet,
    "arrow": arrow,
    "arrow stream": lambda table: arrow(table, stream=True, compression="lz4"),
    "ndjson": lambda table: b"".join(json.dumps(row).encode() + b"\n" for row in table.to_pylist()),
    "ndjson in zstd": lambda table: zst(b"".join(json.dumps(row).encode() + b"\n" for row in table.to_pylist())),
    "json rows": lambda table: json.dumps(table.to_pylist(), indent=2).encode(),
    "json columns": lambda table: json.dumps(table.to_pydict()).encode(),
}


@pytest.mark.parametrize("kind", _WRITTEN)
@settings(max_examples=15, deadline=None)
@given(rows=_ROWS)
def test_round_trips(kind: str, rows: list[tuple[float | None, str | None, bool | None, float]]) -> None:
    first = (0.5, "first", True, 1.0)  # no column is without any value
    columns = zip(*[first, *rows], strict=True)
    table = pa.table([list(column) for column in columns], schema=_SCHEMA)
    with tempfile.TemporaryDirectory() as folder:
        found = stored(
            Path(folder),
            (f"t.{kind.split()[0].replace('utf-16', 'csv')}", _WRITTEN[kind](table)),
            target=("y",),
            types={"number": "number", "text": "category", "truth": "boolean"},
            imputation="most_frequent",
        )
        assert found.table.to_pydict() == table.to_pydict()
        assert found.array("targets")[:, 0].tolist() == table.column("y").to_pylist()
        assert found.content.features is not None
        missing = [column.missing for column in found.content.features]
        assert missing == [table.column(name).null_count for name in ("number", "text", "truth")]
        assert set(found.content.features[1].categories) == set(table.column("text").drop_null().to_pylist())
