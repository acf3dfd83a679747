"""Dates as numbers."""

import pyarrow as pa
import pyarrow.compute
import pyarrow.types as kinds

PER_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


def days(values: pa.Array) -> pa.Array:
    """Days since 1970-01-01, float64, of dates or of times; what is missing stays missing."""
    if kinds.is_date(values.type):
        return values.cast(pa.date32()).cast(pa.int32()).cast(pa.float64())
    return pa.compute.divide(values.cast(pa.int64()).cast(pa.float64(), safe=False), float(PER_DAY[values.type.unit]))
