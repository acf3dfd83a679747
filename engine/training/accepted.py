"""What is accepted as the value of a setting. What is not raises InvalidInput, which names the field."""

from collections.abc import Iterable

from engine.errors import InvalidInput

INFINITE = float("inf")
# Settings of optimizers and schedules that count something.
_AT_LEAST_ONE = ("every", "patience", "maxcor")


def check_known(field: str, name: str, table: Iterable[str]) -> None:
    """The name of an optimizer or a schedule."""
    if name not in table:
        raise InvalidInput(field, f"Unknown: {name!r}. Accepted: {', '.join(table)}.")


def check_settings(field: str, settings: dict[str, float], known: dict[str, float], owner: str) -> None:
    """Those of an optimizer or a schedule, which is the `owner`."""
    for name, value in settings.items():
        if name not in known:
            accepted = ", ".join(known) or "none"
            raise InvalidInput(f"{field}.{name}", f"{owner} has no such setting. Accepted: {accepted}.")
        least = 1 if name in _AT_LEAST_ONE else 0
        if not least <= value < INFINITE:
            raise InvalidInput(f"{field}.{name}", f"A finite number of at least {least} is needed.")


def check_above_zero(field: str, value: float | None) -> None:
    """A learning rate or a limit; None where there is none."""
    if value is not None and not 0 < value < INFINITE:
        raise InvalidInput(field, "A finite number above 0 is needed.")


def check_penalty(field: str, value: float | None) -> None:
    """λ of l1 or l2; None where it stays as it was."""
    if value is not None and not 0 <= value < INFINITE:
        raise InvalidInput(field, "A penalty is a finite number of at least 0.")
