"""Batch inference: predictions are written to files block by block, so that memory does not grow with the dataset."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nabla.engine.data.export import (
    ArrowIpcFormat,
    TableBlock,
    export_array,
    export_table,
    export_temporary_table,
)
from nabla.engine.data.features import Features
from nabla.engine.data.input_warnings import InputWarnings
from nabla.engine.data.loading import load_inputs
from nabla.engine.data.schema import Classes
from nabla.engine.literals import FileFormat
from nabla.engine.training.metrics import class_scores, predicted_codes, top_k_codes
from nabla.engine.training.model import Model, Predictions

# Maximum rows and numbers of a block of a file.
_BLOCK_ROWS, _BLOCK_NUMBERS = 2**16, 2**21
# Multiply-adds between two calls of `on_progress`.
_PROGRESS_MULTIPLY_ADDS = 2**31


def predict_to_file(
    model: Model,
    features: Features,
    classes: Classes | None,
    format: FileFormat,
    probabilities: bool,
    directory: Path,
    on_progress: Callable[[int], object],
    warnings: InputWarnings,
) -> Path:
    """Predict all rows of a dataset, in their order, into a file named `predictions`.

    A table has the columns output_1 …; with classes also label and, with `probabilities`, probability_CLASS …. A .npy
    array has the outputs or the probabilities.

    Args:
        model: The model.
        features: Raw inputs of the dataset.
        classes: Names of the classes; None for numeric targets.
        format: Format of the file.
        probabilities: Whether to write the probabilities of the classes, which the model must have.
        directory: Directory for the file.
        on_progress: Called with the number of rows that are done.
        warnings: Collects what is unusual about the rows.

    Returns:
        The path of the file.

    Raises:
        InvalidInput: A row cannot be predicted.
        Damaged: A stored file cannot be read.
        StorageFailed: The file cannot be written.
    """
    path = directory / f"predictions.{format}"
    blocks = _predict_blocks(model, features, on_progress, warnings)
    if format == "npy":
        arrays = (class_scores(block) if probabilities else block for block in blocks)
        return export_array(path, features.rows, arrays)
    return export_table(path, format, (_to_columns(block, classes, probabilities) for block in blocks))


def write_arrow_predictions(
    predictions: Predictions,
    classes: Classes | None,
    probabilities: bool,
    top_k: int | None,
    ipc_format: ArrowIpcFormat,
    directory: Path,
    on_progress: Callable[[int], object],
) -> Path:
    """Write predictions as an Arrow table for another process to read once.

    The table has the columns of `predict_to_file`, and with `top_k` also top_1, top_1_score …: the classes with the
    highest scores.

    Args:
        predictions: (rows, outputs), which may be memory-mapped.
        classes: Names of the classes; None for numeric targets.
        probabilities: Whether to write the probabilities of the classes.
        top_k: Number of classes to rank in each row.
        ipc_format: Arrow file or stream.
        directory: Directory for the file.
        on_progress: Called with the number of rows that are done.

    Returns:
        The path of the file.

    Raises:
        StorageFailed: The file cannot be written.
    """

    def iter_blocks() -> Iterator[TableBlock]:
        width = predictions.shape[1] + 2 * (top_k or 0)
        block_rows = max(1, min(_BLOCK_ROWS, _BLOCK_NUMBERS // width))
        for first in range(0, len(predictions), block_rows):
            yield _to_columns(predictions[first : first + block_rows], classes, probabilities, top_k)
            on_progress(min(first + block_rows, len(predictions)))

    return export_temporary_table(directory, ipc_format, iter_blocks())


def _predict_blocks(
    model: Model, features: Features, on_progress: Callable[[int], object], warnings: InputWarnings
) -> Iterator[Predictions]:
    architecture = model.network.architecture
    width = max(features.inputs, architecture.outputs)
    block_rows = max(1, min(_BLOCK_ROWS, _BLOCK_NUMBERS // width))
    chunk_rows = max(1, min(block_rows, _PROGRESS_MULTIPLY_ADDS // architecture.parameters))
    for first in range(0, features.rows, block_rows):
        last = min(features.rows, first + block_rows)
        chunks = []
        for start in range(first, last, chunk_rows):
            rows = slice(start, min(last, start + chunk_rows))
            inputs = load_inputs(features, model.preprocessor, architecture.dtype, rows, warnings)
            chunks.append(model.predict(inputs, "dataset_id"))
            on_progress(rows.stop)
        yield chunks[0] if len(chunks) == 1 else np.concatenate(chunks)


def _to_columns(
    predictions: Predictions, classes: Classes | None, probabilities: bool, top_k: int | None = None
) -> TableBlock:
    columns: TableBlock = {f"output_{number}": column for number, column in enumerate(predictions.T, 1)}
    if classes is None:
        return columns
    names = np.array(classes, object)
    columns["label"] = names[predicted_codes(predictions)]
    if probabilities:
        scores = class_scores(predictions)
        columns |= {f"probability_{name}": column for name, column in zip(classes, scores.T, strict=True)}
    if top_k is not None:
        columns |= _to_ranking(names, predictions, top_k)
    return columns


def _to_ranking(names: npt.NDArray[Any], predictions: Predictions, top_k: int) -> TableBlock:
    scores, ranking = class_scores(predictions), top_k_codes(predictions, top_k)
    columns: TableBlock = {}
    for rank, codes in enumerate(ranking.T, 1):
        columns[f"top_{rank}"] = names[codes]
        columns[f"top_{rank}_score"] = np.take_along_axis(scores, codes[:, None], 1)[:, 0]
    return columns
