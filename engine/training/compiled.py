"""Making or loading all machine code ahead of time, so that no user waits for it.

The first time on a machine this takes up to a minute; afterwards the code comes from a cache on disk.
"""

from typing import get_args

import numpy as np

from engine.data.dataset import OpenDataset
from engine.nn.architecture import Architecture, DtypeName, Layer
from engine.nn.initializers import InitializerName
from engine.nn.loops import cost_of_rows
from engine.nn.network import Network
from engine.nn.stepper import CpuStepper, MakeStepper
from engine.training.spec import TrainingSpec
from engine.training.trainer import Trainer

_STARTS: tuple[InitializerName, InitializerName] = ("glorot_uniform", "standard_normal")


def compile_predictions() -> None:
    """What creating a network, predicting and evaluating need."""
    for dtype in get_args(DtypeName):
        for start in _STARTS:
            network = _smallest(dtype, start)
        outputs = network.predict(np.zeros((1, 1)))
        targets = np.zeros((1, 1), dtype)
        targets.flags.writeable = False  # as data mapped from disk is
        cost_of_rows(network.architecture.plan(), outputs, targets, np.empty(0))


def compile_training(make_stepper: MakeStepper = CpuStepper) -> None:
    """What a run on a device needs, besides the start of a network and predictions."""
    compile_predictions()
    spec = TrainingSpec(epochs=1, batch_size=1, learning_rate=0.1, validation_fraction=0.5, l2=1.0)
    for dtype in get_args(DtypeName):
        rows = np.zeros((3, 1), dtype)
        rows.flags.writeable = False  # as data mapped from disk is
        network, dataset = _smallest(dtype, _STARTS[0]), OpenDataset(rows, rows)
        for _ in Trainer(network, dataset, spec, make_stepper=make_stepper).run():
            pass


def _smallest(dtype: DtypeName, start: InitializerName) -> Network:
    return Network(Architecture(1, (Layer(1, "identity"),), "quadratic", start, dtype=dtype))
