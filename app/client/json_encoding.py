"""Encoding of Python values as JSON, including those of NumPy and pandas, neither of which is imported."""

import json
import math
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from fractions import Fraction
from typing import Any

from nabla.app.client.errors import InvalidArgument

# Fields with data, in which NaN is a missing value. In all others it is an error.
_DATA_FIELDS = frozenset({"inputs", "rows", "targets", "labels", "weights"})


def encode_json(fields: Mapping[str, Any]) -> bytes:
    """Encode the fields of a request.

    NumPy arrays become lists, dates and times ISO 8601 text, decimal numbers floating-point ones. NaN, NaT and pandas'
    NA become null in data.

    Raises:
        InvalidArgument: A field contains NaN elsewhere, or a value that JSON cannot represent.
    """
    try:
        return _dump(fields)
    except (TypeError, ValueError):  # NaN, a missing value, a key that is not text, or a value that is not supported
        return _dump({name: _convert(value, name, name in _DATA_FIELDS) for name, value in fields.items()})


def encode_value(field: str, value: Any) -> str:
    """Encode the value of a single field. Raises InvalidArgument, as `encode_json`."""
    return encode_json({field: value}).decode().partition(":")[2][:-1]


def is_missing(value: Any) -> bool:
    """Return whether a cell is a missing value: None, NaN, NaT or pandas' NA."""
    if value is None or (isinstance(value, float | Decimal) and value != value):
        return True
    return type(value).__name__ in ("NAType", "NaTType") or (_is_scalar(value) and bool(value != value))


def plain_cell(value: Any) -> Any:
    """Return a cell as JSON represents it, None if it is missing; any other value as it is."""
    if is_missing(value):
        return None
    if _is_scalar(value):
        return plain_cell(value.item())
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal | Fraction):
        return int(value) if value == int(value) and math.isfinite(value) else float(value)
    return value


def _dump(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_default).encode()


def _default(value: Any) -> Any:
    plain = _plain_container(plain_cell(value))
    if plain is value or plain is None:
        raise TypeError  # `_convert` says where
    return plain


def _convert(value: Any, field: str, is_data: bool) -> Any:
    """Return a value that JSON represents. Raises InvalidArgument, naming the field."""
    if is_missing(value):
        if value is not None and not is_data:
            raise InvalidArgument(f"{field}: {value!r} is not accepted here.")
        return None
    value = _plain_container(plain_cell(value))
    if isinstance(value, Mapping):
        return {str(key): _convert(item, f"{field}.{key}", is_data) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_convert(item, f"{field}.{index}", is_data) for index, item in enumerate(value)]
    if isinstance(value, float) and math.isinf(value):
        raise InvalidArgument(f"{field}: Only finite numbers are accepted, no infinity.")
    if not isinstance(value, bool | int | float | str):
        raise InvalidArgument(
            f"{field}: A {type(value).__name__} is not accepted; accepted are numbers, text, booleans, dates and None."
        )
    return value


def _plain_container(value: Any) -> Any:
    """Return an array, a series, or an iterable of unknown length as a list; any other value as it is."""
    if hasattr(value, "tolist"):  # NumPy, pandas; None in place of a masked value
        return value.tolist()
    if isinstance(value, Iterable) and not isinstance(value, Mapping | list | tuple | str | bytes | set | frozenset):
        return list(value)
    return value


def _is_scalar(value: Any) -> bool:
    """Return whether a value is a NumPy scalar."""
    return hasattr(value, "dtype") and getattr(value, "shape", None) == () and hasattr(value, "item")
