"""How many threads a step is worth on a CPU."""

import importlib

from threadpoolctl import ThreadpoolController

from nabla.engine.nn.architecture import Architecture

# Multiply-adds of the largest product of a step from which a second BLAS thread gains more than it costs.
_WORTH_THREADS = 1_000_000


def threads_for(architecture: Architecture, rows: int, cores: int) -> int:
    """How many BLAS threads to use for mini-batches of `rows`: a pure function, so that a run can be repeated."""
    largest = max(inputs * units for inputs, units in architecture.shapes) * rows
    return cores if largest >= _WORTH_THREADS else 1


class BlasThreads:
    """Sets the number of threads of every BLAS library loaded in this process.

    Results of a product may differ in the last bit with the number of threads, so it must really be set.
    """

    def __init__(self) -> None:
        # Compiled code calls SciPy's BLAS, which Numba loads at the first product: too late to be found here.
        importlib.import_module("scipy.linalg.cython_blas")
        self._controller = ThreadpoolController().select(user_api="blas")

    def set(self, threads: int) -> None:
        self._controller.limit(limits=threads)
        wrong = [library for library in self._controller.info() if library["num_threads"] != threads]
        if wrong:
            raise RuntimeError(f"BLAS did not take {threads} threads: {wrong}")
