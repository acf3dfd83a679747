"""Inference from the texts of a table: columns of numbers, dates and booleans, missing values, and rows to leave out.

The findings of one pass over the table tell the next pass how to read it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nabla.engine.data.ingest.formats.types import ReadHints
from nabla.engine.data.ingest.number_columns import find_number_columns
from nabla.engine.data.ingest.table_schema import ColumnRoles, TextFormats
from nabla.engine.data.ingest.text_stats import COMMA, NUMBER_FORMATS, POINT, TextExample, TextStats
from nabla.engine.data.ingest_options import IngestOptions
from nabla.engine.data.schema import format_names
from nabla.engine.data.text_formats import MISSING_SPELLINGS, DateOrder, NumberFormat
from nabla.engine.errors import quote

# In a table with more rows than this, a last row with one of these texts holds totals.
_MIN_ROWS_BEFORE_TOTALS = 5
_TOTALS = re.compile(r"((grand |sub)?totals?|sum|summe|gesamt|insgesamt|average|mean)[\s:0-9]*", re.IGNORECASE)
# Text of a unit or a description, without digits.
_UNIT = re.compile(r"(?!-?inf)[^0-9]+", re.IGNORECASE)

Problem = tuple[str, str]
"""A field, and a sentence about it."""


@dataclass(frozen=True)
class TableFindings:
    """What the passes over a table have found.

    Attributes:
        hints: For reading its files.
        formats: Text columns that are numbers, dates or booleans.
        missing_texts: Spellings of missing values of these columns.
        left_out_rows: Numbers of the rows that hold no data, such as totals, from 1.
        notes: Sentences about the findings.
    """

    hints: ReadHints
    formats: TextFormats = field(default_factory=TextFormats)
    missing_texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    left_out_rows: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()

    def with_notes(self, notes: Sequence[str]) -> "TableFindings":
        """Return the findings with more notes; a note that they have already is not repeated."""
        return replace(self, notes=(*dict.fromkeys((*self.notes, *notes)),))


@dataclass(frozen=True)
class TextCounts:
    """Counts of the texts of a table in one pass.

    Attributes:
        texts: Statistics of the text columns that may be numbers, dates or booleans.
        numbers: How many feature columns are numbers already.
        repeated_names: Numbers of rows that repeat the names of the columns.
        last_row: Number of the last row, from 1, and its texts by column.
        comma_separates_cells: Whether a comma separates the cells of a row.
    """

    texts: Mapping[str, TextStats]
    numbers: int
    repeated_names: Sequence[int]
    last_row: tuple[int, Mapping[str, str]]
    comma_separates_cells: bool


def infer_from_texts(
    findings: TableFindings, counts: TextCounts, roles: ColumnRoles, options: IngestOptions
) -> tuple[TableFindings, list[Problem]]:
    """Infer from one pass how to read the table.

    Args:
        findings: The findings of the passes before.
        counts: The counts of this pass.
        roles: Roles of the columns.
        options: Options of the ingest.

    Returns:
        The findings, and problems that reject the table. Without problems the table has to be read again if there are
        more findings than before.
    """
    cleans = options.cleaning == "auto"
    if cleans and not options.unlabeled and (left_out := _find_rows_without_data(counts)):
        rows = findings.left_out_rows | left_out.keys()
        return replace(findings, left_out_rows=rows).with_notes([*left_out.values()]), []
    findings = findings.with_notes(_describe_possible_totals(counts))
    findings = findings.with_notes(
        [
            f"Row {row} repeats the names of the columns; set drop_rows=[{row}] to leave it out."
            for row in counts.repeated_names
        ]
    )
    findings = _infer_label(findings, counts.texts, roles, options)
    findings = _infer_dates_and_booleans(findings, counts.texts, roles, options)
    return _infer_numbers(findings, counts, roles, options)


def _find_rows_without_data(counts: TextCounts) -> dict[int, str]:
    """Return the numbers of the rows that hold units or totals, each with a sentence about it."""
    found = {row: f"Row {row} is left out, since it repeats the names of the columns." for row in counts.repeated_names}
    numeric = {name: stats for name, stats in counts.texts.items() if any(map(stats.are_numbers, (POINT, COMMA)))}
    units = [
        text.text
        for stats in numeric.values()
        for text in stats.non_numeric
        if text.first_row == text.rows == 1 and _UNIT.fullmatch(text.text)
    ]
    # A column that holds numbers already has one in row 1.
    if units and not counts.numbers and 2 * len(units) >= len(numeric):
        found[1] = f"Row 1 is left out, since it holds units instead of numbers: {format_names([*map(quote, units)])}."
    number, cells = counts.last_row
    totals = _find_totals(counts)
    if totals is not None:
        found[number] = f"The last row, {number}, is left out, since it holds totals: {quote(cells[totals])}."
    return found


def _find_totals(counts: TextCounts) -> str | None:
    """Return the column that names the last row as one of totals; None without any."""
    number, cells = counts.last_row
    if number <= _MIN_ROWS_BEFORE_TOTALS:
        return None
    return next((name for name, text in cells.items() if _TOTALS.fullmatch(text.strip())), None)


def _describe_possible_totals(counts: TextCounts) -> list[str]:
    totals = _find_totals(counts)
    if totals is None:
        return []
    number, cells = counts.last_row
    return [
        f"The last row may hold totals: {quote(cells[totals])}. If it does, set drop_rows=[{number}] to leave it out."
    ]


def _infer_label(
    findings: TableFindings, texts: Mapping[str, TextStats], roles: ColumnRoles, options: IngestOptions
) -> TableFindings:
    """Add findings about the label: among numbers, spellings of missing values are not classes."""
    stats = None if roles.label is None or options.classes else texts.get(roles.label)
    if roles.label is None or stats is None or not any(map(stats.are_numbers, (POINT, COMMA))):
        return findings
    notes = []
    if stats.missing:
        formats = findings.formats.with_null_values(roles.label, MISSING_SPELLINGS)
        findings = replace(
            findings, formats=formats, missing_texts={**findings.missing_texts, roles.label: tuple(stats.missing)}
        )
        notes.append(stats.describe_missing(roles.label))
    if stats.non_numeric:
        others = format_names([text.describe() for text in stats.non_numeric])
        notes.append(f"The classes are numbers, except {others}.")
    return findings.with_notes(notes)


def _infer_dates_and_booleans(
    findings: TableFindings, texts: Mapping[str, TextStats], roles: ColumnRoles, options: IngestOptions
) -> TableFindings:
    notes = []
    formats = findings.formats
    known_orders = {
        column.name: column.date_order
        for column in options.columns
        if column.type == "date" and column.date_order != "year_first"
    }
    for name in sorted(frozenset(roles.features) & texts.keys()):
        stats, requested = texts[name], options.types.get(name)
        orders = stats.date_orders
        if requested == "date" and name not in formats.dates:
            order = known_orders.get(name) or (orders[0] if orders else "year_first")
            formats = formats.with_dates(name, order, has_time=stats.times > 0)
            notes += [] if name in known_orders else _describe_date_order(name, orders)
            notes += _describe_missing_dates(name, stats) if options.cleaning == "auto" else ()
        elif requested is None and len(orders) == 1 and options.cleaning == "auto":
            formats = formats.with_dates(name, orders[0], has_time=stats.times > 0)
            notes += [*_describe_date_order(name, orders), *_describe_missing_dates(name, stats)]
        elif requested is None and orders:
            notes.append(_describe_unread_dates(name, orders))
        elif requested is None and not _is_number_column(stats) and (others := stats.describe_others(name)) is not None:
            notes.append(others)
        elif requested is None and stats.are_booleans:
            formats = formats.with_booleans(name).with_null_values(name, MISSING_SPELLINGS)
            if stats.boolean_words < stats.booleans:
                notes.append(
                    f"In the column {quote(name)}, whose other values are true and false, 1 is read as true and 0 as "
                    "false."
                )
    return replace(findings, formats=formats).with_notes(notes)


def _is_number_column(stats: TextStats) -> bool:
    return any(map(stats.are_numbers, NUMBER_FORMATS))


def _describe_missing_dates(name: str, stats: TextStats) -> list[str]:
    notes = [stats.describe_missing(name)] if stats.missing else []
    if stats.non_dates:
        texts = format_names([example.describe() for example in stats.non_dates])
        notes.append(f"In the column {quote(name)} these texts among dates count as missing: {texts}.")
    return notes


def _describe_date_order(name: str, orders: Sequence[DateOrder]) -> list[str]:
    match orders:
        case ("day_first",):
            return [f"Dates in the column {quote(name)} begin with the day: 31.12.2024 is read as 2024-12-31."]
        case ("month_first",):
            return [f"Dates in the column {quote(name)} begin with the month: 12/31/2024 is read as 2024-12-31."]
        case ("day_first", "month_first"):
            return [
                f"Dates in the column {quote(name)} such as 01/02/2024 may begin with the day or with the month; they "
                "are read with the day first. Write them as 2024-02-01 to be sure."
            ]
    return []


def _describe_unread_dates(name: str, orders: Sequence[DateOrder]) -> str:
    if len(orders) > 1:
        return (
            f"The column {quote(name)} holds dates such as 01/02/2024, which may begin with the day or with the month; "
            "they are read as text. Write them as 2024-02-01."
        )
    return (
        f'The column {quote(name)} holds dates, which are read as text; set types={{"{name}": "date"}} to read them as '
        "dates."
    )


def _infer_numbers(
    findings: TableFindings, counts: TextCounts, roles: ColumnRoles, options: IngestOptions
) -> tuple[TableFindings, list[Problem]]:
    cleans = options.cleaning == "auto"
    texts = {
        name: stats
        for name, stats in counts.texts.items()
        if name != roles.label and options.types.get(name, "number") == "number"
    }
    required = frozenset(
        name for name in texts if name in roles.targets or name == roles.weight or options.types.get(name) == "number"
    )
    number_columns = find_number_columns(
        texts,
        required,
        options.decimal or (findings.hints.decimal if findings.formats.numbers else None),
        {column.name: NumberFormat(column.decimal) for column in options.columns if column.type == "number"},
        comma_separates_cells=counts.comma_separates_cells,
        describe_remedy=_make_remedy_describer(roles),
    )
    if number_columns.questions:
        return findings, [("decimal", question) for question in number_columns.questions]
    # Cleaning reads whatever is not a number as missing, except in targets and weights.
    unreadable = [
        name
        for name in required
        if texts[name].texts
        and not texts[name].are_numbers_or_codes(number_columns.columns[name])
        and not (cleans and name in roles.features)
    ]
    problems = [_describe_unreadable(name, texts[name], roles) for name in unreadable]
    if not cleans:
        problems += [("file", text) for name, text in number_columns.problems.items() if name not in unreadable]
    if problems:
        return findings, problems
    if not number_columns.columns.keys() - findings.formats.numbers.keys():
        return findings, []
    notes = list(number_columns.notes)
    if cleans:
        notes += [
            f"In the column {quote(name)} these texts among numbers count as missing: "
            f"{format_names([text.describe() for text in texts[name].non_numeric])}."
            for name in number_columns.problems
        ]
    hints = findings.hints
    if number_columns.format.decimal != hints.decimal:
        hints = replace(hints, types={}, decimal=number_columns.format.decimal)
    missing_texts = {name: tuple(texts[name].missing) for name in number_columns.columns}
    findings = replace(
        findings,
        hints=hints,
        formats=findings.formats.with_numbers(number_columns.columns),
        missing_texts={**findings.missing_texts, **missing_texts},
    )
    return findings.with_notes(notes), []


def _make_remedy_describer(roles: ColumnRoles) -> Callable[[str, Sequence[TextExample]], str]:
    def describe(name: str, non_numeric: Sequence[TextExample]) -> str:
        texts = ", ".join(f'"{text.text}"' for text in non_numeric)
        rows = ", ".join(str(text.first_row) for text in non_numeric)
        remedies = [
            f"set null_values=[{texts}] to read them as missing",
            f"drop_rows=[{rows}] to leave the rows out",
        ]
        if name not in roles.required:
            remedies.append(f'types={{"{name}": "category"}} to learn them as text')
        return f"Correct them, or {', or '.join(remedies)}."

    return describe


def _describe_unreadable(name: str, stats: TextStats, roles: ColumnRoles) -> Problem:
    examples = ", ".join(text.describe() for text in stats.non_numeric[:3])
    message = f"The column {quote(name)} holds text such as {examples}; numbers are expected."
    if name in roles.targets:
        return "target", f"{message} To learn its values as classes, set label={name}."
    return ("weight" if name == roles.weight else f"types.{name}"), message
