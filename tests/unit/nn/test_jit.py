"""Compiled code that different processes have cached is used correctly, and names are unique."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nabla.engine.nn.jit import jit_inline

# Trains or predicts with networks of several activations, and compares with the formulas run uncompiled. Functions that
# are compiled first shift the counter by which Numba distinguishes functions of equal names.
SCRIPT = """
import sys
import numba, numpy as np
from nabla.engine.data.loading import OpenDataset
from nabla.engine.nn.activations import ACTIVATIONS
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.trainer import Trainer

task, shift = sys.argv[1], int(sys.argv[2])
for offset in range(shift):
    numba.njit(lambda x: x + offset)(1.0)
x = np.random.default_rng(1).normal(size=(6, 3))
for activation in ("tanh", "relu", "gelu"):
    network = Network(Architecture(3, (Layer(4, activation), Layer(2, "identity")), "quadratic", dtype="float64"))
    (w1, b1), (w2, b2) = network.layers
    z = x @ w1.T
    a = z.copy()
    ACTIVATIONS[activation].forward(z, b1, a)
    expected = (z if not ACTIVATIONS[activation].keeps_input else a) @ w2.T + b2
    if "predict" in task:
        np.testing.assert_allclose(network.predict(x), expected, rtol=1e-12, err_msg=activation)
    if "train" in task:
        y = np.zeros((6, 2))
        (epoch,) = [e for e in Trainer(network, OpenDataset(x, y), TrainingSpec(1, 6, 0.1)).run() if e]
        np.testing.assert_allclose(epoch.cost, (expected**2).sum() / 12, rtol=1e-12, err_msg=activation)
"""


def test_cached_code_of_other_processes_is_not_confused(tmp_path: Path) -> None:
    def run(task: str, shift: int) -> None:
        command = [sys.executable, "-c", SCRIPT, task, str(shift)]
        # Without optimization, which takes time and does not matter here.
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_OPT": "0"}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr

    run("train", 0)
    run("predict", 7)
    run("train and predict", 0)


def test_duplicate_function_names_are_rejected() -> None:
    def duplicate(x: float) -> float:
        return x

    jit_inline(duplicate)
    with pytest.raises(ValueError, match="duplicate"):
        jit_inline(duplicate)
