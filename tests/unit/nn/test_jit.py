"""Machine code made in different processes, at different times, works together."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nabla.engine.nn.jit import formula

# Trains or predicts with a network of every activation and compares with the formulas as Python runs them. The
# functions compiled before shift the numbers by which Numba tells functions of equal name apart.
PROGRAM = """
import sys
import numba, numpy as np
from engine.data.opening import OpenDataset
from engine.nn.activations import ACTIVATIONS
from engine.nn.architecture import Architecture, Layer
from engine.nn.network import Network
from engine.training.spec import TrainingSpec
from engine.training.trainer import Trainer

work, shift = sys.argv[1], int(sys.argv[2])
for number in range(shift):
    numba.njit(lambda x: x + number)(1.0)
x = np.random.default_rng(1).normal(size=(6, 3))
for activation in ACTIVATIONS:
    network = Network(Architecture(3, (Layer(4, activation), Layer(2, "identity")), "quadratic", dtype="float64"))
    (w1, b1), (w2, b2) = network.layers
    z = x @ w1.T
    a = z.copy()
    ACTIVATIONS[activation].forward(z, b1, a)
    expected = (z if not ACTIVATIONS[activation].keeps_input else a) @ w2.T + b2
    if "predict" in work:
        np.testing.assert_allclose(network.predict(x), expected, rtol=1e-12, err_msg=activation)
    if "train" in work:
        y = np.zeros((6, 2))
        (epoch,) = [e for e in Trainer(network, OpenDataset(x, y), TrainingSpec(1, 6, 0.1)).run() if e]
        np.testing.assert_allclose(epoch.cost, (expected**2).sum() / 12, rtol=1e-12, err_msg=activation)
"""


def test_code_cached_by_different_processes_is_not_confused(tmp_path: Path) -> None:
    def run(work: str, shift: int) -> None:
        command = [sys.executable, "-c", PROGRAM, work, str(shift)]
        # How well the code is optimized does not matter here, and takes its time.
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_OPT": "0"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    run("train", 0)
    run("predict", 7)
    run("train and predict", 0)


def test_two_formulas_of_one_name_are_refused() -> None:
    def same(x: float) -> float:
        return x

    formula(same)
    with pytest.raises(ValueError, match="same"):
        formula(same)
