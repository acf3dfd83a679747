"""What to train on a dataset, and how, where nobody has said more than what to learn."""

from collections.abc import Sequence
from typing import Any

from nabla.app.schemas.datasets import DatasetView

HIDDEN = (128, 64)
# Of small tables, on which these do most good, most rows are learned by heart without it.
_DROPOUT, _LABEL_SMOOTHING = 0.2, 0.05


def network_for(dataset: DatasetView, hidden: Sequence[int] = HIDDEN) -> dict[str, Any]:
    """Fields of POST /v1/networks: inputs standardized, hidden layers of relu with dropout, and an output and a cost
    for what the answers are: classes (one output for two of them), or numbers, which are standardized too."""
    classes = dataset.classes or ()
    layers: list[dict[str, Any]] = [{"units": units, "activation": "relu", "dropout": _DROPOUT} for units in hidden]
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


def job_for(dataset: DatasetView, epochs: int = 200) -> dict[str, Any]:
    """Fields of POST /v1/jobs: adam, until the validation cost has stopped falling; the best epoch is published. Where
    there are too few rows to keep some of them for that, as many epochs as were asked for."""
    fields: dict[str, Any] = {"epochs": epochs, "optimizer": "adam", "learning_rate": 0.001, "batch_size": 32}
    if (dataset.rows or 0) >= 50:
        fields |= {"validation": {"fraction": 0.1}, "early_stopping": {"patience": 20, "restore_best_weights": True}}
    return fields
