"""Networks for tests of export and import."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nabla.engine.data.preprocessing import PreprocessingConfig, Preprocessor
from nabla.engine.data.scaling import Scaling
from nabla.engine.data.schema import Column
from nabla.engine.literals import ActivationName, DtypeName, NetworkFormat
from nabla.engine.model_io import model_io
from nabla.engine.model_io.bundle import ImportHints, ModelBundle
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.training.checkpoint import TrainedClasses
from nabla.engine.training.model import Model

Records = list[dict[str, Any]]
MAX_PARAMETERS = 10**6

COLUMNS = (
    Column("age", "number", missing=2, imputation="mean"),
    Column("job", "category", ("clerk", "smith", "größer", "7"), missing=1, imputation="most_frequent"),
    Column("city", "category", ("Bern", "Ulm")),
    Column("member", "boolean"),
    Column("paid", "boolean", missing=1, imputation="most_frequent"),
    Column("since", "date"),
    Column("outputs", "number"),
)
RECORDS: Records = [
    {
        "age": 31.5,
        "job": "clerk",
        "city": "Ulm",
        "member": True,
        "paid": False,
        "since": "2024-05-31T12:00:00Z",
        "outputs": 0.1,
    },
    {"age": None, "job": None, "city": "Bern", "member": False, "paid": None, "since": "1969-12-31", "outputs": -7e3},
    {"age": -1e6, "job": "größer", "city": "Mars", "member": True, "paid": True, "since": "2000-01-01", "outputs": 5},
    {"age": 52, "job": "7", "city": "Ulm", "member": False, "paid": True, "since": "2031-02-03", "outputs": 1e-9},
]


def make_network(
    inputs: int,
    *activations: ActivationName,
    dtype: DtypeName = "float32",
    batch_norm: bool = False,
    outputs: int = 3,
    **settings: Any,
) -> Network:
    """Return a network with 7 units in each hidden layer, and with biases and statistics as if it were trained."""
    widths = [7] * (len(activations) - 1) + [outputs]
    last = len(activations) - 1
    layers = tuple(
        Layer(units, name, batch_norm=batch_norm and number < last)
        for number, (units, name) in enumerate(zip(widths, activations, strict=True))
    )
    network = Network(Architecture(inputs, layers, settings.pop("cost", "quadratic"), seed=3, dtype=dtype, **settings))
    rng = np.random.default_rng(5)
    for _, b in network.layers:
        b[:] = rng.normal(0, 0.3, len(b))
    for scales, means, variances in network.normalizations.values():
        scales[:], means[:] = rng.uniform(0.5, 2, len(scales)), rng.normal(0, 0.5, len(means))
        variances[:] = rng.uniform(0.3, 3, len(variances))
    return network


def make_scaling_preprocessor(inputs: int, outputs: int) -> Preprocessor:
    """Return a preprocessor of plain numbers that are far from 0 and of very different scales."""
    rng = np.random.default_rng(6)
    config = PreprocessingConfig("standardize", "robust")
    scalings = [Scaling(rng.normal(50, 9, width), 10 ** rng.uniform(-2, 2, width)) for width in (inputs, outputs)]
    return Preprocessor(config, None, np.zeros(0), *scalings)


def make_table_preprocessor(handle_unknown: Any = "ignore") -> Preprocessor:
    """Return a preprocessor of COLUMNS, which take 11 inputs."""
    width = sum(column.inputs for column in COLUMNS)
    offsets, scales = np.zeros(width), np.ones(width)
    for index, offset, scale in ((0, 40.1, 12.3), (9, 19_000.5, 731.0), (10, -3.0, 0.7)):
        offsets[index], scales[index] = offset, scale
    imputation_values = np.array([38.25, 1, np.nan, np.nan, 1, np.nan, np.nan])
    config = PreprocessingConfig("standardize", "none", handle_unknown)
    return Preprocessor(config, COLUMNS, imputation_values, Scaling(offsets, scales), None)


def make_bundle(
    network: Network, preprocessor: Preprocessor | None = None, classes: TrainedClasses = None
) -> ModelBundle:
    config = PreprocessingConfig() if preprocessor is None else preprocessor.config
    return ModelBundle(network, config, preprocessor, classes)


def predict(bundle: ModelBundle, rows: Any) -> npt.NDArray[np.floating]:
    """Return the outputs as the service computes them; rows are lists of numbers or records."""
    model = Model(bundle.network, bundle.preprocessor or Preprocessor.identity(bundle.preprocessing))
    preprocess = model.preprocess_records if isinstance(rows[0], dict) else model.preprocess_rows
    return model.predict(preprocess(rows, "rows"), "rows")


def export_bundle(bundle: ModelBundle, format: NetworkFormat, directory: Path) -> Path:
    path = directory / f"network.{format}"
    path.unlink(missing_ok=True)
    model_io.export_model(path, bundle, format)
    return path


def import_file(
    content: Path | bytes, directory: Path, max_parameters: int = MAX_PARAMETERS, **hints: Any
) -> ModelBundle:
    if isinstance(content, bytes):
        path = directory / "uploaded"
        path.write_bytes(content)
    else:
        path = content
    return model_io.import_model(path, ImportHints(**hints), max_parameters)[1]
