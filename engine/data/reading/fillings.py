"""What rows without a value get."""

import math
from collections.abc import Sequence
from datetime import date

from engine.data.categories import in_order, name
from engine.data.columns import Column, ColumnType, Filling
from engine.data.reading.formats.schema import shown
from engine.data.reading.inspection import Feature
from engine.data.sources import Reading
from engine.errors import InvalidInput

_COLUMNS_NAMED = 20
_OF_NUMBERS: tuple[ColumnType, ...] = ("number", "date")


def columns(features: Sequence[Feature], reading: Reading) -> tuple[Column, ...]:
    """Raises InvalidInput if a value is missing and nothing says what it gets, or what does not go with its column. Of
    rows that are only predicted the network says it."""
    fillings = {feature.name: _filling(feature, reading) for feature in features}
    refused = [feature for feature in features if feature.missing.count and fillings[feature.name] is None]
    if refused and not reading.unlabeled:
        first, *others = [("file", feature.missing.sentence) for feature in refused[:_COLUMNS_NAMED]]
        what = "Say with missing what they get (mean, median, most_frequent, constant), or leave the column out."
        raise InvalidInput(first[0], f"{first[1]} {what}", *others)
    for constant in reading.constants:
        if fillings.get(constant) != "constant":
            raise InvalidInput(
                f"constants.{constant}",
                f"Constants go with the filling constant; {shown(constant)} has another or none.",
            )
    return tuple(_column(feature, fillings[feature.name], reading) for feature in features)


def _filling(feature: Feature, reading: Reading) -> Filling | None:
    of_numbers = feature.type in _OF_NUMBERS
    if isinstance(reading.missing, dict):
        filling = reading.missing.get(feature.name)
        if filling in ("mean", "median") and not of_numbers:
            raise InvalidInput(
                f"missing.{feature.name}",
                f"The column {shown(feature.name)} is a {feature.type} and has no {filling}; accepted: "
                "most_frequent, constant.",
            )
        return filling
    if reading.missing is None:
        return None
    if reading.missing == "constant":
        if feature.name in reading.constants:
            return "constant"
        return None if of_numbers else "most_frequent"
    if not of_numbers:
        return "constant" if feature.name in reading.constants else "most_frequent"
    return reading.missing


def _column(feature: Feature, filling: Filling | None, reading: Reading) -> Column:
    constant = _constant(feature, reading) if filling == "constant" else None
    categories = feature.categories
    if feature.type == "category":
        if isinstance(constant, str) and constant not in categories:
            categories = in_order((*categories, constant))
        if not categories and not reading.unlabeled:
            raise InvalidInput("file", f"The column {shown(feature.name)} has no value in any row; leave it out.")
    return Column(feature.name, feature.type, categories, feature.missing.count, filling, constant)


def _constant(feature: Feature, reading: Reading) -> float | str:
    field = f"constants.{feature.name}"
    if feature.name not in reading.constants:
        raise InvalidInput(field, f"Say which constant the missing values of {shown(feature.name)} get.")
    value = reading.constants[feature.name]
    match feature.type:
        case "number" if isinstance(value, str) or not math.isfinite(value):
            raise InvalidInput(
                field, f"The column {shown(feature.name)} holds numbers; the constant is {shown(value)}."
            )
        case "number":
            return float(value)
        case "boolean" if name(value) not in ("true", "false"):
            raise InvalidInput(field, f"The column {shown(feature.name)} holds true and false; got {shown(value)}.")
        case "date":
            try:
                return date.fromisoformat(str(value)).isoformat()
            except ValueError:
                raise InvalidInput(field, f"Expected a date such as 2026-01-31, got {shown(value)}.") from None
    return name(value)
