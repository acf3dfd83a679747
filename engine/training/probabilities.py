"""Outputs of classifiers as scores and probabilities of classes."""

import numpy as np
import numpy.typing as npt

from engine.errors import InvalidInput
from engine.nn.architecture import Architecture
from engine.nn.views import Matrix

Codes = npt.NDArray[np.int64]

# They are least where outputs are probabilities.
_COSTS = ("binary_cross_entropy", "categorical_cross_entropy")


def scores_of(outputs: Matrix) -> Matrix:
    """(rows, classes): a single output tells two classes apart, and is the second's."""
    return np.hstack((1 - outputs, outputs)) if outputs.shape[1] == 1 else outputs


def likeliest(outputs: Matrix, count: int) -> Codes:
    """(rows, count or all): the codes of the classes with the highest scores of each row, the highest first; of equal
    ones that which is predicted: the class that comes first, or for a single output of ½ the second."""
    if outputs.shape[1] == 1:
        outputs = np.hstack((outputs, 1 - outputs))
        codes: Codes = 1 - np.argsort(-outputs, axis=1, kind="stable")[:, :count]
    else:
        codes = np.argsort(-outputs, axis=1, kind="stable")[:, :count]
    return codes


def check_has_classes(classes: tuple[str, ...] | None, field: str) -> None:
    """Raises InvalidInput if there are none."""
    if classes is None:
        raise InvalidInput(field, "These weights were trained on numbers, not on classes.")


def gives_probabilities(architecture: Architecture, classes: tuple[str, ...] | None) -> bool:
    return classes is not None and architecture.cost in _COSTS


def check_gives_probabilities(architecture: Architecture, classes: tuple[str, ...] | None, field: str) -> None:
    """Raises InvalidInput unless the scores of classes are probabilities."""
    check_has_classes(classes, field)
    if not gives_probabilities(architecture, classes):
        raise InvalidInput(
            field,
            f"The network learns by the cost {architecture.cost}, which makes no probabilities of its outputs; "
            f"{' and '.join(_COSTS)} do.",
        )
