"""Optimizers: update rules, applied in one pass over flat vectors of equal layout.

g is the gradient, η the learning rate, t the step number from 1. The rules follow PyTorch. A rule has two parts:
coefficients that are the same for all parameters, computed once per step, and a formula for one parameter.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nabla.engine.literals import OptimizerName
from nabla.engine.nn.jit import device_kernel, jit_inline, scalar, with_name
from nabla.engine.typing import Float64Array, Matrix, Vector

# Coefficients of one step, in the dtype of the parameters.
Coefficients = tuple[float, ...]

# Indices into the optimizer state.
STEP, MOMENTUM_PRODUCT = range(2)
# Largest number of coefficients of any rule.
MAX_COEFFICIENTS = 9


def init_optimizer_state() -> Float64Array:
    """Return the initial state of an optimizer besides its moments: the step count, and nadam's product of momenta."""
    return np.array([0.0, 1.0])


@dataclass(frozen=True)
class Optimizer:
    """An update rule and its settings.

    Attributes:
        prepare: `prepare(settings, rate, optimizer_state, coefficients)` computes the coefficients of a step, and may
            change the optimizer state.
        update: `update(parameters, gradient, moments, coefficients)` changes parameters and moments in place.
        moments: Number of moments, vectors of the parameters' layout with initial values of 0. They are the rows of a
            matrix that has at least as many columns as there are parameters.
        settings: Names and defaults of the settings, in the order in which `prepare` receives them.
    """

    prepare: Callable[[Float64Array, float, Float64Array, Float64Array], None]
    update: Callable[[Vector, Vector, Matrix, Float64Array], None]
    moments: int
    settings: dict[str, float] = field(default_factory=dict)


# Coefficients.


@jit_inline
def sgd_coefficients(
    settings: Float64Array, rate: float, optimizer_state: Float64Array, coefficients: Float64Array
) -> None:
    """Set η."""
    coefficients[0] = rate


@jit_inline
def rate_and_setting_coefficients(
    settings: Float64Array, rate: float, optimizer_state: Float64Array, coefficients: Float64Array
) -> None:
    """Set η, and μ or ε."""
    coefficients[0] = rate
    coefficients[1] = settings[0]


@jit_inline
def rmsprop_coefficients(
    settings: Float64Array, rate: float, optimizer_state: Float64Array, coefficients: Float64Array
) -> None:
    """Set η, ε, ρ and 1 − ρ."""
    coefficients[0] = rate
    coefficients[1] = settings[1]
    coefficients[2] = settings[0]
    coefficients[3] = 1.0 - settings[0]


@jit_inline
def adam_coefficients(
    settings: Float64Array, rate: float, optimizer_state: Float64Array, coefficients: Float64Array
) -> None:
    """Set the coefficients of `adaptive` for m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ).

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2015.
    """
    beta_1, beta_2, t = settings[0], settings[1], optimizer_state[STEP]
    coefficients[0] = beta_1
    coefficients[1] = 1.0 - beta_1
    coefficients[2] = beta_2
    coefficients[3] = 1.0 - beta_2
    coefficients[4] = 1.0 / np.sqrt(1.0 - beta_2**t)
    coefficients[5] = settings[2]
    coefficients[6] = rate / (1.0 - beta_1**t)
    coefficients[7] = 0.0
    coefficients[8] = 1.0


@jit_inline
def adamw_coefficients(
    settings: Float64Array, rate: float, optimizer_state: Float64Array, coefficients: Float64Array
) -> None:
    """Set the coefficients of adam after w ← (1 − η λ) w.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.
    """
    adam_coefficients(settings, rate, optimizer_state, coefficients)
    coefficients[8] = 1.0 - rate * settings[3]


@jit_inline
def nadam_coefficients(
    settings: Float64Array, rate: float, optimizer_state: Float64Array, coefficients: Float64Array
) -> None:
    """Set the coefficients of adam with Nesterov's momentum μₜ = β₁ (1 − ½ 0.96^(t ψ)).

    m̂ = μₜ₊₁ m / (1 − Π μ₁…ₜ₊₁) + (1 − μₜ) g / (1 − Π μ₁…ₜ).
    Source: Dozat, "Incorporating Nesterov momentum into Adam", 2016.
    """
    adam_coefficients(settings, rate, optimizer_state, coefficients)
    beta_1, t, decay = settings[0], optimizer_state[STEP], settings[3]
    mu = beta_1 * (1.0 - 0.5 * 0.96 ** (t * decay))
    mu_next = beta_1 * (1.0 - 0.5 * 0.96 ** ((t + 1.0) * decay))
    optimizer_state[MOMENTUM_PRODUCT] *= mu
    coefficients[6] = rate * mu_next / (1.0 - optimizer_state[MOMENTUM_PRODUCT] * mu_next)
    coefficients[7] = rate * (1.0 - mu) / (1.0 - optimizer_state[MOMENTUM_PRODUCT])


# Rules for one parameter w. They return the updated w, and its updated moments if it has any.


@jit_inline
def sgd(w: float, g: float, c: Coefficients) -> float:
    """Apply w ← w − η g. Source: Nielsen, "Neural Networks and Deep Learning", chapter 1."""
    return w - c[0] * g


@jit_inline
def momentum(w: float, g: float, v: float, c: Coefficients) -> tuple[float, float]:
    """Apply v ← μ v + g, w ← w − η v.

    Source: Polyak, "Some methods of speeding up the convergence of iteration methods", 1964.
    """
    velocity = c[1] * v + g
    return w - c[0] * velocity, velocity


@jit_inline
def nesterov(w: float, g: float, v: float, c: Coefficients) -> tuple[float, float]:
    """Apply v ← μ v + g, w ← w − η (g + μ v).

    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.
    """
    velocity = c[1] * v + g
    return w - c[0] * (g + c[1] * velocity), velocity


@jit_inline
def adagrad(w: float, g: float, s: float, c: Coefficients) -> tuple[float, float]:
    """Apply s ← s + g², w ← w − η g / (√s + ε).

    Source: Duchi, Hazan and Singer, "Adaptive subgradient methods", 2011.
    """
    total = s + g * g
    return w - c[0] * g / (np.sqrt(total) + c[1]), total


@jit_inline
def rmsprop(w: float, g: float, s: float, c: Coefficients) -> tuple[float, float]:
    """Apply s ← ρ s + (1 − ρ) g², w ← w − η g / (√s + ε).

    Source: Tieleman and Hinton, "Neural networks for machine learning", lecture 6.5, 2012.
    """
    mean = c[2] * s + c[3] * g * g
    return w - c[0] * g / (np.sqrt(mean) + c[1]), mean


@jit_inline
def adaptive(w: float, g: float, m: float, v: float, c: Coefficients) -> tuple[float, float, float]:
    """Apply the rule of adam, adamw and nadam, which differ in η, η′ and κ.

    m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², w ← κ w − (η m + η′ g) / (√(v / (1 − β₂ᵗ)) + ε).
    """
    mean = c[0] * m + c[1] * g
    square = c[2] * v + c[3] * g * g
    return c[8] * w - (c[6] * mean + c[7] * g) / (np.sqrt(square) * c[4] + c[5]), mean, square


@jit_inline
def _cast_coefficients(coefficients: Float64Array, like: float) -> Coefficients:
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


Update = Callable[[Vector, Vector, Matrix, Float64Array], None]


def _build_update(rule: Callable[..., Any]) -> Update:
    @device_kernel("update_without_moments", rule)
    @with_name(f"{rule.__name__}_update")
    def update(parameters: Vector, gradient: Vector, moments: Matrix, coefficients: Float64Array) -> None:
        c = _cast_coefficients(coefficients, parameters[0])
        for i in range(parameters.size):
            parameters[i] = rule(parameters[i], gradient[i], c)

    return update


def _build_update_one_moment(rule: Callable[..., Any]) -> Update:
    @device_kernel("update_with_one_moment", rule)
    @with_name(f"{rule.__name__}_update")
    def update(parameters: Vector, gradient: Vector, moments: Matrix, coefficients: Float64Array) -> None:
        c = _cast_coefficients(coefficients, parameters[0])
        first = moments[0]
        for i in range(parameters.size):
            parameters[i], first[i] = rule(parameters[i], gradient[i], first[i], c)

    return update


def _build_update_two_moments(rule: Callable[..., Any]) -> Update:
    @device_kernel("update_with_two_moments", rule)
    @with_name(f"{rule.__name__}_update")
    def update(parameters: Vector, gradient: Vector, moments: Matrix, coefficients: Float64Array) -> None:
        c = _cast_coefficients(coefficients, parameters[0])
        first, second = moments[0], moments[1]
        for i in range(parameters.size):
            parameters[i], first[i], second[i] = rule(parameters[i], gradient[i], first[i], second[i], c)

    return update


def noop_update(parameters: Vector, gradient: Vector, moments: Matrix, coefficients: Float64Array) -> None:
    """Do nothing: l-bfgs updates the parameters between steps, and needs only their gradient."""


_ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}
_sgd_update, _adaptive_update = _build_update(sgd), _build_update_two_moments(adaptive)

OPTIMIZERS: dict[OptimizerName, Optimizer] = {
    "sgd": Optimizer(sgd_coefficients, _sgd_update, 0),
    "momentum": Optimizer(rate_and_setting_coefficients, _build_update_one_moment(momentum), 1, {"momentum": 0.9}),
    "nesterov": Optimizer(rate_and_setting_coefficients, _build_update_one_moment(nesterov), 1, {"momentum": 0.9}),
    "adagrad": Optimizer(rate_and_setting_coefficients, _build_update_one_moment(adagrad), 1, {"epsilon": 1e-10}),
    "rmsprop": Optimizer(rmsprop_coefficients, _build_update_one_moment(rmsprop), 1, {"rho": 0.9, "epsilon": 1e-8}),
    "adam": Optimizer(adam_coefficients, _adaptive_update, 2, _ADAM),
    "adamw": Optimizer(adamw_coefficients, _adaptive_update, 2, {**_ADAM, "weight_decay": 0.01}),
    "nadam": Optimizer(nadam_coefficients, _adaptive_update, 2, {**_ADAM, "momentum_decay": 0.004}),
    # The names and defaults of SciPy.
    "l-bfgs": Optimizer(
        sgd_coefficients, noop_update, 0, {"maxcor": 10.0, "gtol": 1e-5, "ftol": 2.220446049250313e-09}
    ),
}
