"""A network of our own formats, from arrays and words that anybody may have changed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
import numpy as np

from engine.data.preparation import Preparation, PreparationRule
from engine.errors import Damaged, InvalidInput, TooLarge
from engine.exchange.portable import Portable
from engine.exchange.sound import check_classes, check_preparation
from engine.exchange.tensors import (
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
from engine.nn.architecture import Architecture
from engine.nn.network import Network
from engine.training.checkpoint import classes_in, named_tensors
from engine.training.stored_preparation import PREFIX, preparation_in

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
        rule = _decoded(found, "rule", PreparationRule)
        rule.check_cost(architecture.cost)
    try:
        classes = classes_in(dict(found.words))
    except Damaged as problem:
        raise refused("What the file says of its classes cannot be read; expected a JSON array of names.") from problem
    with _speaking_of("classes"):
        check_classes(classes, architecture, rule)
    preparation = preparation_of(found, architecture)
    if preparation is not None:
        check_preparation(preparation, architecture, rule)
    return Portable(network_with(found, architecture), rule, preparation, classes)


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


def preparation_of(found: Found, architecture: Architecture) -> Preparation | None:
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
