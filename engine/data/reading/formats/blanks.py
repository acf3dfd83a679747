"""Numbers among blank cells. Arrow takes an empty cell for a missing value, but not one of spaces or of empty quotes,
nor NA beside a space; it takes the column for text then."""

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv

_NOTHING = pa.array(sorted({"", *pa.csv.ConvertOptions().null_values}), pa.string())


def as_numbers(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Missing where there is nothing, or what stands for nothing. Raises ArrowInvalid if there is another text."""
    trimmed = pa.compute.utf8_trim_whitespace(texts)
    nothing = pa.compute.is_in(trimmed, _NOTHING)
    return pa.compute.if_else(nothing, pa.scalar(None, trimmed.type), trimmed).cast(pa.float64())


def are_numbers(texts: pa.ChunkedArray) -> bool:
    """Whether there are numbers, and nothing else but blank cells."""
    try:
        numbers = as_numbers(texts)
    except pa.ArrowInvalid:
        return False
    return bool(numbers.null_count < len(numbers))
