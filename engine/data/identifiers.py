"""Columns that identify rows, from which nothing can be learned."""

import re

MIN_ROWS_OF_IDENTIFIERS = 20
"""In a smaller table, consecutive numbers or a different text in each row may be a coincidence."""
MIN_IDENTIFIER_SHARE = 0.9
"""Share of different texts among the present ones from which on a column identifies the rows."""

_IDENTIFIER_WORDS = frozenset(
    {"id", "idx", "index", "key", "row", "rownames", "rowname", "rownum", "number", "no", "nr", "num", "#"}
)


def is_identifier_name(name: str) -> bool:
    """Return whether the last word of a column's name is one for identifiers, as in PassengerId and row_number."""
    if re.fullmatch(r"Unnamed: \d+", name):  # a row index, as pandas names it
        return True
    *_, last = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+|#", name) or [""]
    return last.lower() in _IDENTIFIER_WORDS
