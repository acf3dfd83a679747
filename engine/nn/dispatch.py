"""Choose a formula by its number inside compiled code.

Compiled code cannot hold a table of functions of different types. A function that compares its first argument with
every number is written here from the table, which so stays the only place where a formula is listed. (Written as text,
it is one function to compile; built from nested functions it would be one for each formula, at 0.3 s each.)
"""

from collections.abc import Callable, Sequence
from typing import Any

from engine.nn.compiling import inlined_formula

Formula = Callable[..., Any]


def by_code(name: str, formulas: Sequence[Formula]) -> Formula:
    """A function called `name`, of (code, …), that calls `formulas[code](…)`.

    Codes come from `code_of`, so none is out of range.
    """
    names: dict[str, Any] = {f"formula_{code}": function for code, function in enumerate(formulas)}
    branches = [f"    if code == {code}: return formula_{code}(*arguments)" for code in range(len(formulas) - 1)]
    names["__name__"] = __name__
    source = [f"def {name}(code, *arguments):", *branches, f"    return formula_{len(formulas) - 1}(*arguments)"]
    exec("\n".join(source), names)
    choose: Formula = names[name]
    return inlined_formula(choose)


def code_of(name: str, table: dict[Any, Any]) -> int:
    """The number of `name` in a table given to `by_code`."""
    return list(table).index(name)
