"""Requests to infer: which tensors they bring, and which they want."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np
from fastapi import Response

from nabla.app.inference_v2.repository import INPUTS, LABELS, OUTPUTS, PROBABILITIES, outputs_of
from nabla.app.inference_v2.tensors import BYTES, Array, Tensor, array_of, tensor_of
from nabla.engine.data.request_rows import Cell
from nabla.engine.errors import InvalidInput, TooLarge
from nabla.engine.nn.array_views import Matrix
from nabla.engine.records.network import NetworkRecord, Version
from nabla.engine.training.evaluation import predicted_codes
from nabla.engine.training.metrics import likeliest, scores_of
from nabla.engine.training.model import Answers, Model

Data = TypeVar("Data")


class Output(msgspec.Struct):
    """A tensor that is wanted."""

    name: str
    parameters: dict[str, Any] = {}


class Inference(msgspec.Struct, Generic[Data]):
    """The JSON of a request. Fields that the protocol does not know are let pass, as it asks."""

    inputs: list[Tensor[Data]]
    outputs: list[Output] | None = None
    id: str | None = None
    parameters: dict[str, Any] = {}

    def wants_binary(self, output: Output | None) -> bool:
        """By itself, or by what the request says of all."""
        own = None if output is None else output.parameters.get("binary_data")
        return bool(self.parameters.get("binary_data_output", False) if own is None else own)


# Of numbers, flat or as a matrix: what is sent most often, and decoded soonest.
_OF_NUMBERS: tuple[Callable[[bytes], Inference[Any]], ...] = (
    msgspec.json.Decoder(Inference[list[float]]).decode,
    msgspec.json.Decoder(Inference[list[list[float]]]).decode,
)
_of_anything = msgspec.json.Decoder(Inference[list[Any]]).decode


def inference_in(json: bytes) -> tuple[Inference[Any], bool]:
    """And whether it is known that all data in it are numbers. Raises InvalidInput."""
    for decode in _OF_NUMBERS:
        try:
            return decode(json), True
        except msgspec.DecodeError:
            pass
    try:
        return _of_anything(json), False
    except (msgspec.DecodeError, RecursionError) as problem:
        raise InvalidInput("body", f"The request is not as the protocol has it: {problem}.") from problem


def arrays_in(inference: Inference[Any], binary: bytes, *, known: bool) -> dict[str, Array]:
    """By the names of its tensors. `binary`: what follows the JSON. Raises InvalidInput."""
    found: dict[str, Array] = {}
    left = memoryview(binary)
    for tensor in inference.inputs:
        if tensor.name in found:
            raise InvalidInput(tensor.name, "There is more than one tensor of this name.")
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            found[tensor.name] = array_of(tensor, None, known=known)
            continue
        if type(size) is not int or not 0 <= size <= len(left):
            raise InvalidInput(tensor.name, f"binary_data_size is {size}; {len(left)} bytes are left behind the JSON.")
        found[tensor.name] = array_of(tensor, left[:size], known=known)
        left = left[size:]
    if left:
        raise InvalidInput("body", f"{len(left)} bytes follow the JSON that belong to no tensor.")
    return found


def prepared(arrays: dict[str, Array], model: Model) -> Matrix:
    """Rows as the network takes them. Raises InvalidInput naming the tensor."""
    columns = model.preprocessor.columns
    names = [INPUTS] if columns is None else [column.name for column in columns]
    for name in arrays:
        if name not in names:
            raise InvalidInput(name, f"There is no such input. The inputs are {', '.join(names)}.")
    for name in names:
        if name not in arrays:
            raise InvalidInput(name, f"This input is missing. The inputs are {', '.join(names)}.")
    if columns is None:
        return _plain(arrays[INPUTS], model)
    lists = {column.name: _cells(arrays[column.name], column.name, column.type) for column in columns}
    counts = {name: len(cells) for name, cells in lists.items()}
    if len({*counts.values()}) > 1:
        raise InvalidInput("inputs", f"All inputs have as many elements; got {counts}.")
    rows = [dict(zip(names, cells, strict=True)) for cells in zip(*lists.values(), strict=True)]
    return model.prepared_named(_some(rows), INPUTS)


def _plain(array: Array, model: Model) -> Matrix:
    inputs = model.network.architecture.inputs
    if array.dtype == object or array.dtype.kind == "b":
        raise InvalidInput(INPUTS, "Numbers are expected: FP32 or FP64.")
    if array.ndim != 2 or array.shape[1] != inputs:
        raise InvalidInput(INPUTS, f"The shape is {[*array.shape]}; [rows, {inputs}] is expected.")
    return model.prepared(_some(array), len(array), lambda row, column: f"{INPUTS}.{row}.{column}")


def _cells(array: Array, name: str, type_: str) -> list[Cell]:
    """A vector, or a matrix of one column. NaN, and a text of nothing, say that there is no value."""
    if array.ndim not in (1, 2) or array.size != len(array):
        raise InvalidInput(name, f"The shape is {[*array.shape]}; [rows] or [rows, 1] is expected.")
    flat = array.reshape(-1)
    if (flat.dtype == object) != (type_ in ("category", "date")) and not (type_ == "category" and flat.dtype != bool):
        raise InvalidInput(name, f"The column holds {_HELD[type_]}.")
    if flat.dtype == object:
        return [text or None for text in flat.tolist()]
    if flat.dtype.kind == "f":
        return [None if np.isnan(number) else number for number in flat.tolist()]
    cells: list[Cell] = flat.tolist()
    return cells


_HELD = {
    "number": "numbers; FP64 is expected",
    "boolean": "true or false; BOOL is expected",
    "category": f"categories; {BYTES} is expected",
    "date": f"dates; {BYTES} is expected",
}
Rows = TypeVar("Rows", list[Any], Array)


def _some(rows: Rows) -> Rows:
    if not len(rows):
        raise InvalidInput(INPUTS, "There are no rows; at least one is expected.")
    return rows


JSON_LENGTH = "Inference-Header-Content-Length"
# Numbers.
_MOST_IN_JSON = 2**22


class _Inferred(msgspec.Struct, omit_defaults=True):
    model_name: str
    model_version: str
    outputs: list[Tensor[Any]]
    id: str | None = None
    parameters: dict[str, Any] = {}


def wanted_outputs(inference: Inference[Any], network: NetworkRecord, version: Version) -> list[Output]:
    """All, if it names none. Raises InvalidInput."""
    known = [described.name for described in outputs_of(network.architecture, version)]
    wanted = inference.outputs or [Output(name) for name in known]
    named: set[str] = set()
    for output in wanted:
        if output.name not in known:
            raise InvalidInput(output.name, f"There is no such output. The outputs are {', '.join(known)}.")
        if output.name in named:
            raise InvalidInput(output.name, "This output is asked for twice.")
        named.add(output.name)
        if "classification" in output.parameters and version.classes is None:
            raise InvalidInput(output.name, "The model has no classes, by which its outputs could be named.")
    return wanted


def check_words(inference: Inference[Any], wanted: list[Output], answers: Answers) -> None:
    """Raises TooLarge if an answer in JSON would take a multiple of all that is sent in it."""
    if answers.size > _MOST_IN_JSON and not all(map(inference.wants_binary, wanted)):
        raise TooLarge(
            OUTPUTS,
            f"The outputs are {answers.size} numbers; at most {_MOST_IN_JSON} are given in JSON. Ask for binary data.",
        )


def inferred(
    name: str, version: Version, inference: Inference[Any], wanted: list[Output], answers: Answers
) -> Response:
    """`name`: by which the model was asked for."""
    arrays = _Arrays(version, answers)
    tensors, contents = [], []
    for output in wanted:
        tensor, content = tensor_of(output.name, arrays.of(output), binary=inference.wants_binary(output))
        tensors.append(tensor)
        contents.append(content)
    json = msgspec.json.encode(_Inferred(name, str(version.number), tensors, inference.id))
    binary = b"".join(contents)
    if not binary:
        return Response(json, media_type="application/json")
    return Response(json + binary, media_type="application/octet-stream", headers={JSON_LENGTH: str(len(json))})


class _Arrays:
    """The outputs of a model by their names."""

    def __init__(self, version: Version, answers: Answers) -> None:
        self._classes = np.array(version.classes or (), object)
        self._answers = answers

    def of(self, output: Output) -> Array:
        count = output.parameters.get("classification")
        if count is not None:
            return self._classified(count, output.name)
        if output.name == LABELS:
            return self._classes[predicted_codes(self._answers)]
        return {OUTPUTS: self._answers, PROBABILITIES: scores_of(self._answers)}[output.name]

    def _classified(self, count: Any, name: str) -> Array:
        """The extension for classification: score, place and name of the likeliest classes, as one text."""
        if type(count) is not int or count < 1:
            raise InvalidInput(name, f"classification is {count}; an integer of at least 1 is expected.")
        scores, order = scores_of(self._answers), likeliest(self._answers, count)
        found = np.empty(order.shape, object)
        for (row, place), code in np.ndenumerate(order):
            found[row, place] = f"{scores[row, code]:f}:{code}:{self._classes[code]}"
        return found
