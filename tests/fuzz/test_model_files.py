"""Networks in mutated files, each read in a process of its own."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nabla.engine.literals import NetworkFormat
from nabla.engine.model_io.bundle import ImportHints, ModelBundle
from tests.fuzz.mutations import MUTATIONS, Mutation
from tests.support.sandbox import Sandbox
from tests.unit.model_io.sample_networks import (
    export_bundle,
    make_bundle,
    make_network,
    make_scaling_preprocessor,
    make_table_preprocessor,
)
from tests.unit.model_io.test_foreign_weights import npz_bytes, sequential
from tests.unit.model_io.test_onnx_import import CHAINS, model

EXAMPLES = 5000 if os.environ.get("NABLA_FUZZ_LONG") else 10

NETWORKS: dict[str, ModelBundle] = {
    "plain": make_bundle(make_network(5, "tanh", "softmax"), None, ("a", "b", "c")),
    "scaled": make_bundle(
        make_network(5, "gelu", "identity", dtype="float64", batch_norm=True), make_scaling_preprocessor(5, 3)
    ),
    "table": make_bundle(make_network(11, "relu", "identity"), make_table_preprocessor()),
}
SETTINGS = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)


@pytest.mark.parametrize("format", ["safetensors", "npz", "onnx"])
@pytest.mark.parametrize("name", NETWORKS)
def test_mutated_bundles(sandbox: Sandbox, directory: Path, name: str, format: NetworkFormat) -> None:
    _check(sandbox, directory, export_bundle(NETWORKS[name], format, directory).read_bytes(), ImportHints())


@pytest.mark.parametrize("name", CHAINS)
def test_mutated_onnx_models(sandbox: Sandbox, directory: Path, name: str) -> None:
    _check(sandbox, directory, model(CHAINS[name]).SerializeToString(), ImportHints())


def test_mutated_foreign_weights(sandbox: Sandbox, directory: Path) -> None:
    hints = ImportHints(activations=("relu", "identity"))
    _check(
        sandbox,
        directory,
        npz_bytes({"coefs_0": np.ones((3, 4)), "intercepts_0": np.ones(4)}),
        ImportHints(activations=("tanh",)),
    )
    _check(sandbox, directory, npz_bytes(sequential(), compressed=True), hints)


def _check(sandbox: Sandbox, directory: Path, valid: bytes, hints: ImportHints) -> None:
    """Check that the valid file is imported, and that the process survives the mutated ones."""
    path = directory / "network"
    path.write_bytes(valid)
    assert sandbox.import_model(path, hints).kind == "stored"

    @SETTINGS
    @given(st.lists(MUTATIONS, min_size=1, max_size=4))
    def check(mutations: list[Mutation]) -> None:
        content = valid
        for mutate in mutations:
            content = mutate(content)
        path.write_bytes(content)
        outcome = sandbox.import_model(path, hints)
        assert outcome.kind != "died", outcome.message

    check()
