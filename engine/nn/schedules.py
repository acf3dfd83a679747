"""Learning-rate schedules: each rule gives the rates of one epoch's steps."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from nabla.engine.literals import ScheduleName
from nabla.engine.typing import Float64Array

Settings = dict[str, float]


class SchedulePoint(NamedTuple):
    """A position in a training run.

    Attributes:
        epoch: Index of the epoch, from 0.
        epochs: Number of epochs of the run.
        steps: Steps per epoch.
        reductions: How often the cost has stopped improving.
    """

    epoch: int
    epochs: int
    steps: int
    reductions: int = 0

    @property
    def step_numbers(self) -> Float64Array:
        """Indices of this epoch's steps, from 0 at the start of the run."""
        return np.arange(self.epoch * self.steps, (self.epoch + 1) * self.steps, dtype=np.float64)


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule.

    Attributes:
        rates: `rates(eta, point, settings)` returns one rate per step of the epoch, or one for all of them.
        settings: Names and defaults of the settings.
    """

    rates: Callable[[float, SchedulePoint, Settings], float | Float64Array]
    settings: Settings = field(default_factory=dict)


def constant(eta: float, point: SchedulePoint, settings: Settings) -> float:
    """Return η."""
    return eta


def step(eta: float, point: SchedulePoint, settings: Settings) -> float:
    """Return η · factor^⌊epoch / every⌋."""
    return _scaled(eta, settings["factor"], point.epoch // settings["every"])


def exponential(eta: float, point: SchedulePoint, settings: Settings) -> float:
    """Return η · factor^epoch."""
    return _scaled(eta, settings["factor"], point.epoch)


def cosine(eta: float, point: SchedulePoint, settings: Settings) -> Float64Array:
    """Return rates that rise linearly from 0 to η in the warm-up, then fall along half a cosine to the minimum.

    Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017; warm-up: Goyal et al.,
    "Accurate, large minibatch SGD", 2017.
    """
    t, steps = point.step_numbers, point.steps
    warmup_steps = settings["warmup_epochs"] * steps
    remaining = max(point.epochs * steps - warmup_steps, 1.0)
    minimum = settings["minimum"]
    annealed = minimum + (eta - minimum) * 0.5 * (
        1 + np.cos(math.pi * np.clip((t - warmup_steps) / remaining, 0.0, 1.0))
    )
    return np.where(t < warmup_steps, eta * (t + 1) / max(warmup_steps, 1.0), annealed)


def inverse_scaling(eta: float, point: SchedulePoint, settings: Settings) -> Float64Array:
    """Return η / (t + 1)^power at step t. Source: Robbins and Monro, "A stochastic approximation method", 1951."""
    with np.errstate(over="ignore"):  # an infinite denominator gives a rate of 0
        return eta / (point.step_numbers + 1) ** settings["power"]


def plateau(eta: float, point: SchedulePoint, settings: Settings) -> float:
    """Return η · factor^reductions, at least the minimum."""
    return max(_scaled(eta, settings["factor"], point.reductions), settings["minimum"])


def _scaled(eta: float, factor: float, exponent: float) -> float:
    """Return η · factor^exponent; an overflow becomes infinity, so that the run is reported as diverged."""
    with np.errstate(over="ignore"):
        return float(eta * np.float64(factor) ** exponent)


SCHEDULES: dict[ScheduleName, Schedule] = {
    "constant": Schedule(constant),
    "step": Schedule(step, {"every": 10.0, "factor": 0.1}),
    "exponential": Schedule(exponential, {"factor": 0.95}),
    "cosine": Schedule(cosine, {"warmup_epochs": 0.0, "minimum": 0.0}),
    "inverse_scaling": Schedule(inverse_scaling, {"power": 0.5}),
    "plateau": Schedule(plateau, {"factor": 0.1, "patience": 10.0, "min_delta": 1e-4, "minimum": 0.0}),
}
