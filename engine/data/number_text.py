"""Numbers written as text: their formats, their units, and the spellings of missing values."""

import math
import re
from dataclasses import dataclass
from typing import Literal

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
