"""Names of columns: their normal form, and the columns that options name."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from nabla.engine.data.ingest_options import IngestOptions
from nabla.engine.data.schema import format_names, normalize_name
from nabla.engine.errors import InvalidInput, quote, shorten

if TYPE_CHECKING:
    import pyarrow as pa

_MAX_COLUMNS = 100_000
_NA = "NA"
_TABLE_OPTIONS = ("types", "imputation", "constants")


def check_names(names: Sequence[str], field: str) -> None:
    """Raise InvalidInput if these cannot be the column names of a table."""
    check_width(len(names), field)
    if not names:
        raise InvalidInput(field, "There is no data: the table has no columns.")
    seen: set[str] = set()
    for number, name in enumerate(names, start=1):
        if not name:
            raise InvalidInput(field, f"Column {number} has no name; every column needs one.")
        if name in seen:
            raise InvalidInput(field, f"There is more than one column {quote(name)}. {list_columns(names)}")
        seen.add(name)


def check_width(width: int, field: str) -> None:
    """Raise InvalidInput if a table has too many columns."""
    if width > _MAX_COLUMNS:
        raise InvalidInput(field, f"The table has {width} columns; at most {_MAX_COLUMNS} are accepted.")


def list_columns(names: Sequence[str]) -> str:
    """Return a sentence that lists the columns of a table."""
    return f"The columns are: {format_names([shorten(name) for name in names])}."


def normalize_columns(batches: Iterable["pa.RecordBatch"], field: str) -> Iterator["pa.RecordBatch"]:
    """Yield batches whose columns have normalized names. Raises InvalidInput if two of them are the same."""
    for batch in batches:
        names = batch.schema.names
        normalized = [normalize_name(name) for name in names]
        if normalized != names:
            check_names(normalized, field)
            yield batch.rename_columns(normalized)
        else:
            yield batch


def list_text_columns(options: IngestOptions) -> frozenset[str]:
    """Return the columns to read as text even if their values look like numbers, such as 007."""
    categories = (name for name, type_ in options.types.items() if type_ == "category")
    # Of a network's columns the format is known.
    formatted = (column.name for column in options.columns if column.type == "date" or column.decimal == ",")
    return frozenset((*categories, *formatted, *(() if options.label is None else (options.label,))))


def list_code_columns(options: IngestOptions) -> frozenset[str] | None:
    """Return the columns of a network in which NA is a category and no missing value; None without a network."""
    if not options.columns:
        return None
    return frozenset(column.name for column in options.columns if _NA in column.categories)


def list_number_columns(options: IngestOptions) -> frozenset[str]:
    """Return the columns that have to be numbers."""
    requested = (name for name, type_ in options.types.items() if type_ == "number")
    return frozenset((*requested, *options.target, *(() if options.weight is None else (options.weight,))))


def list_named_columns(options: IngestOptions) -> frozenset[str]:
    """Return the columns that the options may name: a first line with one of them is a header."""
    lists = (*options.target, *(options.features or ()), *options.exclude)
    single = (name for name in (options.label, options.weight) if name is not None)
    return frozenset((*lists, *(part for text in lists for part in _split(text)), *single, *options.types))


def has_name_lists(options: IngestOptions) -> bool:
    """Return whether an option may be a list of names, so that the columns of the table decide."""
    return any("," in name for name in (*options.target, *(options.features or ()), *options.exclude))


def resolve_names(options: IngestOptions, names: Sequence[str]) -> IngestOptions:
    """Return the options with texts in lists of columns split at their commas, unless a column has that name.

    Args:
        options: The options.
        names: The columns of the table.
    """
    known = frozenset(names)

    def resolve(texts: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for text in texts for name in ((text,) if text in known else _split(text)))

    return replace(
        options,
        target=resolve(options.target),
        features=None if options.features is None else resolve(options.features),
        exclude=resolve(options.exclude),
    )


def normalize_options(options: IngestOptions) -> IngestOptions:
    """Return the options with normalized names of columns."""
    changed: dict[str, object] = {
        option: None if (names := getattr(options, option)) is None else tuple(map(normalize_name, names))
        for option in ("target", "features", "exclude")
    }
    for option in ("label", "weight"):
        name = getattr(options, option)
        changed[option] = None if name is None else normalize_name(name)
    for option in _TABLE_OPTIONS:
        table = getattr(options, option)
        changed[option] = (
            {normalize_name(name): value for name, value in table.items()} if isinstance(table, dict) else table
        )
    return replace(options, **changed)  # type: ignore[arg-type]  # the options keep their types


def _split(text: str) -> tuple[str, ...]:
    """Return the names in a text that are separated by commas, each of which may be quoted as in CSV."""
    try:
        rows = [*csv.reader([text], skipinitialspace=True)]
    except csv.Error:  # a line break
        return (text,)
    return tuple(name.strip() for row in rows for name in row if name.strip())
