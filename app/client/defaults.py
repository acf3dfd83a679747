"""Default network and training settings for a dataset."""

from collections.abc import Sequence
from typing import Any

from nabla.app.schemas.datasets import DatasetView

HIDDEN_UNITS = (128, 64)
# Without both, networks memorize small tables.
_DROPOUT, _LABEL_SMOOTHING = 0.2, 0.05
# With fewer rows a validation split would be too small to decide when to stop.
_MIN_ROWS_FOR_VALIDATION = 50


def default_network(dataset: DatasetView, hidden_units: Sequence[int] = HIDDEN_UNITS) -> dict[str, Any]:
    """Return the fields of POST /v1/networks for a network that fits a dataset.

    Inputs are standardized, and the hidden layers are relu with dropout. Two classes get a single sigmoid output, more
    classes a softmax output, both with a cross-entropy cost; numeric targets get an identity output with the quadratic
    cost, and are standardized too.

    Args:
        dataset: A dataset that is ready and has targets.
        hidden_units: Units of each hidden layer.
    """
    classes = dataset.classes or ()
    layers: list[dict[str, Any]] = [
        {"units": units, "activation": "relu", "dropout": _DROPOUT} for units in hidden_units
    ]
    preprocessing = {"inputs": "standardize", "handle_unknown": "ignore"}
    if len(classes) == 2:
        output, cost = {"units": 1, "activation": "sigmoid"}, "binary_cross_entropy"
    elif classes:
        output, cost = {"units": len(classes), "activation": "softmax"}, "categorical_cross_entropy"
    else:
        output, cost = {"units": dataset.targets, "activation": "identity"}, "quadratic"
        preprocessing["targets"] = "standardize"
    return {
        "inputs": dataset.inputs,
        "layers": [*layers, output],
        "cost": cost,
        "label_smoothing": _LABEL_SMOOTHING if cost == "categorical_cross_entropy" else 0.0,
        "initializer": "he_normal",
        "preprocessing": preprocessing,
    }


def default_job(dataset: DatasetView, epochs: int = 200) -> dict[str, Any]:
    """Return the fields of POST /v1/jobs for training on a dataset.

    The optimizer is adam. With at least 50 rows, training stops early when the cost of a validation split has stopped
    falling, and the weights of the best epoch are published; with fewer it runs for all epochs.

    Args:
        dataset: A dataset that is ready and has targets.
        epochs: Maximum number of epochs.
    """
    fields: dict[str, Any] = {"epochs": epochs, "optimizer": "adam", "learning_rate": 0.001, "batch_size": 32}
    if (dataset.rows or 0) >= _MIN_ROWS_FOR_VALIDATION:
        fields |= {"validation": {"fraction": 0.1}, "early_stopping": {"patience": 20, "restore_best_weights": True}}
    return fields
