"""A dataset worked through a model into a file, block by block: memory does not grow with the dataset."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nabla.engine.data.export import ArrowForm, Block, export_array, export_table, hand_over_table
from nabla.engine.data.features import Features
from nabla.engine.data.loading import inputs_of
from nabla.engine.literals import FileFormat
from nabla.engine.training.evaluation import predicted_codes
from nabla.engine.training.metrics import likeliest, scores_of
from nabla.engine.training.model import Answers, Model

# A block of the file has at most so many rows, and fewer where they are wide.
_ROWS_OF_BLOCK, _NUMBERS_OF_BLOCK = 2**16, 2**21
# Multiply-adds between two signs of life.
_WORK_AT_ONCE = 2**31


def predict_to_file(
    model: Model,
    features: Features,
    classes: tuple[str, ...] | None,
    format: FileFormat,
    probabilities: bool,
    folder: Path,
    advanced: Callable[[int], object],
) -> Path:
    """The answers to all rows, in their order, as `predictions` in `folder`; where that is. `probabilities`: of a
    version that gives them. `advanced` is told how many rows are done.

    A table has the columns output_1 …; label, where there are classes; and probability_CLASS …. An array has the
    outputs, or the probabilities. Raises StorageFailed, Damaged, and InvalidInput where a row cannot be answered.
    """
    path = folder / f"predictions.{format}"
    blocks = _answers(model, features, advanced)
    if format == "npy":
        return export_array(path, features.rows, (scores_of(block) if probabilities else block for block in blocks))
    return export_table(path, format, (_columns(block, classes, probabilities) for block in blocks))


def answers_to_file(
    answers: Answers,
    classes: tuple[str, ...] | None,
    probabilities: bool,
    top_k: int | None,
    form: ArrowForm,
    folder: Path,
    advanced: Callable[[int], object],
) -> Path:
    """Answers (rows, outputs), which may be mapped, as an Arrow table in `folder`; where that is. It has the columns of
    `predict_to_file`, and with `top_k` top_1, top_1_score …: the likeliest classes and their scores. Raises
    StorageFailed."""

    def blocks() -> Iterator[Block]:
        at_once = max(1, min(_ROWS_OF_BLOCK, _NUMBERS_OF_BLOCK // (answers.shape[1] + 2 * (top_k or 0))))
        for first in range(0, len(answers), at_once):
            yield _columns(answers[first : first + at_once], classes, probabilities, top_k)
            advanced(min(first + at_once, len(answers)))

    return hand_over_table(folder, form, blocks())


def _answers(model: Model, features: Features, advanced: Callable[[int], object]) -> Iterator[Answers]:
    architecture = model.network.architecture
    widest = max(features.inputs, architecture.outputs)
    of_block = max(1, min(_ROWS_OF_BLOCK, _NUMBERS_OF_BLOCK // widest))
    at_once = max(1, min(of_block, _WORK_AT_ONCE // architecture.parameters))
    for first in range(0, features.rows, of_block):
        last = min(features.rows, first + of_block)
        parts = []
        for start in range(first, last, at_once):
            rows = slice(start, min(last, start + at_once))
            inputs = inputs_of(features, model.preprocessor, architecture.dtype, rows)
            parts.append(model.predict(inputs, "dataset_id"))
            advanced(rows.stop)
        yield parts[0] if len(parts) == 1 else np.concatenate(parts)


def _columns(answers: Answers, classes: tuple[str, ...] | None, probabilities: bool, top_k: int | None = None) -> Block:
    columns: Block = {f"output_{number}": column for number, column in enumerate(answers.T, 1)}
    if classes is not None:
        names = np.array(classes, object)
        columns["label"] = names[predicted_codes(answers)]
        if probabilities:
            columns |= {
                f"probability_{name}": column for name, column in zip(classes, scores_of(answers).T, strict=True)
            }
        if top_k is not None:
            columns |= _top(names, answers, top_k)
    return columns


def _top(names: npt.NDArray[Any], answers: Answers, count: int) -> Block:
    scores, order = scores_of(answers), likeliest(answers, count)
    columns: Block = {}
    for place, codes in enumerate(order.T):
        columns[f"top_{place + 1}"] = names[codes]
        columns[f"top_{place + 1}_score"] = np.take_along_axis(scores, codes[:, None], 1)[:, 0]
    return columns
