"""L-BFGS of SciPy, one evaluation at a time.

SciPy's own loop calls the cost function and cannot be interrupted. This module drives the routine below it instead,
whose whole state is in arrays of the caller: a run can be saved after any evaluation and continues with the same bits.
The routine is not public; pyproject.toml therefore pins SciPy to the minor version for which this was written.

Source: Byrd, Lu, Nocedal and Zhu, "A limited memory algorithm for bound constrained optimization", 1995.
"""

import importlib
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from nabla.engine.typing import Float64Array, FloatArray

# Values of task[0] in SciPy's `setulb`.
_NEW_X, _FG = 1, 3
# Default of `scipy.optimize.minimize`.
_MAX_LINE_SEARCH_STEPS = 20


class LbfgsAction(Enum):
    """The next action that L-BFGS requires."""

    EVALUATE = 1
    """Cost and gradient at `x`."""
    ACCEPT_ITERATE = 2
    """Nothing: the line search has ended, and `x` is the new iterate."""
    STOP = 3
    """Nothing: it has converged, or cannot make progress."""


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
        # Imported on first use: loading scipy.optimize takes a third of the start-up time of a worker.
        self._setulb = importlib.import_module("scipy.optimize._lbfgsb").setulb
        n, m = start.size, int(settings["maxcor"])
        self._corrections = m
        self._gtol, self._factr = settings["gtol"], settings["ftol"] / np.finfo(np.float64).eps
        self._bounds = np.zeros(n), np.zeros(n), np.zeros(n, np.int32)  # the last says that there are none
        self.arrays: dict[str, npt.NDArray[Any]] = {
            "lbfgs.x": start.astype(np.float64),
            "lbfgs.f": np.zeros(1),
            "lbfgs.g": np.zeros(n),
            "lbfgs.wa": np.zeros(2 * m * n + 5 * n + 11 * m * m + 8 * m),
            "lbfgs.iwa": np.zeros(3 * n, np.int32),
            "lbfgs.task": np.zeros(2, np.int32),
            "lbfgs.lsave": np.zeros(4, np.int32),
            "lbfgs.isave": np.zeros(44, np.int32),
            "lbfgs.dsave": np.zeros(29),
            "lbfgs.ln_task": np.zeros(2, np.int32),
        }

    @property
    def x(self) -> Float64Array:
        """(n) The point to evaluate, or the current iterate."""
        return self.arrays["lbfgs.x"]

    def set_evaluation(self, cost: float, gradient: FloatArray) -> None:
        """Set the cost and the gradient (n) at `x`."""
        self.arrays["lbfgs.f"][0] = cost
        self.arrays["lbfgs.g"][:] = gradient

    def advance(self) -> LbfgsAction:
        """Continue from the last evaluation and return the next action."""
        x, f, g, wa, iwa, task, lsave, isave, dsave, ln_task = self.arrays.values()
        self._setulb(
            self._corrections,
            x,
            *self._bounds,
            f[0],
            g,
            self._factr,
            self._gtol,
            wa,
            iwa,
            task,
            lsave,
            isave,
            dsave,
            _MAX_LINE_SEARCH_STEPS,
            ln_task,
        )
        return {_FG: LbfgsAction.EVALUATE, _NEW_X: LbfgsAction.ACCEPT_ITERATE}.get(int(task[0]), LbfgsAction.STOP)
