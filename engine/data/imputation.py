"""Imputation values of table columns, fitted on the training rows."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from nabla.engine.data.features import Features
from nabla.engine.data.request_rows import parse_cell
from nabla.engine.data.scaling import iter_blocks
from nabla.engine.data.schema import Column
from nabla.engine.errors import InvalidInput
from nabla.engine.typing import AnyArray, Float64Array, RowIndices


def fit_imputation(features: Features, rows: RowIndices) -> Float64Array:
    """Return the imputation value of each column of a table.

    The columns are read one after the other, so that memory does not grow with their number.

    Args:
        features: A table.
        rows: Rows to fit on, ascending.

    Returns:
        (columns) A number, the code of a category, or NaN for columns without an imputation.

    Raises:
        InvalidInput: A strategy or constant does not suit its column, or a column has no value in these rows.
    """
    assert features.columns is not None
    return np.array(
        [_fit_column(features.select_column(index), column, rows) for index, column in enumerate(features.columns)],
        np.float64,
    )


def _fit_column(features: Features, column: Column, rows: RowIndices) -> float:
    if column.imputation is None:
        return np.nan
    if column.imputation == "constant":
        return _parse_constant(column)
    if column.type == "category":
        return _most_frequent_category(features, column, rows)
    if column.imputation == "mean":
        return _mean(features, column, rows)
    values = np.concatenate([*_iter_present_values(features, rows)])
    if not values.size:
        raise _no_values(column)
    if column.imputation == "median":
        return float(np.median(values))
    distinct, counts = np.unique(values, return_counts=True)
    return float(distinct[counts.argmax()])  # the smallest of equally frequent values


def _parse_constant(column: Column) -> float:
    """Return the constant of a column as a number, or as the code of a category."""
    if column.type == "category":
        if column.constant in column.categories:
            return float(column.categories.index(str(column.constant)))
        accepted = f"one of its categories: {', '.join(column.categories[:20])}"
    else:
        value = _parse_number(column)
        if value is not None:
            return value
        accepted = {"boolean": "true or false", "date": "a date, such as 2024-05-31"}.get(column.type, "a number")
    raise InvalidInput(
        "dataset_id",
        f"The imputation constant of the column {column.name!r} is {column.constant!r}; accepted: {accepted}.",
    )


def _parse_number(column: Column) -> float | None:
    """Return the constant of a number, boolean or date column; all accept numbers, and booleans and dates also text."""
    if column.type == "boolean" and isinstance(column.constant, str):
        return {"true": 1.0, "false": 0.0}.get(column.constant.lower())
    if isinstance(column.constant, str):
        return parse_cell(column.constant, column)
    return parse_cell(column.constant, replace(column, type="number"))


def _most_frequent_category(features: Features, column: Column, rows: RowIndices) -> float:
    if column.imputation != "most_frequent":
        raise InvalidInput(
            "dataset_id",
            f"The column {column.name!r} has categories, which have no {column.imputation}; use the imputation "
            "most_frequent or constant.",
        )
    counts = np.zeros(len(column.categories), np.int64)
    for block in iter_blocks(rows, 1):
        (codes,) = features.read(block)
        counts += np.bincount(codes[codes >= 0], minlength=len(counts))
    if not counts.any():
        raise _no_values(column)
    return float(counts.argmax())


def _mean(features: Features, column: Column, rows: RowIndices) -> float:
    """Merge the means of blocks, as `scaling` does."""
    mean, count = 0.0, 0
    for values in _iter_present_values(features, rows):
        if values.size:
            count += values.size
            mean += (float(values.mean()) - mean) * (values.size / count)
    if not count:
        raise _no_values(column)
    return mean


def _iter_present_values(features: Features, rows: RowIndices) -> Iterator[AnyArray]:
    for block in iter_blocks(rows, 1):
        (values,) = features.read(block)
        yield values[~np.isnan(values)]


def _no_values(column: Column) -> InvalidInput:
    return InvalidInput(
        "dataset_id",
        f"The column {column.name!r} has no value in any training row; use the imputation constant, or leave the "
        "column out.",
    )
