"""Which column of a table is what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.data.columns import ColumnType
from engine.data.reading.formats.schema import listed, shown
from engine.data.sources import Reading
from engine.errors import InvalidInput


@dataclass(frozen=True)
class Roles:
    """Names of columns. `types`: what those are to be that cannot be left to what they look like."""

    features: tuple[str, ...]
    targets: tuple[str, ...]
    label: str | None
    weight: str | None
    types: Mapping[str, ColumnType]

    @property
    def used(self) -> frozenset[str]:
        return frozenset((*self.features, *self.targets, *(each for each in (self.label, self.weight) if each)))


def as_text(reading: Reading) -> frozenset[str]:
    """Columns whose values are names even if they look like numbers: 007 is not 7."""
    return frozenset(
        (
            *(name for name, type in reading.types.items() if type == "category"),
            *(() if reading.label is None else (reading.label,)),
        )
    )


def roles(names: Sequence[str], reading: Reading) -> Roles:
    """Raises InvalidInput naming the option that does not fit the columns."""
    if not reading.unlabeled and bool(reading.target) == (reading.label is not None):
        raise InvalidInput(
            "target",
            "Name what to learn: target=COLUMN for numbers (several with commas), or label=COLUMN for classes; or say "
            f"unlabeled=true: then the rows have no answers, and can only be predicted. {listed(names)}",
        )
    known = set(names)
    for field, asked in _asked(reading):
        seen: set[str] = set()
        for name in asked:
            if name not in known:
                raise InvalidInput(field, f"There is no column called {shown(name)}. {listed(names)}")
            if name in seen:
                raise InvalidInput(field, f"The column {shown(name)} is named twice.")
            seen.add(name)
    answers = reading.target or (() if reading.label is None else (reading.label,))
    if reading.weight in answers:
        raise InvalidInput(
            "weight", f"The column {shown(reading.weight)} is to be learned; weights are in another one."
        )
    others = {*answers, *(() if reading.weight is None else (reading.weight,))}
    for name in reading.features or ():
        if name in others:
            raise InvalidInput(
                "features", f"The column {shown(name)} is to be learned, or is the weight; it is no input."
            )
    for name in others & reading.types.keys():
        raise InvalidInput(f"types.{name}", "Types are for inputs; this column is to be learned, or is the weight.")
    features = tuple(name for name in names if name not in others) if reading.features is None else reading.features
    if not features:
        raise InvalidInput(
            "features" if reading.features is not None else "target", "No column is left for the inputs."
        )
    for name in reading.types.keys() - set(features):
        raise InvalidInput(f"types.{name}", f"The column {shown(name)} is not among the inputs.")
    numbers = [*reading.target, *(() if reading.weight is None else (reading.weight,))]
    types: dict[str, ColumnType] = {**reading.types, **dict.fromkeys(numbers, "number")}
    return Roles(features, reading.target, reading.label, reading.weight, types)


def _asked(reading: Reading) -> list[tuple[str, tuple[str, ...]]]:
    fillings = tuple(reading.missing) if isinstance(reading.missing, dict) else ()
    return [
        ("target", reading.target),
        ("label", () if reading.label is None else (reading.label,)),
        ("weight", () if reading.weight is None else (reading.weight,)),
        ("features", reading.features or ()),
        ("types", tuple(reading.types)),
        ("missing", fillings),
        ("constants", tuple(reading.constants)),
    ]
