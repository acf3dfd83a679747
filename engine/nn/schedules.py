"""The learning rate as data: each rule gives the rates of one epoch's steps."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nabla.engine.literals import ScheduleName

Rates = npt.NDArray[np.float64]
Settings = dict[str, float]


class Moment(NamedTuple):
    """Where a run stands: in epoch `epoch` (from 0) of `epochs`, which have `steps` steps each; `reductions` counts how
    often the cost has stopped falling."""

    epoch: int
    epochs: int
    steps: int
    reductions: int = 0

    @property
    def step_numbers(self) -> Rates:
        """Of this epoch's steps, counted from the run's first, which is 0."""
        return np.arange(self.epoch * self.steps, (self.epoch + 1) * self.steps, dtype=np.float64)


@dataclass(frozen=True)
class Schedule:
    """`rates(eta, moment, settings)`: one rate for each step of the epoch, or one for all of them.

    `settings`: their names and defaults.
    """

    rates: Callable[[float, Moment, Settings], float | Rates]
    settings: Settings = field(default_factory=dict)


def constant(eta: float, moment: Moment, settings: Settings) -> float:
    return eta


def step(eta: float, moment: Moment, settings: Settings) -> float:
    """η · factor^⌊epoch / every⌋."""
    return _scaled(eta, settings["factor"], moment.epoch // settings["every"])


def exponential(eta: float, moment: Moment, settings: Settings) -> float:
    """η · factor^epoch."""
    return _scaled(eta, settings["factor"], moment.epoch)


def cosine(eta: float, moment: Moment, settings: Settings) -> Rates:
    """From 0 to η in a line over the warm-up, then half a cosine down to the minimum at the last step.

    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017; the warm-up from Goyal et al.,
    "Accurate, large minibatch SGD", 2017.
    """
    t, steps = moment.step_numbers, moment.steps
    warm_up = settings["warmup_epochs"] * steps
    rest = max(moment.epochs * steps - warm_up, 1.0)
    lowest = settings["minimum"]
    falling = lowest + (eta - lowest) * 0.5 * (1 + np.cos(math.pi * np.clip((t - warm_up) / rest, 0.0, 1.0)))
    return np.where(t < warm_up, eta * (t + 1) / max(warm_up, 1.0), falling)


def inverse_scaling(eta: float, moment: Moment, settings: Settings) -> Rates:
    """η / (t + 1)^power at step t. Robbins and Monro, "A stochastic approximation method", 1951."""
    with np.errstate(over="ignore"):  # beyond all numbers: the rate is 0
        return eta / (moment.step_numbers + 1) ** settings["power"]


def plateau(eta: float, moment: Moment, settings: Settings) -> float:
    """η · factor^reductions, not below the minimum."""
    return max(_scaled(eta, settings["factor"], moment.reductions), settings["minimum"])


def _scaled(eta: float, factor: float, times: float) -> float:
    """η · factor^times; infinite where that is too large, so that the cost says what is wrong with it."""
    with np.errstate(over="ignore"):
        return float(eta * np.float64(factor) ** times)


SCHEDULES: dict[ScheduleName, Schedule] = {
    "constant": Schedule(constant),
    "step": Schedule(step, {"every": 10.0, "factor": 0.1}),
    "exponential": Schedule(exponential, {"factor": 0.95}),
    "cosine": Schedule(cosine, {"warmup_epochs": 0.0, "minimum": 0.0}),
    "inverse_scaling": Schedule(inverse_scaling, {"power": 0.5}),
    "plateau": Schedule(plateau, {"factor": 0.1, "patience": 10.0, "min_delta": 1e-4, "minimum": 0.0}),
}
