"""Names of categories and classes, and their order."""

from collections.abc import Iterable

# Characters.
LONGEST = 1_000


def name(value: object) -> str:
    """`true` and `false`; whole numbers without a point; text as it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Sorted: as whole numbers where all are such, else as text."""
    known = set(names)
    try:
        if all(str(int(each)) == each for each in known):
            return tuple(sorted(known, key=int))
    except ValueError:
        pass
    return tuple(sorted(known))
