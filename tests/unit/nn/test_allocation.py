"""Nothing is allocated while steps are made, whatever is switched on."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys  # type: ignore[attr-defined]  # without types

from nabla.engine.data.loading import OpenDataset
from nabla.engine.nn.activations import ACTIVATIONS
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.nn.optimizers import OPTIMIZERS
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.trainer import Trainer

_counters: Any = _nrt_python
_statistics: Any = rtsys.get_allocation_stats
# Numba allocates a few words for each array that a call from Python hands over, and calls there are few of in an epoch.
STEPS = 500
BY_CALLS = STEPS // 2


def run(architecture: Architecture, **settings: Any) -> Trainer:
    """A run of two epochs, of which the first warms up."""
    generator = np.random.default_rng(1)
    rows = STEPS * 32
    x, y = generator.random((rows, 8), np.float32), generator.random((rows, 3), np.float32)
    spec = TrainingSpec(**{"epochs": 2, "batch_size": 32, "learning_rate": 1e-4, **settings})
    return Trainer(Network(architecture), OpenDataset(x, y, None, np.ones(rows)), spec)


def allocated_in_an_epoch(trainer: Trainer) -> tuple[int, int]:
    """By compiled code: how often; by Python: bytes at the peak."""
    items = trainer.run()
    while next(items) is None:
        pass
    _counters.memsys_enable_stats()
    before = _statistics()
    tracemalloc.start()
    for item in items:
        if item is None:
            continue
        after = _statistics()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        _counters.memsys_disable_stats()
        return after.alloc - before.alloc, peak
    raise AssertionError("there was no second epoch")


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "l-bfgs"])
def test_optimizers(optimizer: str) -> None:
    architecture = Architecture(8, (Layer(64, "relu"), Layer(3, "identity")), "quadratic")
    compiled, python = allocated_in_an_epoch(run(architecture, optimizer=optimizer, shuffle=False))
    assert compiled < BY_CALLS
    assert python < 16 * 1024


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_everything_switched_on(activation: Any) -> None:
    layers = (Layer(64, activation, dropout=0.2, batch_norm=True), Layer(3, "identity", batch_norm=True))
    trainer = run(
        Architecture(8, layers, "quadratic", input_dropout=0.1),
        l1=0.1,
        l2=0.1,
        clip_value=1.0,
        clip_norm=1.0,
        max_norm=1.0,
        validation_fraction=0.2,
        schedule="cosine",
    )
    compiled, python = allocated_in_an_epoch(trainer)
    assert compiled < BY_CALLS
    assert python < 32 * 1024
