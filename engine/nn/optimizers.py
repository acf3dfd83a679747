"""How a step changes the parameters: one pass over flat vectors of equal layout.

g is the gradient, η the learning rate, t the number of the step from 1. The rules are written as PyTorch has them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from engine.nn.compiling import formula, scalar
from engine.nn.views import Matrix, Vector

OptimizerName = Literal["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "nadam", "l-bfgs"]

Settings = npt.NDArray[np.float64]
Update = Callable[[Vector, Vector, Matrix, Settings, float, Settings], None]

# Columns of the memory of an optimizer.
STEP, PRODUCT = range(2)


def fresh_memory() -> npt.NDArray[np.float64]:
    """What an optimizer remembers besides its moments: the steps made, and nadam's product of momenta."""
    return np.array([0.0, 1.0])


@dataclass(frozen=True)
class Optimizer:
    """`update(parameters, gradient, moments, settings, rate, memory)` changes parameters, moments and memory in place.

    `moments`: how many vectors of the parameters' layout it needs, 0 at the start: rows of a matrix with at least as
    many columns as there are parameters.
    `settings`: their names and defaults, in the order in which `update` has their values.
    """

    update: Update
    moments: int
    settings: dict[str, float] = field(default_factory=dict)


@formula
def sgd(
    parameters: Vector, gradient: Vector, moments: Matrix, settings: Settings, rate: float, memory: Settings
) -> None:
    """w ← w − η g. Nielsen, "Neural Networks and Deep Learning", chapter 1."""
    eta = scalar(rate, parameters[0])
    for i in range(parameters.size):
        parameters[i] -= eta * gradient[i]


@formula
def stand_still(
    parameters: Vector, gradient: Vector, moments: Matrix, settings: Settings, rate: float, memory: Settings
) -> None:
    """No step is made; the gradient is left to whoever asked for it."""


@formula
def momentum(
    parameters: Vector, gradient: Vector, moments: Matrix, settings: Settings, rate: float, memory: Settings
) -> None:
    """v ← μ v + g, w ← w − η v. Polyak, "Some methods of speeding up the convergence of iteration methods", 1964."""
    eta, mu = scalar(rate, parameters[0]), scalar(settings[0], parameters[0])
    v = moments[0]
    for i in range(parameters.size):
        v[i] = mu * v[i] + gradient[i]
        parameters[i] -= eta * v[i]


@formula
def nesterov(
    parameters: Vector, gradient: Vector, moments: Matrix, settings: Settings, rate: float, memory: Settings
) -> None:
    """v ← μ v + g, w ← w − η (g + μ v). Sutskever et al., "On the importance of initialization and momentum", 2013."""
    eta, mu = scalar(rate, parameters[0]), scalar(settings[0], parameters[0])
    v = moments[0]
    for i in range(parameters.size):
        v[i] = mu * v[i] + gradient[i]
        parameters[i] -= eta * (gradient[i] + mu * v[i])


@formula
def adagrad(
    parameters: Vector, gradient: Vector, moments: Matrix, settings: Settings, rate: float, memory: Settings
) -> None:
    """s ← s + g², w ← w − η g / (√s + ε). Duchi, Hazan and Singer, "Adaptive subgradient methods", 2011."""
    eta, epsilon = scalar(rate, parameters[0]), scalar(settings[0], parameters[0])
    s = moments[0]
    for i in range(parameters.size):
        s[i] += gradient[i] * gradient[i]
        parameters[i] -= eta * gradient[i] / (np.sqrt(s[i]) + epsilon)


@formula
def rmsprop(
    parameters: Vector, gradient: Vector, moments: Matrix, settings: Settings, rate: float, memory: Settings
) -> None:
    """s ← ρ s + (1 − ρ) g², w ← w − η g / (√s + ε). Tieleman and Hinton, lecture 6.5 of "Neural networks", 2012."""
    eta, epsilon = scalar(rate, parameters[0]), scalar(settings[1], parameters[0])
    rho, fresh = scalar(settings[0], parameters[0]), scalar(1.0 - settings[0], parameters[0])
    s = moments[0]
    for i in range(parameters.size):
        s[i] = rho * s[i] + fresh * gradient[i] * gradient[i]
        parameters[i] -= eta * gradient[i] / (np.sqrt(s[i]) + epsilon)


@formula
def adam(
    parameters: Vector, gradient: Vector, moments: Matrix, settings: Settings, rate: float, memory: Settings
) -> None:
    """m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², w ← w − η m̂ / (√v̂ + ε) with m̂ = m / (1 − β₁ᵗ) and
    v̂ = v / (1 − β₂ᵗ). Kingma and Ba, "Adam: a method for stochastic optimization", 2015."""
    beta_1, beta_2 = settings[0], settings[1]
    eta = rate / (1.0 - beta_1 ** memory[STEP])
    _adaptive(parameters, gradient, moments, beta_1, beta_2, settings[2], eta, 0.0, memory)


@formula
def adamw(
    parameters: Vector, gradient: Vector, moments: Matrix, settings: Settings, rate: float, memory: Settings
) -> None:
    """w ← (1 − η λ) w, then as adam. Loshchilov and Hutter, "Decoupled weight decay regularization", 2019."""
    kept = scalar(1.0 - rate * settings[3], parameters[0])
    for i in range(parameters.size):
        parameters[i] *= kept
    adam(parameters, gradient, moments, settings, rate, memory)


@formula
def nadam(
    parameters: Vector, gradient: Vector, moments: Matrix, settings: Settings, rate: float, memory: Settings
) -> None:
    """adam with Nesterov's momentum μₜ = β₁ (1 − ½ 0.96^(t ψ)):
    m̂ = μₜ₊₁ m / (1 − Π μ₁…ₜ₊₁) + (1 − μₜ) g / (1 − Π μ₁…ₜ).
    Dozat, "Incorporating Nesterov momentum into Adam", 2016."""
    beta_1, decay = settings[0], settings[3]
    mu = beta_1 * (1.0 - 0.5 * 0.96 ** (memory[STEP] * decay))
    mu_next = beta_1 * (1.0 - 0.5 * 0.96 ** ((memory[STEP] + 1.0) * decay))
    memory[PRODUCT] *= mu
    eta = rate * mu_next / (1.0 - memory[PRODUCT] * mu_next)
    eta_of_gradient = rate * (1.0 - mu) / (1.0 - memory[PRODUCT])
    _adaptive(parameters, gradient, moments, beta_1, settings[1], settings[2], eta, eta_of_gradient, memory)


@formula
def _adaptive(
    parameters: Vector,
    gradient: Vector,
    moments: Matrix,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    eta: float,
    eta_of_gradient: float,
    memory: Settings,
) -> None:
    """What adam and its kin share: w ← w − (η m + η′ g) / (√(v / (1 − β₂ᵗ)) + ε)."""
    like = parameters[0]
    b1, fresh_1 = scalar(beta_1, like), scalar(1.0 - beta_1, like)
    b2, fresh_2 = scalar(beta_2, like), scalar(1.0 - beta_2, like)
    unbias = scalar(1.0 / np.sqrt(1.0 - beta_2 ** memory[STEP]), like)
    e, n, n_of_gradient = scalar(epsilon, like), scalar(eta, like), scalar(eta_of_gradient, like)
    m, v = moments[0], moments[1]
    for i in range(parameters.size):
        g = gradient[i]
        m[i] = b1 * m[i] + fresh_1 * g
        v[i] = b2 * v[i] + fresh_2 * g * g
        parameters[i] -= (n * m[i] + n_of_gradient * g) / (np.sqrt(v[i]) * unbias + e)


_ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}

OPTIMIZERS: dict[OptimizerName, Optimizer] = {
    "sgd": Optimizer(sgd, 0),
    "momentum": Optimizer(momentum, 1, {"momentum": 0.9}),
    "nesterov": Optimizer(nesterov, 1, {"momentum": 0.9}),
    "adagrad": Optimizer(adagrad, 1, {"epsilon": 1e-10}),
    "rmsprop": Optimizer(rmsprop, 1, {"rho": 0.9, "epsilon": 1e-8}),
    "adam": Optimizer(adam, 2, _ADAM),
    "adamw": Optimizer(adamw, 2, {**_ADAM, "weight_decay": 0.01}),
    "nadam": Optimizer(nadam, 2, {**_ADAM, "momentum_decay": 0.004}),
    # SciPy makes the steps; these are its names and defaults.
    "l-bfgs": Optimizer(stand_still, 0, {"maxcor": 10.0, "gtol": 1e-5, "ftol": 2.220446049250313e-09}),
}
