"""Feature columns of a table: which are used, how they are imputed and cleaned, and their categories."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types

from nabla.engine.data.ingest.column_stats import FeatureStats
from nabla.engine.data.ingest.formats.types import is_text
from nabla.engine.data.ingest.table_schema import ColumnRoles, replace_null_values
from nabla.engine.data.ingest_options import IngestOptions
from nabla.engine.data.schema import (
    MIN_IDENTIFIER_SHARE,
    MIN_ROWS_OF_IDENTIFIERS,
    Column,
    ColumnType,
    ImputationStrategy,
    Period,
    format_category,
    format_names,
    may_be_image,
    sort_categories,
)
from nabla.engine.errors import InvalidInput, quote

_MAX_COLUMNS_REPORTED = 20
# Texts that cleaning reads as missing among categories. None and - may be categories, and NA is a country code.
_CLEANED_TEXTS = ("", "?", "n/a", "#n/a", "nan", "null", "<na>")
_NUMERIC_TYPES: tuple[ColumnType, ...] = ("number", "date")

# Cleaning: the categories of missing values and of rare values, and how many categories a column keeps.
_MISSING_CATEGORY, _OTHER_CATEGORY, _MAX_KEPT_CATEGORIES = "(missing)", "(other)", 50
_IMPUTATION_BY_TYPE: dict[ColumnType, ImputationStrategy] = {
    "number": "median",
    "date": "median",
    "boolean": "most_frequent",
    "category": "most_frequent",
}


def find_problems(features: Sequence[FeatureStats], options: IngestOptions) -> list[tuple[str, str]]:
    """Return why columns cannot be features as they are, as pairs of field and sentence; all of them at once.

    Without an imputation only unlabeled rows may have missing values: the network that predicts them imputes them.
    """
    problems = [("file", feature.problem) for feature in features if feature.problem is not None]
    missing = [
        feature for feature in features if feature.missing.count and _select_imputation(feature, options) is None
    ]
    if missing and not options.unlabeled:
        problems += [("file", feature.missing.describe()) for feature in missing]
        hint = "Set imputation (mean, median, most_frequent or constant), or leave the column out."
        problems[-len(missing)] = ("file", f"{missing[0].missing.describe()} {hint}")
    return problems[:_MAX_COLUMNS_REPORTED]


def build_columns(features: Sequence[FeatureStats], options: IngestOptions) -> tuple[Column, ...]:
    """Return the feature columns. Raises InvalidInput if an imputation or a constant does not fit a column."""
    strategies = {feature.name: _select_imputation(feature, options) for feature in features}
    for name in options.constants:
        if strategies.get(name) != "constant":
            raise InvalidInput(
                f"constants.{name}", f"A constant needs the imputation constant; {quote(name)} has another or none."
            )
    return tuple(_build_column(feature, strategies[feature.name], options) for feature in features)


def clean_columns(
    features: Sequence[FeatureStats], rows: int, options: IngestOptions
) -> tuple[tuple[Column, ...], list[str]]:
    """Return the columns that are of use as features, and sentences about what was done with them.

    Identifiers, free text and columns with the same value in all rows are left out, unless they are named as features.
    Missing values are imputed, missing categories become one of their own, rare ones are joined, and dates get periods.

    Raises:
        InvalidInput: An imputation or a constant does not fit a column, or no column is left.
    """
    kept: list[FeatureStats] = []
    left_out: list[str] = []
    are_pixels = may_be_image(len(features), (feature.type for feature in features))
    for feature in features:
        reason = _find_exclusion(feature, rows, options, are_pixels)
        if reason is None:
            kept.append(feature)
        else:
            left_out.append(f"{quote(feature.name)} ({reason})")
    if not kept:
        raise InvalidInput("file", f"No column is left to learn from: {format_names(left_out)}.")
    columns = build_columns(kept, options)
    notes = [f"These columns are left out: {format_names(left_out)}."] if left_out else []
    cleaned = []
    for column, feature in zip(columns, kept, strict=True):
        if feature.name in options.types:
            cleaned.append(column)
        elif column.type == "date":
            cleaned.append(_add_periods(column, feature, notes))
        else:
            cleaned.append(_join_rare_categories(column, feature, notes))
    filled = [
        f"{quote(column.name)} ({column.missing}: {_describe_imputation(column)})"
        for column in cleaned
        if column.missing and column.imputation is not None
    ]
    if filled:
        notes.append(f"Missing values are filled: {format_names(filled)}.")
    return tuple(cleaned), notes


def _find_exclusion(feature: FeatureStats, rows: int, options: IngestOptions, is_pixel: bool) -> str | None:
    """Return why cleaning leaves a column out; None if it is kept, as is a pixel that is black in all rows."""
    if options.unlabeled or options.columns:
        return None  # the network needs the columns that it was trained on
    if feature.missing.count == rows:
        return "it has no value"
    if feature.problem is not None and feature.type == "category":
        return "its texts are too many or too long for categories"
    if feature.name in options.types or options.features is not None:
        return None
    if feature.is_constant and not is_pixel:
        return "it has the same value in all rows"
    if rows < MIN_ROWS_OF_IDENTIFIERS:
        return None
    if feature.is_identifier:
        return "it numbers the rows" if feature.is_sequence else "an identifier, by its name and its values"
    if feature.type == "category" and len(feature.counts) >= MIN_IDENTIFIER_SHARE * (rows - feature.missing.count):
        return "nearly every row has another text"
    return None


def _add_periods(column: Column, feature: FeatureStats, notes: list[str]) -> Column:
    periods: tuple[Period, ...] = ("year", "week", "day") if feature.has_time else ("year", "week")
    parts = ", ".join(f"the {period}" for period in periods)
    notes.append(f"The date {quote(column.name)} becomes days, and its positions in {parts}.")
    return replace(column, periods=periods)


def _join_rare_categories(column: Column, feature: FeatureStats, notes: list[str]) -> Column:
    if len(column.categories) <= _MAX_KEPT_CATEGORIES:
        return column
    frequent = sorted(feature.counts, key=lambda name: (-feature.counts[name], name))[: _MAX_KEPT_CATEGORIES - 1]
    kept = {*frequent, *(() if column.constant is None else (str(column.constant),)), _OTHER_CATEGORY}
    joined = len(column.categories) - len(kept) + 1
    notes.append(f"{joined} rare categories of {quote(column.name)} are joined as {_OTHER_CATEGORY}.")
    return replace(column, categories=sort_categories(kept), other=_OTHER_CATEGORY)


def _describe_imputation(column: Column) -> str:
    if column.imputation == "constant":
        return "a category of their own" if column.type == "category" else str(column.constant)
    return str(column.imputation).replace("_", " ")


def _select_imputation(feature: FeatureStats, options: IngestOptions) -> ImputationStrategy | None:
    """Return how a column is imputed; a strategy for all columns is adapted to the type of this one."""
    is_numeric = feature.type in _NUMERIC_TYPES
    if isinstance(options.imputation, dict) and feature.name in options.imputation:
        strategy = options.imputation[feature.name]
        if strategy in ("mean", "median") and not is_numeric:
            raise InvalidInput(
                f"imputation.{feature.name}",
                f"The column {quote(feature.name)} is a {feature.type} and has no {strategy}; accepted: "
                "most_frequent, constant.",
            )
        return strategy
    if options.imputation is None or isinstance(options.imputation, dict):
        if options.cleaning == "none" or options.unlabeled:
            return None
        # Categories that are missing are one of their own; of a single value, only its absence tells rows apart.
        needs_own_value = feature.missing.count and (feature.type == "category" or feature.single_value is not None)
        return "constant" if needs_own_value else _IMPUTATION_BY_TYPE[feature.type]
    if options.imputation == "constant":
        if feature.name in options.constants:
            return "constant"
        return None if is_numeric else "most_frequent"
    if not is_numeric:
        return "constant" if feature.name in options.constants else "most_frequent"
    return options.imputation


def _build_column(feature: FeatureStats, strategy: ImputationStrategy | None, options: IngestOptions) -> Column:
    constant = _validate_constant(feature, options) if strategy == "constant" else None
    categories = feature.categories
    if feature.type == "category":
        if isinstance(constant, str) and constant not in categories:
            categories = (*categories, constant) if feature.declared else sort_categories((*categories, constant))
        if not categories and not options.unlabeled:
            raise InvalidInput("file", f"The column {quote(feature.name)} has no value in any row; leave it out.")
    missing = feature.missing.count
    return Column(
        feature.name,
        feature.type,
        categories,
        missing,
        strategy,
        constant,
        decimal=feature.decimal,
        date_order=feature.date_order,
    )


def _contrast_to(value: float, type: ColumnType) -> float | str:
    """Return another value of the type."""
    other = 0.0 if value else 1.0
    return format_category(bool(other)) if type == "boolean" else other


def _validate_constant(feature: FeatureStats, options: IngestOptions) -> float | str:
    """Return the constant of a column in the form that is stored. Raises InvalidInput if it does not fit the type."""
    field = f"constants.{feature.name}"
    if feature.name not in options.constants and options.cleaning == "auto":
        if feature.type == "category":
            return _MISSING_CATEGORY
        if feature.single_value is not None:
            return _contrast_to(feature.single_value, feature.type)
    if feature.name not in options.constants:
        raise InvalidInput(field, f"State the constant for the missing values of {quote(feature.name)}.")
    value = options.constants[feature.name]
    match feature.type:
        case "number" if isinstance(value, str) or not math.isfinite(value):
            raise InvalidInput(
                field, f"The column {quote(feature.name)} holds numbers; the constant is {quote(value)}."
            )
        case "number":
            return float(value)
        case "boolean" if format_category(value) not in ("true", "false"):
            raise InvalidInput(
                field, f"The column {quote(feature.name)} holds true and false; the constant is {quote(value)}."
            )
        case "date":
            try:
                return date.fromisoformat(str(value)).isoformat()
            except ValueError:
                raise InvalidInput(field, f"Expected a date such as 2026-01-31, got {quote(value)}.") from None
    return format_category(value)


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
