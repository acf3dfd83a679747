"""The network and the training settings that are proposed for a dataset, each with the reason."""

from collections.abc import Sequence
from typing import Any

from nabla.app.schemas.datasets import ProposalView, Reason
from nabla.engine.data.dataset import Dataset
from nabla.engine.data.schema import may_be_image
from nabla.engine.errors import InvalidInput
from nabla.engine.literals import ScalingName

_HIDDEN_UNITS, _EPOCHS, _BATCH_SIZE, _LEARNING_RATE, _PATIENCE = (128, 64), 200, 32, 0.001, 20
# Without both, networks memorize small tables.
_DROPOUT, _LABEL_SMOOTHING = 0.2, 0.05
# With fewer rows a validation split would be too small to decide when to stop.
_MIN_ROWS_FOR_VALIDATION, _VALIDATION_FRACTION = 50, 0.1
# Pixels up to this value train well without scaling.
_MAX_UNSCALED_PIXEL = 16


def propose_training(
    dataset: Dataset, hidden_units: Sequence[int] | None = None, epochs: int | None = None
) -> ProposalView:
    """Return a network for a dataset, and the settings of a job that trains it.

    Args:
        dataset: The dataset.
        hidden_units: Units of each hidden layer; None proposes them.
        epochs: Maximum number of epochs; None proposes it.

    Raises:
        InvalidInput: The dataset is unlabeled (field `dataset_id`).
    """
    if dataset.unlabeled:
        raise InvalidInput("dataset_id", "The dataset is unlabeled: there is nothing to learn from it.")
    reasons: list[Reason] = []
    network = _propose_network(dataset, _HIDDEN_UNITS if hidden_units is None else hidden_units, reasons)
    job = _propose_job(dataset, _EPOCHS if epochs is None else epochs, reasons)
    return ProposalView(dataset_id=dataset.id, network=network, job=job, reasons=reasons)


def _propose_network(dataset: Dataset, hidden_units: Sequence[int], reasons: list[Reason]) -> dict[str, Any]:
    def explain(setting: str, reason: str) -> None:
        reasons.append(Reason(setting=f"network.{setting}", reason=reason))

    classes = dataset.classes or ()
    is_image = may_be_image(dataset.inputs, (column.type for column in dataset.features or ()))
    hidden: dict[str, Any] = {"activation": "relu", "dropout": _DROPOUT}
    if is_image:
        hidden["batch_norm"] = True
    layers = [{"units": units, **hidden} for units in hidden_units]
    if layers:
        explain("layers", f"Hidden relu layers; {_DROPOUT:.0%} dropout, so that small tables are not memorized.")
    if layers and is_image:
        explain("layers.0.batch_norm", "Images are learned in fewer epochs with normalized layers.")
    scaling, reason = _propose_input_scaling(dataset, is_image)
    preprocessing = {"inputs": scaling, "handle_unknown": "ignore"}
    explain("preprocessing.inputs", reason)
    explain("preprocessing.handle_unknown", "A row with a category that did not occur in training is not rejected.")
    label_smoothing = 0.0
    if len(classes) == 2:
        output, cost = {"units": 1, "activation": "sigmoid"}, "binary_cross_entropy"
        explain("cost", "Two classes: the output is the probability of the second one.")
    elif classes:
        output, cost = {"units": len(classes), "activation": "softmax"}, "categorical_cross_entropy"
        label_smoothing = _LABEL_SMOOTHING
        explain("cost", f"{len(classes)} classes: the outputs are their probabilities.")
        explain("label_smoothing", "Keeps the network from becoming overconfident about the training rows.")
    else:
        output, cost = {"units": dataset.targets, "activation": "identity"}, "quadratic"
        preprocessing["targets"] = "standardize"
        explain("cost", "The targets are numbers.")
        explain("preprocessing.targets", "So the learning rate does not depend on the unit of the targets.")
    return {
        "inputs": dataset.inputs,
        "layers": [*layers, output],
        "cost": cost,
        "label_smoothing": label_smoothing,
        "initializer": "he_normal",
        "preprocessing": preprocessing,
    }


def _propose_input_scaling(dataset: Dataset, is_image: bool) -> tuple[ScalingName, str]:
    """Return the scaling of the inputs, and its reason.

    The deviation of a pixel says nothing about its meaning: a drawing may be bright where all images are dark.
    """
    if not is_image:
        return "standardize", "All inputs get the same scale, and outliers are compressed."
    if dataset.magnitude <= _MAX_UNSCALED_PIXEL:
        return "none", f"{dataset.inputs} numbers may be the pixels of an image; they are small enough as they are."
    return "min_max", f"{dataset.inputs} numbers may be the pixels of an image; they are scaled to 0 … 1."


def _propose_job(dataset: Dataset, epochs: int, reasons: list[Reason]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "epochs": epochs,
        "optimizer": "adam",
        "learning_rate": _LEARNING_RATE,
        "batch_size": _BATCH_SIZE,
    }
    if dataset.rows < _MIN_ROWS_FOR_VALIDATION:
        reasons.append(
            Reason(
                setting="job.epochs",
                reason=f"Training runs for all of them: {dataset.rows} rows are too few for early stopping.",
            )
        )
        return fields
    fields["validation"] = {"fraction": _VALIDATION_FRACTION}
    fields["early_stopping"] = {"patience": _PATIENCE, "restore_best_weights": True}
    reasons.append(
        Reason(
            setting="job.early_stopping",
            reason=f"Training stops when the cost of {_VALIDATION_FRACTION:.0%} of the rows has not fallen for "
            f"{_PATIENCE} epochs, and the weights of the best epoch are kept.",
        )
    )
    return fields
