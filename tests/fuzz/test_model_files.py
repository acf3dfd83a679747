"""Networks in valid files with bytes changed, cut out, doubled and made up, each read in a process of its own."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nabla.engine.literals import NetworkFormat
from nabla.engine.model_io.bundle import Hints, Portable
from tests.fuzz.mutations import CHANGES, Change
from tests.support.task_process import ReadingChild
from tests.unit.model_io.sample_networks import network, portable, scaled, table, written
from tests.unit.model_io.test_foreign_weights import npz, sequential
from tests.unit.model_io.test_onnx_import import CHAINS, model

EXAMPLES = 5000 if os.environ.get("NABLA_FUZZ_LONG") else 10

NETWORKS: dict[str, Portable] = {
    "plain": portable(network(5, "tanh", "softmax"), None, ("a", "b", "c")),
    "scaled": portable(network(5, "gelu", "identity", dtype="float64", batch_norm=True), scaled(5, 3)),
    "table": portable(network(11, "relu", "identity"), table()),
}
SETTINGS = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)


@pytest.mark.parametrize("format", ["safetensors", "npz", "onnx"])
@pytest.mark.parametrize("name", NETWORKS)
def test_changed_files_of_our_own(child: ReadingChild, folder: Path, name: str, format: NetworkFormat) -> None:
    _check(child, folder, written(NETWORKS[name], format, folder).read_bytes(), Hints())


@pytest.mark.parametrize("name", CHAINS)
def test_changed_models_of_others(child: ReadingChild, folder: Path, name: str) -> None:
    _check(child, folder, model(CHAINS[name]).SerializeToString(), Hints())


def test_changed_arrays(child: ReadingChild, folder: Path) -> None:
    hints = Hints(activations=("relu", "identity"))
    _check(child, folder, npz({"coefs_0": np.ones((3, 4)), "intercepts_0": np.ones(4)}), Hints(activations=("tanh",)))
    _check(child, folder, npz(sequential(), compressed=True), hints)


def _check(child: ReadingChild, folder: Path, whole: bytes, hints: Hints) -> None:
    """Any end is right but that the process dies."""
    path = folder / "network"
    path.write_bytes(whole)
    assert child.read_network(path, hints).kind == "stored"

    @SETTINGS
    @given(st.lists(CHANGES, min_size=1, max_size=4))
    def check(changes: list[Change]) -> None:
        content = whole
        for change in changes:
            content = change(content)
        path.write_bytes(content)
        outcome = child.read_network(path, hints)
        assert outcome.kind != "died", outcome.sentence

    check()
