"""Formats of text: numbers with their units and the spellings of missing values, dates, and encodings."""

import codecs
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from nabla.engine.errors import InvalidInput

MISSING_SPELLINGS = frozenset(
    {
        "",
        "?",
        ".",
        "..",
        "...",
        "-",
        "--",
        "---",
        "–",
        "—",
        "*",
        "na",
        "n/a",
        "n.a.",
        "n.a",
        "#n/a",
        "#n/a n/a",
        "#na",
        "<na>",
        "nan",
        "-nan",
        "1.#qnan",
        "-1.#qnan",
        "1.#ind",
        "-1.#ind",
        "nat",
        "null",
        "nil",
        "none",
        "\\n",
        "missing",
        "unknown",
        "#div/0!",
        "#value!",
        "#ref!",
        "#name?",
        "#num!",
        "#null!",
    }
)
"""Texts that stand for a missing value among numbers, in lower case."""

CURRENCY_SIGNS = "$€£¥₹"
MINUS_SIGN = "\u2212"
SPACES = " '\u2019\u00a0\u202f"
"""Characters that separate thousands, whatever the decimal separator is."""
_UNITS = re.compile(rf"^[{CURRENCY_SIGNS}]\s*|\s*[%{CURRENCY_SIGNS}]$")

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
FALLBACK_ENCODING = "cp1252"
"""Encoding of text that is not in UTF-8, if cleaning is to guess; Windows' for Western Europe."""


@dataclass(frozen=True)
class NumberFormat:
    """How numbers are written: 1,234.5 has the decimal separator `.`, and 1.234,5 the decimal separator `,`."""

    decimal: Literal[".", ","] = "."

    @property
    def thousands(self) -> str:
        """The thousands separator."""
        return "," if self.decimal == "." else "."

    @property
    def grouped(self) -> str:
        """A regular expression of numbers with thousands separators between groups of three digits."""
        decimal, thousands = re.escape(self.decimal), re.escape(self.thousands)
        return rf"[+-]?[1-9]\d{{0,2}}([{thousands}{SPACES}]\d{{3}})+({decimal}\d*)?"

    @property
    def plain(self) -> str:
        """A regular expression of numbers without thousands separators."""
        decimal = re.escape(self.decimal)
        return rf"[+-]?(\d+({decimal}\d*)?|{decimal}\d+)([eE][+-]?\d+)?"


def strip_units(text: str) -> str:
    """Return a number's text without white space, a sign of a currency or percent, and with an ASCII minus sign."""
    return _UNITS.sub("", text.strip()).replace(MINUS_SIGN, "-").strip()


def parse_number(text: str, format: NumberFormat = NumberFormat()) -> float | None:
    """Return the number that a text is, NaN for a spelling of a missing value, and None for any other text."""
    if text.strip().lower() in MISSING_SPELLINGS:
        return math.nan
    number = strip_units(text)
    if re.fullmatch(format.grouped, number):
        number = re.sub(rf"[{re.escape(format.thousands)}{SPACES}]", "", number)
    elif not re.fullmatch(format.plain, number):
        return None
    value = float(number.replace(format.decimal, "."))
    return value if math.isfinite(value) else None


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


def is_text_encoding(name: str) -> bool:
    """Return whether Python can decode text in the encoding with this name."""
    try:
        return codecs.lookup(name)._is_text_encoding  # Python's io module asks the same
    except LookupError:
        return False


class NotUtf8(InvalidInput):
    """Text is not in UTF-8, and its encoding is not known."""


def not_utf8(field: str, byte: int) -> NotUtf8:
    """Return the error for text whose byte `byte` cannot be UTF-8."""
    return NotUtf8(
        field,
        f"The file is not UTF-8 text (byte {byte}). Set encoding, such as cp1252 or latin-1; UTF-16 needs a byte order "
        "mark at its beginning.",
    )
