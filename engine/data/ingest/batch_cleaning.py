"""Cleaning of a table's batches: texts and numbers that are missing values, and rows that repeat the names."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types

from nabla.engine.data.ingest.formats.types import is_text
from nabla.engine.data.ingest.table_schema import ColumnRoles, replace_null_values

# Texts that cleaning reads as missing among categories. None and - may be categories, and NA is a country code.
_CLEANED_TEXTS = ("", "?", "n/a", "#n/a", "nan", "null", "<na>")


def find_repeated_names(batch: pa.RecordBatch) -> list[int]:
    """Return the rows that repeat the names of the columns, as joined files do; all columns then hold text."""
    rows: list[int] | None = None
    for column, values in zip(batch.schema, batch.columns, strict=True):
        if not is_text(column.type):
            return []
        if rows is None:
            equal = pc.equal(pc.utf8_trim_whitespace(values), column.name)
            rows = np.flatnonzero(equal.fill_null(False).to_numpy(zero_copy_only=False)).tolist()
        else:
            rows = [row for row in rows if (text := values[row].as_py()) is not None and text.strip() == column.name]
        if not rows:
            return []
    return rows or []


def clean_batch(batch: pa.RecordBatch, roles: ColumnRoles) -> tuple[pa.RecordBatch, Mapping[str, int]]:
    """Return a batch in which texts that stand for a missing value, and infinite numbers of features, are missing.

    And how many infinite numbers there were, by column.
    """
    columns, infinite = [], {}
    features, used = frozenset(roles.features), roles.used
    for column, values in zip(batch.schema, batch.columns, strict=True):
        cleaned = values
        if column.name in used and is_text(column.type):
            cleaned = replace_null_values(values, _CLEANED_TEXTS)
        elif column.name in features and pyarrow.types.is_floating(column.type):
            is_infinite = pc.is_inf(values)
            if count := pc.sum(is_infinite).as_py():
                infinite[column.name] = count
                cleaned = pc.if_else(is_infinite, pa.scalar(None, values.type), values)
        columns.append(cleaned)
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema), infinite
