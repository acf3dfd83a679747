"""SciPy's L-BFGS, asked for one evaluation at a time.

SciPy's own loop calls the cost and cannot be left in the middle. Here the routine under it is driven: it is handed
arrays that hold all it knows, and says what it wants next, so that a run can be saved after any evaluation and goes on
with the same bits. That routine is not public: pyproject.toml holds SciPy to the minor version it was read in.
Source: Byrd, Lu, Nocedal and Zhu, "A limited memory algorithm for bound constrained optimization", 1995.
"""

import importlib
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

# What the routine says in task[0].
_NEW_X, _FG = 1, 3
# As SciPy has it.
_LINE_SEARCH_STEPS = 20


class Wish(Enum):
    """What L-BFGS wants next: cost and gradient at `x`, a look at the new `x` that it has settled on, or nothing."""

    EVALUATION = 1
    LOOK = 2
    END = 3


class Lbfgs:
    """Minimizes without bounds, in float64. `arrays` is its whole state."""

    def __init__(self, start: npt.NDArray[np.floating], settings: dict[str, float]) -> None:
        """`settings`: maxcor, how many steps it remembers; gtol and ftol, the largest component of the gradient and the
        relative fall of the cost at which it ends."""
        # Not imported before somebody wants it: it takes a third of the time in which a worker starts.
        self._routine = importlib.import_module("scipy.optimize._lbfgsb").setulb
        n, m = start.size, int(settings["maxcor"])
        self._corrections = m
        self._gtol, self._factr = settings["gtol"], settings["ftol"] / np.finfo(np.float64).eps
        self._unbounded = np.zeros(n), np.zeros(n), np.zeros(n, np.int32)
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
    def x(self) -> npt.NDArray[np.float64]:
        """Where it stands."""
        return self.arrays["lbfgs.x"]

    def answer(self, cost: float, gradient: npt.NDArray[np.floating]) -> None:
        """Cost and gradient at `x`."""
        self.arrays["lbfgs.f"][0] = cost
        self.arrays["lbfgs.g"][:] = gradient

    def advance(self) -> Wish:
        """Go on from the last answer."""
        x, f, g, wa, iwa, task, lsave, isave, dsave, ln_task = self.arrays.values()
        self._routine(
            self._corrections,
            x,
            *self._unbounded,
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
            _LINE_SEARCH_STEPS,
            ln_task,
        )
        return {_FG: Wish.EVALUATION, _NEW_X: Wish.LOOK}.get(int(task[0]), Wish.END)
