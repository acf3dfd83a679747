"""Compilation of machine code before the first request, so that no request has to wait for it.

On a new machine it takes up to a minute; afterwards the code is loaded from a cache on disk.
"""

from collections.abc import Iterable
from typing import get_args

import numpy as np

from nabla.engine.literals import DtypeName, InitializerName
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.nn.training_step import sum_costs

# One for each of the two distributions, uniform and normal.
_INITIALIZERS: tuple[InitializerName, InitializerName] = ("glorot_uniform", "standard_normal")


def compile_predictions(dtypes: Iterable[DtypeName] = get_args(DtypeName)) -> None:
    """Compile the code for creating a network, predicting and evaluating."""
    for dtype in dtypes:
        for initializer in _INITIALIZERS:
            network = minimal_network(dtype, initializer)
        outputs = network.predict(np.zeros((1, 1)))
        targets = np.zeros((1, 1), dtype)
        targets.flags.writeable = False  # as memory-mapped data are
        sum_costs(network.architecture.compiled_layout(), outputs, targets, np.empty(0))


def minimal_network(dtype: DtypeName, initializer: InitializerName = _INITIALIZERS[0]) -> Network:
    """Return a network with one input and one output."""
    return Network(Architecture(1, (Layer(1, "identity"),), "quadratic", initializer, dtype=dtype))
