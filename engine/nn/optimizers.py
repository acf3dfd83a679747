"""How a step changes the parameters: one pass over flat vectors of equal layout.

g is the gradient, η the learning rate, t the number of the step from 1. The rules are written as PyTorch has them. A
rule has two parts: what is the same for all parameters is worked out once a step, as coefficients; the rest is a
formula for one parameter.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nabla.engine.literals import OptimizerName
from nabla.engine.nn.array_views import Matrix, Vector
from nabla.engine.nn.jit import formula, kernel, named, scalar

Settings = npt.NDArray[np.float64]
# Of one step, in the type of the parameters.
Coefficients = tuple[float, ...]

# Columns of the memory of an optimizer.
STEP, PRODUCT = range(2)
# The most coefficients that a rule has.
COEFFICIENTS = 9


def fresh_memory() -> npt.NDArray[np.float64]:
    """What an optimizer remembers besides its moments: the steps made, and nadam's product of momenta."""
    return np.array([0.0, 1.0])


@dataclass(frozen=True)
class Optimizer:
    """`prepare(settings, rate, memory, coefficients)` works out the coefficients of a step, and may change the memory.

    `update(parameters, gradient, moments, coefficients)` changes parameters and moments in place.
    `moments`: how many vectors of the parameters' layout it needs, 0 at the start: rows of a matrix with at least as
    many columns as there are parameters.
    `settings`: their names and defaults, in the order in which `prepare` has their values.
    """

    prepare: Callable[[Settings, float, Settings, Settings], None]
    update: Callable[[Vector, Vector, Matrix, Settings], None]
    moments: int
    settings: dict[str, float] = field(default_factory=dict)


# Coefficients.


@formula
def rate_alone(settings: Settings, rate: float, memory: Settings, coefficients: Settings) -> None:
    """η."""
    coefficients[0] = rate


@formula
def rate_and_setting(settings: Settings, rate: float, memory: Settings, coefficients: Settings) -> None:
    """η, and μ or ε."""
    coefficients[0] = rate
    coefficients[1] = settings[0]


@formula
def rmsprop_coefficients(settings: Settings, rate: float, memory: Settings, coefficients: Settings) -> None:
    """η, ε, ρ and 1 − ρ."""
    coefficients[0] = rate
    coefficients[1] = settings[1]
    coefficients[2] = settings[0]
    coefficients[3] = 1.0 - settings[0]


@formula
def adam_coefficients(settings: Settings, rate: float, memory: Settings, coefficients: Settings) -> None:
    """Those of `adaptive` for m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ).

    Kingma and Ba, "Adam: a method for stochastic optimization", 2015.
    """
    beta_1, beta_2, t = settings[0], settings[1], memory[STEP]
    coefficients[0] = beta_1
    coefficients[1] = 1.0 - beta_1
    coefficients[2] = beta_2
    coefficients[3] = 1.0 - beta_2
    coefficients[4] = 1.0 / np.sqrt(1.0 - beta_2**t)
    coefficients[5] = settings[2]
    coefficients[6] = rate / (1.0 - beta_1**t)
    coefficients[7] = 0.0
    coefficients[8] = 1.0


@formula
def adamw_coefficients(settings: Settings, rate: float, memory: Settings, coefficients: Settings) -> None:
    """w ← (1 − η λ) w, then as adam. Loshchilov and Hutter, "Decoupled weight decay regularization", 2019."""
    adam_coefficients(settings, rate, memory, coefficients)
    coefficients[8] = 1.0 - rate * settings[3]


@formula
def nadam_coefficients(settings: Settings, rate: float, memory: Settings, coefficients: Settings) -> None:
    """adam with Nesterov's momentum μₜ = β₁ (1 − ½ 0.96^(t ψ)):
    m̂ = μₜ₊₁ m / (1 − Π μ₁…ₜ₊₁) + (1 − μₜ) g / (1 − Π μ₁…ₜ).
    Dozat, "Incorporating Nesterov momentum into Adam", 2016."""
    adam_coefficients(settings, rate, memory, coefficients)
    beta_1, t, decay = settings[0], memory[STEP], settings[3]
    mu = beta_1 * (1.0 - 0.5 * 0.96 ** (t * decay))
    mu_next = beta_1 * (1.0 - 0.5 * 0.96 ** ((t + 1.0) * decay))
    memory[PRODUCT] *= mu
    coefficients[6] = rate * mu_next / (1.0 - memory[PRODUCT] * mu_next)
    coefficients[7] = rate * (1.0 - mu) / (1.0 - memory[PRODUCT])


# Rules for one parameter w. They return what w, and its moments where there are some, become.


@formula
def sgd(w: float, g: float, c: Coefficients) -> float:
    """w ← w − η g. Nielsen, "Neural Networks and Deep Learning", chapter 1."""
    return w - c[0] * g


@formula
def momentum(w: float, g: float, v: float, c: Coefficients) -> tuple[float, float]:
    """v ← μ v + g, w ← w − η v. Polyak, "Some methods of speeding up the convergence of iteration methods", 1964."""
    moved = c[1] * v + g
    return w - c[0] * moved, moved


@formula
def nesterov(w: float, g: float, v: float, c: Coefficients) -> tuple[float, float]:
    """v ← μ v + g, w ← w − η (g + μ v). Sutskever et al., "On the importance of initialization and momentum", 2013."""
    moved = c[1] * v + g
    return w - c[0] * (g + c[1] * moved), moved


@formula
def adagrad(w: float, g: float, s: float, c: Coefficients) -> tuple[float, float]:
    """s ← s + g², w ← w − η g / (√s + ε). Duchi, Hazan and Singer, "Adaptive subgradient methods", 2011."""
    grown = s + g * g
    return w - c[0] * g / (np.sqrt(grown) + c[1]), grown


@formula
def rmsprop(w: float, g: float, s: float, c: Coefficients) -> tuple[float, float]:
    """s ← ρ s + (1 − ρ) g², w ← w − η g / (√s + ε). Tieleman and Hinton, lecture 6.5 of "Neural networks", 2012."""
    mean = c[2] * s + c[3] * g * g
    return w - c[0] * g / (np.sqrt(mean) + c[1]), mean


@formula
def adaptive(w: float, g: float, m: float, v: float, c: Coefficients) -> tuple[float, float, float]:
    """m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², w ← κ w − (η m + η′ g) / (√(v / (1 − β₂ᵗ)) + ε): adam and its
    kin, which differ in η, η′ and κ."""
    mean = c[0] * m + c[1] * g
    square = c[2] * v + c[3] * g * g
    return c[8] * w - (c[6] * mean + c[7] * g) / (np.sqrt(square) * c[4] + c[5]), mean, square


@formula
def _in_type_of(coefficients: Settings, like: float) -> Coefficients:
    return (
        scalar(coefficients[0], like),
        scalar(coefficients[1], like),
        scalar(coefficients[2], like),
        scalar(coefficients[3], like),
        scalar(coefficients[4], like),
        scalar(coefficients[5], like),
        scalar(coefficients[6], like),
        scalar(coefficients[7], like),
        scalar(coefficients[8], like),
    )


Update = Callable[[Vector, Vector, Matrix, Settings], None]


def _without_moments(rule: Callable[..., Any]) -> Update:
    @kernel("update_without_moments", rule)
    @named(f"{rule.__name__}_update")
    def update(parameters: Vector, gradient: Vector, moments: Matrix, coefficients: Settings) -> None:
        c = _in_type_of(coefficients, parameters[0])
        for i in range(parameters.size):
            parameters[i] = rule(parameters[i], gradient[i], c)

    return update


def _with_one_moment(rule: Callable[..., Any]) -> Update:
    @kernel("update_with_one_moment", rule)
    @named(f"{rule.__name__}_update")
    def update(parameters: Vector, gradient: Vector, moments: Matrix, coefficients: Settings) -> None:
        c = _in_type_of(coefficients, parameters[0])
        first = moments[0]
        for i in range(parameters.size):
            parameters[i], first[i] = rule(parameters[i], gradient[i], first[i], c)

    return update


def _with_two_moments(rule: Callable[..., Any]) -> Update:
    @kernel("update_with_two_moments", rule)
    @named(f"{rule.__name__}_update")
    def update(parameters: Vector, gradient: Vector, moments: Matrix, coefficients: Settings) -> None:
        c = _in_type_of(coefficients, parameters[0])
        first, second = moments[0], moments[1]
        for i in range(parameters.size):
            parameters[i], first[i], second[i] = rule(parameters[i], gradient[i], first[i], second[i], c)

    return update


@formula
def stand_still(parameters: Vector, gradient: Vector, moments: Matrix, coefficients: Settings) -> None:
    """No step is made; the gradient is left to whoever asked for it."""


_ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}
_descend, _adapt = _without_moments(sgd), _with_two_moments(adaptive)

OPTIMIZERS: dict[OptimizerName, Optimizer] = {
    "sgd": Optimizer(rate_alone, _descend, 0),
    "momentum": Optimizer(rate_and_setting, _with_one_moment(momentum), 1, {"momentum": 0.9}),
    "nesterov": Optimizer(rate_and_setting, _with_one_moment(nesterov), 1, {"momentum": 0.9}),
    "adagrad": Optimizer(rate_and_setting, _with_one_moment(adagrad), 1, {"epsilon": 1e-10}),
    "rmsprop": Optimizer(rmsprop_coefficients, _with_one_moment(rmsprop), 1, {"rho": 0.9, "epsilon": 1e-8}),
    "adam": Optimizer(adam_coefficients, _adapt, 2, _ADAM),
    "adamw": Optimizer(adamw_coefficients, _adapt, 2, {**_ADAM, "weight_decay": 0.01}),
    "nadam": Optimizer(nadam_coefficients, _adapt, 2, {**_ADAM, "momentum_decay": 0.004}),
    # SciPy makes the steps; these are its names and defaults.
    "l-bfgs": Optimizer(rate_alone, stand_still, 0, {"maxcor": 10.0, "gtol": 1e-5, "ftol": 2.220446049250313e-09}),
}
