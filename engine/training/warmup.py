"""Making or loading the machine code of predictions ahead of time, so that no user waits for it.

The first time on a machine this takes up to a minute; afterwards the code comes from a cache on disk.
"""

from collections.abc import Iterable
from typing import get_args

import numpy as np

from nabla.engine.literals import DtypeName, InitializerName
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.nn.training_step import cost_of_rows

_STARTS: tuple[InitializerName, InitializerName] = ("glorot_uniform", "standard_normal")


def compile_predictions(dtypes: Iterable[DtypeName] = get_args(DtypeName)) -> None:
    """What creating a network, predicting and evaluating need."""
    for dtype in dtypes:
        for start in _STARTS:
            network = smallest(dtype, start)
        outputs = network.predict(np.zeros((1, 1)))
        targets = np.zeros((1, 1), dtype)
        targets.flags.writeable = False  # as data mapped from disk is
        cost_of_rows(network.architecture.plan(), outputs, targets, np.empty(0))


def smallest(dtype: DtypeName, start: InitializerName = _STARTS[0]) -> Network:
    """A network, for the sake of the code that it needs."""
    return Network(Architecture(1, (Layer(1, "identity"),), "quadratic", start, dtype=dtype))
