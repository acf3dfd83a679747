"""L-BFGS, one evaluation at a time: a run can be saved after any evaluation, and continues with the same bits.

The direction comes from the last corrections by the two-loop recursion, the step from the line search of Moré and
Thuente. Start, stopping criteria, updates and restarts are those of SciPy's L-BFGS-B without bounds.

Sources: Nocedal and Wright, "Numerical optimization", 2006, algorithms 7.4 and 7.5; Moré and Thuente, "Line search
algorithms with guaranteed sufficient decrease", 1994, as in MINPACK-2; Byrd, Lu, Nocedal and Zhu, "A limited memory
algorithm for bound constrained optimization", 1995.
"""

import math
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from nabla.engine.typing import Float64Array, FloatArray

# A step is accepted if the cost falls by this share of what the slope promises, and the slope by the other one.
_SUFFICIENT_DECREASE, _CURVATURE = 1e-3, 0.9
# Relative width of the interval at which a line search ends, and the largest step.
_MIN_INTERVAL, _MAX_STEP = 0.1, 1e10
# Evaluations of a line search after its first one.
_MAX_EXTRA_EVALUATIONS = 20
_EPSILON = float(np.finfo(np.float64).eps)


# The scalars of the state, all in float64. The line search keeps an interval: `best_…` is its end with the lowest cost,
# `other_…` the other one, and the next step lies between `min_step` and `max_step`.
_SCALARS = np.dtype(
    [
        (name, np.float64)
        for name in (
            "phase",
            "iterations",
            "corrections",
            "next_row",
            "cost",
            "previous_cost",
            "slope",
            "last_slope",
            "extra_evaluations",
            "step",
            "is_bracketed",
            "is_second_stage",
            "width",
            "previous_width",
            "best_step",
            "best_cost",
            "best_slope",
            "other_step",
            "other_cost",
            "other_slope",
            "min_step",
            "max_step",
        )
    ]
)


class LbfgsAction(Enum):
    """The next action that L-BFGS requires."""

    EVALUATE = 1
    """Cost and gradient at `x`."""
    ACCEPT_ITERATE = 2
    """Nothing: the line search has ended, and `x` is the new iterate."""
    STOP = 3
    """Nothing: it has converged, or cannot make progress."""


class _Phase(Enum):
    """What has happened last."""

    CREATED = 0
    EVALUATED_START = 1
    EVALUATED_STEP = 2
    ACCEPTED = 3


class Lbfgs:
    """Unconstrained minimization in float64.

    Args:
        start: (n) The first iterate, of any floating dtype.
        settings: maxcor, the number of corrections that approximate the Hessian; gtol, the largest component of the
            gradient at which it stops; ftol, the relative decrease of the cost at which it stops.

    Attributes:
        arrays: The whole state, by name.
    """

    def __init__(self, start: FloatArray, settings: dict[str, float]) -> None:
        n, corrections = start.size, int(settings["maxcor"])
        self._gtol, self._ftol = settings["gtol"], settings["ftol"]
        self.arrays: dict[str, npt.NDArray[Any]] = {
            "lbfgs.x": start.astype(np.float64),
            "lbfgs.gradient": np.zeros(n),
            "lbfgs.previous_x": np.zeros(n),
            "lbfgs.previous_gradient": np.zeros(n),
            "lbfgs.direction": np.zeros(n),
            "lbfgs.steps": np.zeros((corrections, n)),
            "lbfgs.gradient_changes": np.zeros((corrections, n)),
            "lbfgs.scalars": np.zeros(len(_SCALARS.names or ())),
        }
        # A view: what is assigned to its attributes is in the array.
        self._scalars: Any = self.arrays["lbfgs.scalars"].view(_SCALARS).view(np.recarray)[0]

    @property
    def x(self) -> Float64Array:
        """(n) The point to evaluate, or the current iterate."""
        return self.arrays["lbfgs.x"]

    def set_evaluation(self, cost: float, gradient: FloatArray) -> None:
        """Set the cost and the gradient (n) at `x`."""
        self._scalars.cost = cost
        self.arrays["lbfgs.gradient"][:] = gradient

    def advance(self) -> LbfgsAction:
        """Continue from the last evaluation and return the next action."""
        match _Phase(int(self._scalars.phase)):
            case _Phase.CREATED:
                return self._move_to(_Phase.EVALUATED_START, LbfgsAction.EVALUATE)
            case _Phase.EVALUATED_START:
                return LbfgsAction.STOP if self._has_small_gradient() else self._begin_line_search()
            case _Phase.EVALUATED_STEP:
                return self._continue_line_search()
            case _Phase.ACCEPTED:
                if self._has_small_gradient() or self._has_small_decrease():
                    return LbfgsAction.STOP
                self._store_correction()
                return self._begin_line_search()

    def _move_to(self, phase: _Phase, action: LbfgsAction) -> LbfgsAction:
        self._scalars.phase = phase.value
        return action

    def _has_small_gradient(self) -> bool:
        return bool(np.abs(self.arrays["lbfgs.gradient"]).max() <= self._gtol)

    def _has_small_decrease(self) -> bool:
        before, after = self._scalars.previous_cost, self._scalars.cost
        return bool(before - after <= self._ftol * max(abs(before), abs(after), 1.0))

    def _begin_line_search(self) -> LbfgsAction:
        """Choose a direction, and the first step along it."""
        scalars, direction = self._scalars, self.arrays["lbfgs.direction"]
        self._compute_direction()
        scalars.slope = direction @ self.arrays["lbfgs.gradient"]
        if scalars.slope >= 0.0:
            return self._restart()
        self.arrays["lbfgs.previous_x"][:] = self.x
        self.arrays["lbfgs.previous_gradient"][:] = self.arrays["lbfgs.gradient"]
        scalars.previous_cost, scalars.extra_evaluations = scalars.cost, 0
        step = 1.0
        if not scalars.iterations:  # nothing is known of the scale
            step = min(1.0 / math.sqrt(direction @ direction), _MAX_STEP)
        _begin_search(scalars, step)
        return self._request_step()

    def _request_step(self) -> LbfgsAction:
        self.x[:] = self.arrays["lbfgs.previous_x"] + self._scalars.step * self.arrays["lbfgs.direction"]
        return self._move_to(_Phase.EVALUATED_STEP, LbfgsAction.EVALUATE)

    def _continue_line_search(self) -> LbfgsAction:
        scalars, step = self._scalars, self._scalars.step
        slope = float(self.arrays["lbfgs.direction"] @ self.arrays["lbfgs.gradient"])
        # If the step stays, the search is exhausted at a step that need not be evaluated again.
        if _continue_search(scalars, slope) or (scalars.step == step and _continue_search(scalars, slope)):
            scalars.iterations += 1
            return self._move_to(_Phase.ACCEPTED, LbfgsAction.ACCEPT_ITERATE)
        scalars.extra_evaluations += 1
        if scalars.extra_evaluations < _MAX_EXTRA_EVALUATIONS:
            return self._request_step()
        self.x[:], scalars.cost = self.arrays["lbfgs.previous_x"], scalars.previous_cost
        self.arrays["lbfgs.gradient"][:] = self.arrays["lbfgs.previous_gradient"]
        return self._restart()

    def _restart(self) -> LbfgsAction:
        """Forget all corrections and try the steepest descent; stop if there are none."""
        if not self._scalars.corrections:
            return LbfgsAction.STOP
        self._scalars.corrections = 0
        return self._begin_line_search()

    def _store_correction(self) -> None:
        """Store the last step and the change of the gradient in place of the oldest, if the curvature is positive."""
        scalars, steps, changes = self._scalars, self.arrays["lbfgs.steps"], self.arrays["lbfgs.gradient_changes"]
        curvature = (scalars.last_slope - scalars.slope) * scalars.step
        if curvature <= -_EPSILON * scalars.slope * scalars.step:
            return
        row = int(scalars.next_row)
        steps[row] = scalars.step * self.arrays["lbfgs.direction"]
        changes[row] = self.arrays["lbfgs.gradient"] - self.arrays["lbfgs.previous_gradient"]
        scalars.next_row = (row + 1) % len(steps)
        scalars.corrections = min(scalars.corrections + 1, len(steps))

    def _compute_direction(self) -> None:
        """Set the direction to −H g, where H is the approximate inverse of the Hessian."""
        direction, steps = self.arrays["lbfgs.direction"], self.arrays["lbfgs.steps"]
        changes, count = self.arrays["lbfgs.gradient_changes"], int(self._scalars.corrections)
        newest = int(self._scalars.next_row) - 1
        rows = [(newest - age) % len(steps) for age in range(count)]
        np.negative(self.arrays["lbfgs.gradient"], out=direction)
        factors = {}
        for row in rows:
            factors[row] = (steps[row] @ direction) / (steps[row] @ changes[row])
            direction -= factors[row] * changes[row]
        if rows:
            change = changes[rows[0]]
            direction *= (steps[rows[0]] @ change) / (change @ change)
        for row in reversed(rows):
            direction += (factors[row] - (changes[row] @ direction) / (steps[row] @ changes[row])) * steps[row]


def _begin_search(scalars: Any, step: float) -> None:
    """Begin a line search with a step, from a point with `cost` and `slope`."""
    scalars.step, scalars.is_bracketed, scalars.is_second_stage = step, False, False
    scalars.width, scalars.previous_width = _MAX_STEP, 2 * _MAX_STEP
    scalars.best_step = scalars.other_step = 0.0
    scalars.best_cost = scalars.other_cost = scalars.cost
    scalars.best_slope = scalars.other_slope = scalars.slope
    scalars.min_step, scalars.max_step = 0.0, 5.0 * step


def _continue_search(scalars: Any, slope: float) -> bool:
    """Return whether to accept the step, at which the cost is `cost`; if not, choose the next one."""
    step, cost = float(scalars.step), float(scalars.cost)
    scalars.last_slope = slope
    promised = _SUFFICIENT_DECREASE * scalars.slope
    decreases = cost <= scalars.previous_cost + step * promised
    if decreases and slope >= 0.0:
        scalars.is_second_stage = True
    if decreases and abs(slope) <= -_CURVATURE * scalars.slope:
        return True
    if _is_exhausted(scalars, step) or (step == _MAX_STEP and decreases and slope <= promised):
        return True
    # In the first stage, the cost without the decrease that is promised tells more about where it is sufficient.
    offset = promised if not scalars.is_second_stage and cost <= scalars.best_cost and not decreases else 0.0
    _update_interval(scalars, step, cost - step * offset, slope - offset, offset)
    best, other = scalars.best_step, scalars.other_step
    if scalars.is_bracketed:
        if abs(other - best) >= 0.66 * scalars.previous_width:
            scalars.step = best + 0.5 * (other - best)
        scalars.previous_width, scalars.width = scalars.width, abs(other - best)
        scalars.min_step, scalars.max_step = min(best, other), max(best, other)
    else:
        scalars.min_step = scalars.step + 1.1 * (scalars.step - best)
        scalars.max_step = scalars.step + 4.0 * (scalars.step - best)
    scalars.step = min(max(scalars.step, 0.0), _MAX_STEP)
    if _is_exhausted(scalars, scalars.step):
        scalars.step = best
    return False


def _is_exhausted(scalars: Any, step: float) -> bool:
    """Return whether rounding, or the width of the interval, leaves no step to try."""
    is_narrow = scalars.max_step - scalars.min_step <= _MIN_INTERVAL * scalars.max_step
    return bool(scalars.is_bracketed and (step <= scalars.min_step or step >= scalars.max_step or is_narrow))


def _update_interval(scalars: Any, step: float, cost: float, slope: float, offset: float) -> None:
    """Choose the next step by interpolation, and shrink the interval to where the minimum is.

    Costs and slopes are those without `offset` per unit of the step.
    """
    best, other = float(scalars.best_step), float(scalars.other_step)
    best_cost, best_slope = scalars.best_cost - best * offset, scalars.best_slope - offset
    other_cost, other_slope = scalars.other_cost - other * offset, scalars.other_slope - offset
    turns = slope * math.copysign(1.0, best_slope) < 0.0
    if cost > best_cost:
        cubic = _minimize_cubic(best, best_cost, best_slope, step, cost, slope)
        quadratic = best + (best_slope / ((best_cost - cost) / (step - best) + best_slope)) / 2 * (step - best)
        is_cubic_closer = abs(cubic - best) < abs(quadratic - best)
        chosen = cubic if is_cubic_closer else cubic + (quadratic - cubic) / 2
        scalars.is_bracketed = True
    elif turns:
        cubic = _minimize_cubic(step, cost, slope, best, best_cost, best_slope)
        secant = step + slope / (slope - best_slope) * (best - step)
        chosen = cubic if abs(cubic - step) > abs(secant - step) else secant
        scalars.is_bracketed = True
    elif abs(slope) < abs(best_slope):
        chosen = _extrapolate(scalars, step, cost, slope, best_cost, best_slope)
    elif scalars.is_bracketed:
        chosen = _minimize_cubic(step, cost, slope, other, other_cost, other_slope)
    else:
        chosen = scalars.max_step if step > best else scalars.min_step
    if cost > best_cost:
        other, other_cost, other_slope = step, cost, slope
    else:
        if turns:
            other, other_cost, other_slope = best, best_cost, best_slope
        best, best_cost, best_slope = step, cost, slope
    scalars.best_step, scalars.other_step, scalars.step = best, other, chosen
    scalars.best_cost, scalars.best_slope = best_cost + best * offset, best_slope + offset
    scalars.other_cost, scalars.other_slope = other_cost + other * offset, other_slope + offset


def _extrapolate(scalars: Any, step: float, cost: float, slope: float, best_cost: float, best_slope: float) -> float:
    """Return the next step where the slope has become flatter, but the cost still falls."""
    best, other = float(scalars.best_step), float(scalars.other_step)
    limit = float(scalars.max_step if step > best else scalars.min_step)
    cubic = _minimize_cubic(step, cost, slope, best, best_cost, best_slope, beyond=limit)
    secant = step + slope / (slope - best_slope) * (best - step)
    is_cubic_closer = abs(cubic - step) < abs(secant - step)
    if scalars.is_bracketed:
        chosen = cubic if is_cubic_closer else secant
        bound = step + 0.66 * (other - step)
        return min(bound, chosen) if step > best else max(bound, chosen)
    chosen = secant if is_cubic_closer else cubic
    return float(min(max(chosen, scalars.min_step), scalars.max_step))


def _minimize_cubic(
    a: float, cost_a: float, slope_a: float, b: float, cost_b: float, slope_b: float, beyond: float | None = None
) -> float:
    """Return the minimum of the cubic with these costs and slopes at steps a and b.

    Args:
        a: A step.
        cost_a: Cost at a.
        slope_a: Slope at a.
        b: Another step.
        cost_b: Cost at b.
        slope_b: Slope at b.
        beyond: What to return if the minimum is not on the side of a that is away from b, or infinitely far.
    """
    theta = 3 * (cost_a - cost_b) / (b - a) + slope_a + slope_b
    scale = max(abs(theta), abs(slope_a), abs(slope_b))
    square = (theta / scale) ** 2 - (slope_a / scale) * (slope_b / scale)
    gamma = scale * math.sqrt(max(0.0, square))
    if b < a:
        gamma = -gamma
    numerator, denominator = gamma - slope_a + theta, gamma - slope_a + gamma + slope_b
    ratio = numerator / denominator if denominator else math.inf
    if beyond is not None and not (ratio < 0.0 and gamma != 0.0):
        return beyond
    return a + ratio * (b - a)
