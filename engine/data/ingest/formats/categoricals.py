"""Columns that are declared to be categories: dictionaries of Arrow, categoricals of pandas, enumerations of Polars.

Batches carry the declaration in the metadata of their fields, so that it outlives the dictionaries.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types

from nabla.engine.data.ingest.formats.types import is_number, is_text, storage_type
from nabla.engine.data.schema import format_category

Categoricals = Mapping[str, bool]
"""Columns that are declared to be categories, each with whether its dictionary has all of them in their order."""

_KEY = b"nabla.categories"
# Longer dictionaries are those of a whole system, not of a column.
_MAX_CATEGORIES = 10_000
_MAX_METADATA_BYTES = 2**22


def find_categoricals(schema: pa.Schema) -> Categoricals:
    """Return the columns of a file that are declared to be categories.

    All categories are declared by ordered dictionaries, which the enumerations of Polars are, and by pandas. The values
    in any other dictionary are those that happen to occur.
    """
    of_pandas = _find_pandas_categoricals(schema)
    dictionaries = {field.name: field.type.ordered for field in schema if pyarrow.types.is_dictionary(field.type)}
    return {**dictionaries, **dict.fromkeys(of_pandas, True)}


def mark_categories(
    batch: pa.RecordBatch, categoricals: Categoricals, value_bytes: Callable[[pa.Array], npt.NDArray[np.int64]]
) -> pa.RecordBatch:
    """Return a batch whose fields say which categories are declared.

    Args:
        batch: A batch with dictionaries.
        categoricals: Columns that are declared to be categories.
        value_bytes: Returns the bytes of each value of an array.
    """
    if not categoricals:
        return batch
    fields = []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        metadata = None
        if field.name in categoricals and storage_type(field.type) is not None:
            names: tuple[str, ...] = ()
            if categoricals[field.name] and pyarrow.types.is_dictionary(field.type):
                values = column.dictionary
                if len(values) <= _MAX_CATEGORIES and value_bytes(values).sum() <= _MAX_METADATA_BYTES:
                    names = _dictionary_names(values)
            metadata = {_KEY: json.dumps(names)}
        fields.append(field.with_metadata(metadata))
    return pa.RecordBatch.from_arrays(batch.columns, schema=pa.schema(fields))


def declared_categories(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Return the columns that are declared to be categories, with their categories; none if these are not declared."""
    return {field.name: tuple(json.loads(field.metadata[_KEY])) for field in schema if _KEY in (field.metadata or {})}


def _find_pandas_categoricals(schema: pa.Schema) -> frozenset[str]:
    metadata = (schema.metadata or {}).get(b"pandas", b"")
    if len(metadata) > _MAX_METADATA_BYTES:
        return frozenset()
    with suppress(ValueError, TypeError, LookupError, AttributeError):  # a file may have anything there
        columns = json.loads(metadata or b'{"columns": []}')["columns"]
        return frozenset(str(column["field_name"]) for column in columns if column["pandas_type"] == "categorical")
    return frozenset()


def _dictionary_names(values: pa.Array) -> tuple[str, ...]:
    type_ = storage_type(values.type)
    if type_ is None or not (is_text(type_) or is_number(type_)):
        return ()
    return tuple(dict.fromkeys(format_category(value) for value in values.to_pylist() if value is not None))
