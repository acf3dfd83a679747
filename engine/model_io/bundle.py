"""A version of a network as it goes out of one service and into another: its arrays by name, and its words.

Every format of our own has the same arrays (those of a file of weights) and the same words: `architecture`, `rule` (how
data are prepared), `preparation` (what was found for that) and `classes`, each as JSON.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import numpy as np

from nabla.engine.data.preprocessing import PreprocessingConfig, Preprocessor
from nabla.engine.data.scaling import Scaling
from nabla.engine.data.schema import Column
from nabla.engine.errors import Damaged, InvalidInput, TooLarge
from nabla.engine.literals import ActivationName, CostName, NetworkFormat, ScalingWord
from nabla.engine.model_io.tensors import (
    Found,
    Tensor,
    check_finite,
    check_size,
    check_variances,
    copy_into,
    listed,
    refused,
    shortened,
)
from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.network import Network
from nabla.engine.training.checkpoint import (
    PREFIX,
    Arrays,
    Classes,
    classes_in,
    named_tensors,
    preparation_in,
    tensors_of,
    words_of,
    words_of_classes,
)


@dataclass(frozen=True, eq=False)
class Portable:
    """`preparation`: what was found for the `rule`; None where nothing has been trained."""

    network: Network
    rule: PreprocessingConfig
    preprocessor: Preprocessor | None = None
    classes: Classes = None

    @property
    def arrays(self) -> Arrays:
        """Views of the network's, and what was found for its preprocessor."""
        found: Arrays = dict(named_tensors(self.network))
        return found if self.preprocessor is None else found | tensors_of(self.preprocessor)

    @property
    def words(self) -> dict[str, str]:
        found = {
            "architecture": msgspec.json.encode(self.network.architecture).decode(),
            "rule": msgspec.json.encode(self.rule).decode(),
            **words_of_classes(self.classes),
        }
        return found if self.preprocessor is None else found | words_of(self.preprocessor)


@dataclass(frozen=True)
class Hints:
    """What a sender says of a file. `format`: None finds out. The others are for files that do not say it themselves:
    an activation for each layer, the cost, and the names of the classes."""

    format: NetworkFormat | None = None
    activations: tuple[ActivationName, ...] | None = None
    cost: CostName | None = None
    classes: tuple[str, ...] | None = None


# As tables may have.
_MOST_COLUMNS = 100_000
# Characters of a name.
_LONGEST = 1_000


def check_classes(classes: Classes, architecture: Architecture, rule: PreprocessingConfig) -> None:
    """Raises InvalidInput (field `classes`) unless there is one for each output, or two for a single one."""
    if classes is None:
        return
    wanted = max(2, architecture.outputs)
    if len(classes) != wanted:
        raise InvalidInput(
            "classes",
            f"There are {len(classes)} classes; a network with {architecture.outputs} outputs tells {wanted} apart.",
        )
    again = _twice(classes)
    if again is not None:
        raise InvalidInput("classes", f"The class {shortened(again)!r} is there twice.")
    if any(len(name) > _LONGEST for name in classes):
        raise InvalidInput("classes", f"The name of a class has at most {_LONGEST} characters.")
    rule.check_classes(classes)


def check_preparation(preprocessor: Preprocessor, architecture: Architecture, rule: PreprocessingConfig) -> None:
    """Raises InvalidInput."""
    if preprocessor.rule != rule:
        raise refused("What the file says under preprocessor and under rule differs; both are how data are prepared.")
    if preprocessor.columns is not None:
        _check_columns(preprocessor.columns, architecture)
        for fill, column in zip(preprocessor.fills, preprocessor.columns, strict=True):
            _check_fill(float(fill), column)
    _check_scaling(rule.inputs, preprocessor.inputs, architecture.inputs, "inputs")
    _check_scaling(rule.targets, preprocessor.targets, architecture.outputs, "targets")


def _check_columns(columns: Sequence[Column], architecture: Architecture) -> None:
    inputs = sum(column.inputs for column in columns)
    if inputs != architecture.inputs:
        raise refused(f"The columns take {inputs} inputs; the network has {architecture.inputs}.")
    if len(columns) > _MOST_COLUMNS:
        raise refused(f"The network has {len(columns)} columns; at most {_MOST_COLUMNS} are accepted.")
    again = _twice([column.name for column in columns])
    if again is not None:
        raise refused(f"There are two columns called {shortened(again)!r}; each has a name of its own.")
    for column in columns:
        if not column.name or max(map(len, (column.name, *column.categories))) > _LONGEST:
            raise refused(f"Columns have names, and these and those of categories at most {_LONGEST} characters.")
        if bool(column.categories) != (column.type == "category") or _twice(column.categories) is not None:
            raise refused(
                f"The column {shortened(column.name)!r} is a {column.type}; a category has the names of its "
                "categories, each once, and nothing else has any."
            )


def _check_fill(fill: float, column: Column) -> None:
    """A row without a value gets a finite number, or the code of a category."""
    codes = range(len(column.categories))
    if not np.isnan(fill) and not (fill in codes if column.type == "category" else np.isfinite(fill)):
        raise refused(f"Rows without a value in {shortened(column.name)!r} cannot be filled with {fill:g}.")


def _check_scaling(word: ScalingWord, scaling: Scaling | None, width: int, what: str) -> None:
    if (scaling is None) != (word == "none"):
        raise refused(f"The rule for {what} is {word}; what they are scaled by has to be there, and only then.")
    if scaling is None:
        return
    if len(scaling.offsets) != width or len(scaling.scales) != width:
        raise refused(f"There are {width} {what}; as many offsets and scales are expected.")
    with np.errstate(divide="ignore", over="ignore"):
        if not np.isfinite(1 / scaling.scales).all():
            raise refused(f"A scale of the {what} cannot be divided by; scales are finite and not 0.")


def _twice(names: Sequence[str]) -> str | None:
    """A name that is there more than once."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


T = TypeVar("T")


def is_own(found: Found) -> bool:
    """Whether the file says itself what network it is."""
    return "architecture" in found.words


def restore(found: Found, most: int) -> Portable:
    """Raises InvalidInput, TooLarge if it has more than `most` parameters."""
    with _speaking_of("architecture"):
        architecture = _decoded(found, "architecture", Architecture)
        check_size(architecture, most)
    with _speaking_of("rule"):
        rule = _decoded(found, "rule", PreprocessingConfig)
        rule.check_cost(architecture.cost)
    try:
        classes = classes_in(dict(found.words))
    except Damaged as problem:
        raise refused("What the file says of its classes cannot be read; expected a JSON array of names.") from problem
    with _speaking_of("classes"):
        check_classes(classes, architecture, rule)
    preprocessor = preparation_of(found, architecture)
    if preprocessor is not None:
        check_preparation(preprocessor, architecture, rule)
    return Portable(network_with(found, architecture), rule, preprocessor, classes)


def network_with(found: Found, architecture: Architecture) -> Network:
    """With the arrays of a file. Raises InvalidInput if it has others than the network has."""
    network = Network.blank(architecture)
    expected = dict(named_tensors(network))
    own = {name: tensor for name, tensor in found.tensors.items() if not name.startswith(PREFIX)}
    missing = expected.keys() - own.keys()
    if missing:
        raise refused(f"The file lacks the array {min(missing)}. It has: {listed(own)}.")
    others = own.keys() - expected.keys()
    if others:
        raise refused(f"The file also has the array {shortened(min(others))!r}. Accepted: {listed(expected)}.")
    for name, view in expected.items():
        copy_into(view, name, own[name])
    for index, (_, _, variances) in network.normalizations.items():
        check_variances(variances, f"layers.{index}.variances")
    return network


def preparation_of(found: Found, architecture: Architecture) -> Preprocessor | None:
    """What was found for the rule of the network. Raises InvalidInput."""
    own = {name: tensor for name, tensor in found.tensors.items() if name.startswith(PREFIX)}
    for name, tensor in own.items():
        _check_vector(name, tensor, max(architecture.inputs, architecture.outputs))
    # An archive of arrays has no empty ones.
    read: dict[str, Any] = {f"{PREFIX}fills": np.zeros(0), **{name: tensor.read() for name, tensor in own.items()}}
    for name, values in read.items():
        if not name.endswith("fills"):
            check_finite(values, name)
    try:
        return preparation_in(read, dict(found.words))
    except Damaged as problem:
        raise refused(f"{problem} A file as it was copied out is expected.") from problem


def _check_vector(name: str, tensor: Tensor, longest: int) -> None:
    if tensor.dtype != np.float64 or len(tensor.shape) != 1 or tensor.shape[0] > longest:
        raise refused(
            f"The array {shortened(name)} is {tensor}; expected float64 of one dimension, of at most {longest} numbers."
        )


def _decoded(found: Found, word: str, type_: type[T]) -> T:
    if word not in found.words:
        raise InvalidInput(word, "It is missing.")
    try:
        return msgspec.json.decode(found.words[word], type=type_)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as problem:
        raise InvalidInput(word, f"{problem}.") from problem


@contextmanager
def _speaking_of(word: str) -> Iterator[None]:
    """What is wrong there is wrong with the file."""
    try:
        yield
    except TooLarge:
        raise
    except InvalidInput as problem:
        field, sentence = problem.problems[0]
        where = word if field == word else f"{word} ({field})"
        raise refused(f"What the file says under {where} is not accepted: {sentence}") from problem
