"""Statistics of text columns, collected batch by batch: how many texts are numbers, dates, booleans, or missing values.

The type of a column is inferred once all batches are counted; see `text_inference`.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nabla.engine.data.schema import format_names
from nabla.engine.data.text_formats import (
    CURRENCY_SIGNS,
    DATE_PATTERNS,
    MINUS_SIGN,
    MISSING_SPELLINGS,
    SPACES,
    DateOrder,
    NumberFormat,
)
from nabla.engine.errors import quote
from nabla.engine.typing import RowIndices

POINT, COMMA = NumberFormat("."), NumberFormat(",")
NUMBER_FORMATS = (POINT, COMMA)

# Share of numbers or dates from which on a text column is one of them; a single other text may stand beside this many.
_MIN_SHARE, _MIN_TEXTS_BESIDE_ANOTHER = 0.95, 9
# Share of numbers from which on a column of text is worth a note.
_MIN_SHARE_OF_MIXED = 0.75
# A column of whose first texts fewer than this share are numbers, dates or booleans is plain text: no more are counted.
_MIN_RECOGNIZED_SHARE = 0.5
_MAX_EXAMPLES, _MAX_SPELLINGS = 5, 10

MISSING_TEXTS = pa.array(sorted(MISSING_SPELLINGS), pa.string())
_UNITS_BEFORE, _UNITS_AFTER = rf"^[{CURRENCY_SIGNS}]\s*", rf"\s*[%{CURRENCY_SIGNS}]$"
# Numbers of which the decimal separator is certain; 1,234 and 1.234 leave it open, 0,123 and 0.123 do not.
_CERTAIN = {
    POINT: rf"^[+-]?(\d{{1,3}}([,{SPACES}]\d{{3}})+\.\d*|\d{{1,3}}(,\d{{3}}){{2,}})$",
    COMMA: rf"^[+-]?(\d{{4,}},\d*|\d*,(\d{{1,2}}|\d{{4,}})|0?,\d{{3}}|\d{{1,3}}([.{SPACES}]\d{{3}})+,\d*|"
    r"\d{1,3}(\.\d{3}){2,})$",
}
_HAS_POINT = r"^[+-]?(\d*\.(\d{1,2}|\d{4,})|0?\.\d{3}|\d{4,}\.\d{3})$"
_SINGLE_GROUP, _SINGLE_POINT_GROUP = r"^[+-]?[1-9]\d{0,2},\d{3}$", r"^[+-]?[1-9]\d{0,2}\.\d{3}$"
_BOOLEAN, _BOOLEAN_WORD = r"^(?i)(true|false|[01](\.0*)?)$", r"^(?i)(true|false)$"
_TIME_OF_DAY = r"\d:\d\d"
# Codes such as 007 are not numbers.
_LEADING_ZERO = r"^0\d"


@dataclass
class TextExample:
    """A text of a column: in how many rows it is, and the first of them, counted from 1."""

    text: str
    rows: int
    first_row: int

    def describe(self) -> str:
        """Return the text with its rows."""
        more = f" and {self.rows - 1} more" if self.rows > 1 else ""
        return f"{quote(self.text)} (row {self.first_row}{more})"


_SUMS = (
    "texts",
    "ambiguous",
    "leading_zeros",
    "with_units",
    "ambiguous_units",
    "booleans",
    "boolean_words",
    "times",
    "numbers",
    "certain",
    "dates",
    "missing",
)


@dataclass
class TextStats:
    """Counts of the texts of a column, or of a batch of it, by what they may be.

    Attributes:
        texts: Texts that are not spellings of missing values.
        numbers: Texts that are numbers in each format.
        certain: Texts that are numbers in this format only.
        ambiguous: Texts such as 1,234, whose separator may be that of decimals or of thousands.
        leading_zeros: Texts that begin with a superfluous 0, as codes do.
        with_units: Texts that are numbers with a sign of a currency or percent, and of these `ambiguous_units` such as
            1.234 €.
        booleans: Texts that are true, false, 1 or 0, and of these `boolean_words` that are true or false.
        dates: Texts that are dates in each order of their parts.
        times: Texts with a time of day.
        missing: Spellings of missing values, each with its number of rows.
        non_numeric: Some texts that are numbers in neither format.
        non_dates: Some texts that are dates in no order.
        is_plain_text: Whether so few texts are anything else that no more batches need to be counted.
    """

    texts: int = 0
    ambiguous: int = 0
    leading_zeros: int = 0
    with_units: int = 0
    ambiguous_units: int = 0
    booleans: int = 0
    boolean_words: int = 0
    times: int = 0
    numbers: Counter[NumberFormat] = field(default_factory=Counter)
    certain: Counter[NumberFormat] = field(default_factory=Counter)
    dates: Counter[DateOrder] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    non_numeric: list[TextExample] = field(default_factory=list)
    non_dates: list[TextExample] = field(default_factory=list)
    is_plain_text: bool = False

    def add(self, other: "TextStats") -> None:
        """Add the counts of the next batch."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        _add_examples(self.non_numeric, other.non_numeric)
        _add_examples(self.non_dates, other.non_dates)
        recognized = max((self.booleans, *self.dates.values(), *self.numbers.values()))
        self.is_plain_text = self.texts > 0 and recognized < _MIN_RECOGNIZED_SHARE * self.texts

    def are_numbers(self, format: NumberFormat) -> bool:
        """Return whether the column is one of numbers in a format, and not of codes such as 007."""
        return not self.leading_zeros and self.are_numbers_or_codes(format)

    def are_numbers_or_codes(self, format: NumberFormat) -> bool:
        """Return whether nearly all texts are numbers in a format."""
        return self._are_nearly_all(self.numbers[format])

    def _are_nearly_all(self, count: int) -> bool:
        others = self.texts - count
        if not count:
            return False
        return others <= (1 - _MIN_SHARE) * self.texts or (others == 1 and count >= _MIN_TEXTS_BESIDE_ANOTHER)

    @property
    def date_orders(self) -> tuple[DateOrder, ...]:
        """The orders in which nearly all texts are dates; dates in ISO 8601 may stand among those of any order."""
        iso = self.dates["year_first"]
        counts = {
            order: count if order == "year_first" else count + iso
            for order in DATE_PATTERNS
            if (count := self.dates[order])
        }
        most = max(counts.values(), default=0)
        return tuple(order for order, count in counts.items() if count == most and self._are_nearly_all(count))

    @property
    def are_booleans(self) -> bool:
        """Whether all texts are booleans, and some of them true or false."""
        return self.boolean_words > 0 and self.booleans == self.texts

    def choose_format(self, default: NumberFormat) -> NumberFormat:
        """Return the format of which more numbers of the column are certain; without any, the default."""
        point, comma = self.certain[POINT], self.certain[COMMA]
        return default if point == comma else POINT if point > comma else COMMA

    def count_non_numeric(self, format: NumberFormat) -> int:
        """Return how many texts are not numbers in a format."""
        return self.texts - self.numbers[format]

    def describe_others(self, name: str) -> str | None:
        """Return a sentence about the texts among the numbers of a column that is not one of numbers; None without any.

        Without cleaning and with it, such a column is read as text.
        """
        numbers = max(self.numbers.values(), default=0)
        if self.leading_zeros or self.booleans == self.texts or numbers < _MIN_SHARE_OF_MIXED * self.texts:
            return None
        examples = format_names([example.describe() for example in self.non_numeric])
        return (
            f"The column {quote(name)} holds {numbers} numbers and {self.texts - numbers} other texts, {examples}; it "
            f'is read as text. Set types={{"{name}": "number"}} to read it as numbers.'
        )

    def describe_missing(self, name: str) -> str:
        """Return a sentence about the spellings of missing values in the column, which has this name."""
        spellings = ", ".join(f"{quote(spelling)} ({rows})" for spelling, rows in self.missing.items())
        return f"In the column {quote(name)} these texts count as missing values: {spellings}."


def count_texts(values: pa.Array, first_row: int, positions: RowIndices | None = None) -> TextStats:
    """Count the texts of a batch by what they may be. Thread-safe.

    Args:
        values: The texts.
        first_row: Number of the first row of the batch.
        positions: Rows of the batch that the texts are in; None for all.
    """
    counted = pc.value_counts(values.drop_null())
    distinct = counted.field("values").cast(pa.string())
    counts: npt.NDArray[np.int64] = counted.field("counts").to_numpy(zero_copy_only=False)
    trimmed = pc.utf8_trim_whitespace(distinct)
    is_missing = _to_mask(pc.is_in(pc.utf8_lower(trimmed), MISSING_TEXTS))
    stripped = strip_unit_signs(trimmed)
    present = ~is_missing

    def total(mask: npt.NDArray[np.bool_]) -> int:
        return int(counts[mask & present].sum())

    numbers = {format: _matches(stripped, rf"^({format.plain}|{format.grouped})$") for format in NUMBER_FORMATS}
    is_non_numeric = present & ~numbers[POINT] & ~numbers[COMMA]
    with_units = ~_to_mask(pc.equal(stripped, _normalize_minus(trimmed))) & ~is_non_numeric
    dates = {order: _matches(trimmed, pattern) for order, pattern in DATE_PATTERNS.items()}
    is_date = np.logical_or.reduce([*dates.values()])
    stats = TextStats(
        texts=total(present),
        numbers=Counter({format: total(mask) for format, mask in numbers.items()}),
        certain=Counter({format: total(_matches(stripped, pattern)) for format, pattern in _CERTAIN.items()}),
        ambiguous=total(_matches(stripped, _SINGLE_GROUP)),
        leading_zeros=total(_matches(stripped, _LEADING_ZERO)),
        booleans=total(_matches(trimmed, _BOOLEAN)),
        boolean_words=total(_matches(trimmed, _BOOLEAN_WORD)),
        times=total(_matches(trimmed, _TIME_OF_DAY)),
        dates=Counter({order: total(mask) for order, mask in dates.items()}),
        with_units=total(with_units),
        ambiguous_units=total(_matches(stripped, _SINGLE_POINT_GROUP) & with_units),
    )
    stats.certain[POINT] += total(_matches(stripped, _HAS_POINT))
    for index in np.flatnonzero(is_missing)[:_MAX_SPELLINGS]:
        spelling = trimmed[index].as_py()
        stats.missing[spelling] += int(counts[index])

    def find_examples(mask: npt.NDArray[np.bool_]) -> list[TextExample]:
        examples = []
        for index in np.flatnonzero(mask)[:_MAX_EXAMPLES]:
            row = pc.index(values, counted.field("values")[index]).as_py()
            if positions is not None:
                row = int(positions[row])
            examples.append(TextExample(trimmed[index].as_py(), int(counts[index]), first_row + row + 1))
        return examples

    stats.non_numeric = find_examples(is_non_numeric)
    stats.non_dates = find_examples(present & ~is_date)
    return stats


def _add_examples(examples: list[TextExample], added: list[TextExample]) -> None:
    for example in added:
        known = next((other for other in examples if other.text == example.text), None)
        if known is not None:
            known.rows += example.rows
        elif len(examples) < _MAX_EXAMPLES:
            examples.append(example)


def strip_unit_signs(texts: pa.Array) -> pa.Array:
    """Return texts without signs of a currency or percent, and with an ASCII minus sign."""
    without = pc.replace_substring_regex(pc.replace_substring_regex(texts, _UNITS_BEFORE, ""), _UNITS_AFTER, "")
    return _normalize_minus(without)


def _normalize_minus(texts: pa.Array) -> pa.Array:
    return pc.replace_substring(texts, MINUS_SIGN, "-")


def _matches(texts: pa.Array, pattern: str) -> npt.NDArray[np.bool_]:
    return _to_mask(pc.match_substring_regex(texts, pattern))


def _to_mask(booleans: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(booleans.to_numpy(zero_copy_only=False), np.bool_)
