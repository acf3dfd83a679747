"""Choose a formula by its number inside compiled code.

Compiled code cannot hold a table of functions of different types; a chain of comparisons, made here from the
table, costs a few nanoseconds a layer and keeps the table the only place where a formula is listed.
"""

from collections.abc import Callable, Sequence
from typing import Any

from engine.nn.compiling import formula

Formula = Callable[..., Any]


def by_code(formulas: Sequence[Formula]) -> Formula:
    """A function (code, …) that calls `formulas[code](…)`. Codes come from `code_of`, so none is out of range."""

    def link(code: int) -> Formula:
        here = formulas[code]
        if code == len(formulas) - 1:

            @formula
            def last(wanted: int, *arguments: Any) -> Any:
                return here(*arguments)

            return last
        rest = link(code + 1)

        @formula
        def choose(wanted: int, *arguments: Any) -> Any:
            if wanted == code:
                return here(*arguments)
            return rest(wanted, *arguments)

        return choose

    return link(0)


def code_of(name: str, table: dict[Any, Any]) -> int:
    """The number of `name` in a table given to `by_code`."""
    return list(table).index(name)
