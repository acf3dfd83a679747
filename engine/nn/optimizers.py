"""How a step changes the parameters: one pass over flat vectors of equal layout."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from engine.nn.activations import Vector
from engine.nn.compiling import formula

OptimizerName = Literal["sgd"]


@dataclass(frozen=True)
class Optimizer:
    """`update(parameters, gradient, rates)` changes `parameters` in place; rates[0] is the learning rate η."""

    update: Callable[[Vector, Vector, Vector], None]


@formula
def sgd(parameters: Vector, gradient: Vector, rates: Vector) -> None:
    """w ← w − η ∂C/∂w. Nielsen, "Neural Networks and Deep Learning", chapter 1."""
    for i in range(parameters.size):
        parameters[i] -= rates[0] * gradient[i]


OPTIMIZERS: dict[OptimizerName, Optimizer] = {"sgd": Optimizer(sgd)}
