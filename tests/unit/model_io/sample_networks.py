"""Networks to be copied out and in."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nabla.engine.data.preprocessing import PreprocessingConfig, Preprocessor
from nabla.engine.data.scaling import Scaling
from nabla.engine.data.schema import Column
from nabla.engine.literals import ActivationName, DtypeName, NetworkFormat
from nabla.engine.model_io import model_io
from nabla.engine.model_io.bundle import Hints, Portable
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.training.checkpoint import Classes
from nabla.engine.training.model import Model

Rows = list[dict[str, Any]]
MOST = 10**6

COLUMNS = (
    Column("age", "number", missing=2, imputation="mean"),
    Column("job", "category", ("clerk", "smith", "größer", "7"), missing=1, imputation="most_frequent"),
    Column("city", "category", ("Bern", "Ulm")),
    Column("member", "boolean"),
    Column("paid", "boolean", missing=1, imputation="most_frequent"),
    Column("since", "date"),
    Column("outputs", "number"),
)
ROWS: Rows = [
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


def network(
    inputs: int,
    *activations: ActivationName,
    dtype: DtypeName = "float32",
    batch_norm: bool = False,
    outputs: int = 3,
    **settings: Any,
) -> Network:
    """Of 7 units in each hidden layer, with biases and statistics as they may be after training."""
    widths = [7] * (len(activations) - 1) + [outputs]
    last = len(activations) - 1
    layers = tuple(
        Layer(units, name, batch_norm=batch_norm and number < last)
        for number, (units, name) in enumerate(zip(widths, activations, strict=True))
    )
    made = Network(Architecture(inputs, layers, settings.pop("cost", "quadratic"), seed=3, dtype=dtype, **settings))
    chance = np.random.default_rng(5)
    for _, b in made.layers:
        b[:] = chance.normal(0, 0.3, len(b))
    for scales, means, variances in made.normalizations.values():
        scales[:], means[:] = chance.uniform(0.5, 2, len(scales)), chance.normal(0, 0.5, len(means))
        variances[:] = chance.uniform(0.3, 3, len(variances))
    return made


def scaled(inputs: int, outputs: int) -> Preprocessor:
    """Plain numbers, far from 0 and of very different sizes."""
    chance = np.random.default_rng(6)
    rule = PreprocessingConfig("standardize", "robust")
    found = [Scaling(chance.normal(50, 9, width), 10 ** chance.uniform(-2, 2, width)) for width in (inputs, outputs)]
    return Preprocessor(rule, None, np.zeros(0), *found)


def table(handle_unknown: Any = "ignore") -> Preprocessor:
    """Of COLUMNS, which take 11 inputs."""
    width = sum(column.inputs for column in COLUMNS)
    offsets, scales = np.zeros(width), np.ones(width)
    for place, offset, scale in ((0, 40.1, 12.3), (9, 19_000.5, 731.0), (10, -3.0, 0.7)):
        offsets[place], scales[place] = offset, scale
    fills = np.array([38.25, 1, np.nan, np.nan, 1, np.nan, np.nan])
    rule = PreprocessingConfig("standardize", "none", handle_unknown)
    return Preprocessor(rule, COLUMNS, fills, Scaling(offsets, scales), None)


def portable(network: Network, preprocessor: Preprocessor | None = None, classes: Classes = None) -> Portable:
    rule = PreprocessingConfig() if preprocessor is None else preprocessor.rule
    return Portable(network, rule, preprocessor, classes)


def predicted(one: Portable, rows: Any) -> npt.NDArray[np.floating]:
    """As the service answers."""
    model = Model(one.network, one.preprocessor or Preprocessor.plain(one.rule))
    prepare = model.prepared_named if isinstance(rows[0], dict) else model.prepared_rows
    return model.predict(prepare(rows, "rows"), "rows")


def written(one: Portable, format: NetworkFormat, folder: Path) -> Path:
    path = folder / f"network.{format}"
    path.unlink(missing_ok=True)
    model_io.write(path, one, format)
    return path


def read(content: Path | bytes, folder: Path, most: int = MOST, **hints: Any) -> Portable:
    if isinstance(content, bytes):
        path = folder / "handed-in"
        path.write_bytes(content)
    else:
        path = content
    return model_io.read(path, Hints(**hints), most)[1]
