"""Training steps allocate no memory, whatever the settings."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys  # type: ignore[attr-defined]  # untyped

from nabla.engine.data.loading import OpenDataset
from nabla.engine.nn.activations import ACTIVATIONS
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.nn.optimizers import OPTIMIZERS
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.trainer import Trainer

_runtime: Any = _nrt_python
_allocation_stats: Any = rtsys.get_allocation_stats
# Numba allocates a few words for each array that Python passes to compiled code, which it calls a few times per epoch.
STEPS = 500
MAX_ALLOCATIONS = STEPS // 2


def create_trainer(architecture: Architecture, **settings: Any) -> Trainer:
    """Return the trainer of two epochs, of which the first is for warm-up."""
    generator = np.random.default_rng(1)
    rows = STEPS * 32
    x, y = generator.random((rows, 8), np.float32), generator.random((rows, 3), np.float32)
    spec = TrainingSpec(**{"epochs": 2, "batch_size": 32, "learning_rate": 1e-4, **settings})
    return Trainer(Network(architecture), OpenDataset(x, y, None, np.ones(rows)), spec)


def measure_second_epoch(trainer: Trainer) -> tuple[int, int]:
    """Return the number of allocations by compiled code, and the peak of the bytes allocated by Python."""
    progress = trainer.run()
    while next(progress) is None:
        pass
    _runtime.memsys_enable_stats()
    before = _allocation_stats()
    tracemalloc.start()
    for epoch in progress:
        if epoch is None:
            continue
        after = _allocation_stats()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        _runtime.memsys_disable_stats()
        return after.alloc - before.alloc, peak
    raise AssertionError("The run had no second epoch.")


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "l-bfgs"])
def test_optimizers_allocate_nothing(optimizer: str) -> None:
    architecture = Architecture(8, (Layer(64, "relu"), Layer(3, "identity")), "quadratic")
    allocations, python_bytes = measure_second_epoch(create_trainer(architecture, optimizer=optimizer, shuffle=False))
    assert allocations < MAX_ALLOCATIONS
    assert python_bytes < 16 * 1024


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_all_settings_combined_allocate_nothing(activation: Any) -> None:
    layers = (Layer(64, activation, dropout=0.2, batch_norm=True), Layer(3, "identity", batch_norm=True))
    trainer = create_trainer(
        Architecture(8, layers, "quadratic", input_dropout=0.1),
        l1=0.1,
        l2=0.1,
        clip_value=1.0,
        clip_norm=1.0,
        max_norm=1.0,
        validation_fraction=0.2,
        schedule="cosine",
    )
    allocations, python_bytes = measure_second_epoch(trainer)
    assert allocations < MAX_ALLOCATIONS
    assert python_bytes < 32 * 1024
