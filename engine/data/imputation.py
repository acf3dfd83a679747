"""What rows without a value get instead, as it is found in the rows that are trained on."""

import numpy as np

from nabla.engine.data.features import Array, Features, Rows
from nabla.engine.data.request_rows import real_of
from nabla.engine.data.scaling import Vector, blocks_of
from nabla.engine.data.schema import Column
from nabla.engine.errors import InvalidInput


def fills_of(features: Features, rows: Rows) -> Vector:
    """For each column a number, or the code of a category; NaN where nothing is to be filled. The columns are looked at
    one after the other. Raises InvalidInput."""
    assert features.columns is not None
    return np.array(
        [_fill(features.only(place), column, rows) for place, column in enumerate(features.columns)], np.float64
    )


def _fill(features: Features, column: Column, rows: Rows) -> float:
    if column.imputation is None:
        return np.nan
    if column.imputation == "constant":
        return _constant(column)
    if column.type == "category":
        return _most_frequent_category(features, column, rows)
    if column.imputation == "mean":
        return _mean(features, column, rows)
    known = _all_known(features, column, rows)
    if column.imputation == "median":
        return float(np.median(known))
    values, counts = np.unique(known, return_counts=True)
    return float(values[counts.argmax()])  # of several the smallest


def _constant(column: Column) -> float:
    if column.type == "category":
        if column.constant in column.categories:
            return float(column.categories.index(str(column.constant)))
        accepted = f"one of its categories: {', '.join(column.categories[:20])}"
    else:
        accepted = {"boolean": "true or false", "date": "a date, such as 2024-05-31"}.get(column.type, "a number")
        value = _value(column)
        if value is not None:
            return value
    raise InvalidInput(
        "dataset_id", f"The column {column.name!r} is to be filled with {column.constant!r}; accepted is {accepted}."
    )


def _value(column: Column) -> float | None:
    """Truth values may be text, and everything a number."""
    if column.type == "boolean" and isinstance(column.constant, str):
        return {"true": 1.0, "false": 0.0}.get(column.constant.lower())
    if isinstance(column.constant, str):
        return real_of(column.constant, column.type)
    return real_of(column.constant, "number")


def _most_frequent_category(features: Features, column: Column, rows: Rows) -> float:
    if column.imputation != "most_frequent":
        raise InvalidInput(
            "dataset_id",
            f"The column {column.name!r} has categories, which have no {column.imputation}; fill it with "
            "most_frequent or constant.",
        )
    counts = np.zeros(len(column.categories), np.int64)
    for block in blocks_of(rows, 1):
        (codes,) = features.read(block)
        counts += np.bincount(codes[codes >= 0], minlength=len(counts))
    if not counts.any():
        raise _without_values(column)
    return float(counts.argmax())


def _mean(features: Features, column: Column, rows: Rows) -> float:
    """Of the means of the blocks, as in `scaling`."""
    mean, count = 0.0, 0
    for block in blocks_of(rows, 1):
        (values,) = features.read(block)
        known = values[~np.isnan(values)]
        if known.size:
            count += known.size
            mean += (float(known.mean()) - mean) * (known.size / count)
    if not count:
        raise _without_values(column)
    return mean


def _all_known(features: Features, column: Column, rows: Rows) -> Array:
    parts = []
    for block in blocks_of(rows, 1):
        (values,) = features.read(block)
        parts.append(values[~np.isnan(values)])
    known = np.concatenate(parts)
    if not known.size:
        raise _without_values(column)
    return known


def _without_values(column: Column) -> InvalidInput:
    return InvalidInput(
        "dataset_id",
        f"The column {column.name!r} has no value in any row that is trained on; fill it with constant, or leave it "
        "out.",
    )
