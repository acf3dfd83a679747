"""Dates written as text: the order of day, month and year, and their conversion."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

DateOrder = Literal["year_first", "day_first", "month_first"]

_DAY, _MONTH, _YEAR = r"(0?[1-9]|[12][0-9]|3[01])", r"(0?[1-9]|1[0-2])", r"(\d{4}|\d{2})"
_TIME = r"([T ]\d{1,2}:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d(:?\d\d)?)?)?"
DATE_PATTERNS: Mapping[DateOrder, str] = {
    "year_first": rf"^\d{{4}}[-/.]{_MONTH}[-/.]{_DAY}{_TIME}$",
    "day_first": rf"^{_DAY}[-/.]{_MONTH}[-/.]{_YEAR}{_TIME}$",
    "month_first": rf"^{_MONTH}[-/]{_DAY}[-/]{_YEAR}{_TIME}$",  # with points the day comes first
}
"""Regular expressions, also for RE2, of dates with or without a time."""

DATE_PARTS: Mapping[DateOrder, tuple[str, str]] = {
    "year_first": (r"^(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(\D.*)?$", r"\1-\2-\3\4"),
    "day_first": (r"^(\d{1,2})[-/.](\d{1,2})[-/.](\d{4}|\d{2})(\D.*)?$", r"\3-\2-\1\4"),
    "month_first": (r"^(\d{1,2})[-/.](\d{1,2})[-/.](\d{4}|\d{2})(\D.*)?$", r"\3-\1-\2\4"),
}
"""Regular expressions, also for RE2, of the parts of a date, and the replacements that put the year first."""

CENTURIES = ((r"^([0-6]\d-)", r"20\1"), (r"^([7-9]\d-)", r"19\1"))
"""Regular expressions of dates that begin with a year of two digits, and their replacements."""

PADDINGS = (
    (r"^(\d{4}-)(\d-)", r"\2"),
    (r"^(\d{4}-\d\d-)(\d)(\D.*)?$", r"\2\3"),
    (r"^(\d{4}-\d\d-\d\d[T ])(\d:)", r"\2"),
)
"""Regular expressions of dates with a month, a day or an hour of one digit; a zero is put between the first group and
the rest."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_date(text: str, order: DateOrder = "year_first") -> float | None:
    """Return a date or time in days since 1970-01-01, None for any other text.

    A time without a time zone is UTC. Dates in ISO 8601 are accepted whatever the order is.
    """
    iso = text.strip()
    for known_order in dict.fromkeys((order, "year_first")):
        pattern, replacement = DATE_PARTS[known_order]
        iso = re.sub(pattern, replacement, iso)
    for pattern, replacement in CENTURIES:
        iso = re.sub(pattern, replacement, iso)
    for pattern, rest in PADDINGS:
        iso = re.sub(pattern, rf"\g<1>0{rest}", iso)
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) / timedelta(days=1)
