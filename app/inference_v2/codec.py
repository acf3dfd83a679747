"""Decoding of inference requests, and encoding of their responses."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np
from fastapi import Response

from nabla.app.inference_v2.repository import INPUTS, LABELS, OUTPUTS, PROBABILITIES, output_specs
from nabla.app.inference_v2.tensors import BYTES, Array, Tensor, decode_tensor, encode_tensor
from nabla.engine.data.schema import Cell, class_names
from nabla.engine.errors import InvalidInput, TooLarge
from nabla.engine.records.network import NetworkRecord, Version
from nabla.engine.training.metrics import class_scores, predicted_codes, top_k_codes
from nabla.engine.training.model import Model, Predictions
from nabla.engine.typing import Matrix

Data = TypeVar("Data")
Rows = TypeVar("Rows", list[Any], Array)

JSON_LENGTH_HEADER = "Inference-Header-Content-Length"
_MAX_JSON_ELEMENTS = 2**22
_EXPECTED_ELEMENTS = {
    "number": "numbers; FP64 is expected",
    "boolean": "booleans; BOOL is expected",
    "category": f"categories; {BYTES} is expected",
    "date": f"dates; {BYTES} is expected",
}


class RequestedOutput(msgspec.Struct):
    """An output tensor of a request."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct, Generic[Data]):
    """The JSON of a request. Unknown fields are ignored, as the protocol requires."""

    inputs: list[Tensor[Data]]
    outputs: list[RequestedOutput] | None = None
    id: str | None = None
    parameters: dict[str, Any] = {}

    def wants_binary(self, output: RequestedOutput) -> bool:
        """Return whether an output is requested as binary data, by its own parameter or that of the request."""
        own = output.parameters.get("binary_data")
        return bool(self.parameters.get("binary_data_output", False) if own is None else own)


class _InferResponse(msgspec.Struct, omit_defaults=True):
    model_name: str
    model_version: str
    outputs: list[Tensor[Any]]
    id: str | None = None
    parameters: dict[str, Any] = {}


# Flat or nested numbers are the most frequent data, and these decoders are the fastest.
_numeric_decoders: tuple[Callable[[bytes], InferRequest[Any]], ...] = (
    msgspec.json.Decoder(InferRequest[list[float]]).decode,
    msgspec.json.Decoder(InferRequest[list[list[float]]]).decode,
)
_decode_any = msgspec.json.Decoder(InferRequest[list[Any]]).decode


def decode_request(body: bytes, json_length: int, model: Model) -> tuple[InferRequest[Any], Matrix]:
    """Return a request, and its preprocessed rows (rows, inputs).

    Args:
        body: The JSON, and binary data after it.
        json_length: Length of the JSON in bytes.
        model: The model that predicts.

    Raises:
        InvalidInput: The request is malformed, or does not fit the model; it names the tensor.
    """
    request, is_numeric = _parse_json(body[:json_length])
    return request, _prepare_rows(_decode_inputs(request, body[json_length:], is_numeric=is_numeric), model)


def _parse_json(content: bytes) -> tuple[InferRequest[Any], bool]:
    """Return the parsed JSON of a request, and whether all of its data are known to be numbers."""
    for decode in _numeric_decoders:
        try:
            return decode(content), True
        except msgspec.DecodeError:
            pass
    try:
        return _decode_any(content), False
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidInput("body", f"The request does not follow the protocol: {error}.") from error


def _decode_inputs(request: InferRequest[Any], binary: bytes, *, is_numeric: bool) -> dict[str, Array]:
    """Return the input tensors by name; their binary data follow the JSON in the same order."""
    arrays: dict[str, Array] = {}
    rest = memoryview(binary)
    for tensor in request.inputs:
        if tensor.name in arrays:
            raise InvalidInput(tensor.name, "There are several tensors with this name.")
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            arrays[tensor.name] = decode_tensor(tensor, None, is_numeric=is_numeric)
            continue
        if type(size) is not int or not 0 <= size <= len(rest):
            raise InvalidInput(tensor.name, f"binary_data_size is {size}; {len(rest)} bytes are left after the JSON.")
        arrays[tensor.name] = decode_tensor(tensor, rest[:size], is_numeric=is_numeric)
        rest = rest[size:]
    if rest:
        raise InvalidInput("body", f"{len(rest)} bytes after the JSON belong to no tensor.")
    return arrays


def _prepare_rows(arrays: dict[str, Array], model: Model) -> Matrix:
    columns = model.preprocessor.columns
    names = [INPUTS] if columns is None else [column.name for column in columns]
    for name in arrays:
        if name not in names:
            raise InvalidInput(name, f"Unknown input. The inputs are {', '.join(names)}.")
    for name in names:
        if name not in arrays:
            raise InvalidInput(name, f"This input is missing. The inputs are {', '.join(names)}.")
    if columns is None:
        return _prepare_matrix(arrays[INPUTS], model)
    cells = {column.name: _column_cells(arrays[column.name], column.name, column.type) for column in columns}
    counts = {name: len(column) for name, column in cells.items()}
    if len({*counts.values()}) > 1:
        raise InvalidInput(INPUTS, f"All inputs need the same number of elements; got {counts}.")
    rows = [dict(zip(names, row, strict=True)) for row in zip(*cells.values(), strict=True)]
    return model.preprocess_records(_require_rows(rows), INPUTS)


def _prepare_matrix(array: Array, model: Model) -> Matrix:
    inputs = model.network.architecture.inputs
    if array.dtype == object or array.dtype.kind == "b":
        raise InvalidInput(INPUTS, "Numbers are expected: FP32 or FP64.")
    if array.ndim != 2 or array.shape[1] != inputs:
        raise InvalidInput(INPUTS, f"The shape is {[*array.shape]}; [rows, {inputs}] is expected.")
    return model.preprocess(_require_rows(array), len(array), lambda row, column: f"{INPUTS}.{row}.{column}")


def _column_cells(array: Array, name: str, type_: str) -> list[Cell]:
    """Return the values of a column. NaN and empty text are missing values."""
    if array.ndim not in (1, 2) or array.size != len(array):
        raise InvalidInput(name, f"The shape is {[*array.shape]}; [rows] or [rows, 1] is expected.")
    flat = array.reshape(-1)
    is_text, is_bool = flat.dtype == object, flat.dtype == bool
    # Categories may also be sent as numbers, which they may have been in the table.
    if is_text != (type_ in ("category", "date")) and (type_ != "category" or is_bool):
        raise InvalidInput(name, f"The column contains {_EXPECTED_ELEMENTS[type_]}.")
    if is_text:
        return [text or None for text in flat.tolist()]
    if flat.dtype.kind == "f":
        return [None if np.isnan(number) else number for number in flat.tolist()]
    cells: list[Cell] = flat.tolist()
    return cells


def _require_rows(rows: Rows) -> Rows:
    if not len(rows):
        raise InvalidInput(INPUTS, "There are no rows; at least one is required.")
    return rows


def requested_outputs(request: InferRequest[Any], network: NetworkRecord, version: Version) -> list[RequestedOutput]:
    """Return the outputs that a request names; by default all.

    Raises:
        InvalidInput: An output is unknown, named twice, or cannot be classified.
    """
    known = [spec.name for spec in output_specs(network.architecture, version)]
    outputs = request.outputs or [RequestedOutput(name) for name in known]
    names: set[str] = set()
    for output in outputs:
        if output.name not in known:
            raise InvalidInput(output.name, f"Unknown output. The outputs are {', '.join(known)}.")
        if output.name in names:
            raise InvalidInput(output.name, "This output is requested twice.")
        names.add(output.name)
        if "classification" in output.parameters and version.classes is None:
            raise InvalidInput(output.name, "The model has no classes, which classification requires.")
    return outputs


def check_json_size(request: InferRequest[Any], outputs: list[RequestedOutput], predictions: Predictions) -> None:
    """Check the size of outputs in JSON, which takes a multiple of their memory.

    Raises:
        TooLarge: There are too many numbers.
    """
    if predictions.size > _MAX_JSON_ELEMENTS and not all(map(request.wants_binary, outputs)):
        raise TooLarge(
            OUTPUTS,
            f"The outputs have {predictions.size} numbers; JSON can have at most {_MAX_JSON_ELEMENTS}. Request binary "
            "data.",
        )


def encode_response(
    model_name: str,
    version: Version,
    request: InferRequest[Any],
    outputs: list[RequestedOutput],
    predictions: Predictions,
) -> Response:
    """Return the requested outputs.

    Args:
        model_name: Name of the model in the request.
        version: The version that predicted.
        request: The request.
        outputs: The outputs that it requests.
        predictions: Outputs of the network (rows, outputs) in the units of the targets.

    Raises:
        InvalidInput: The number of classes to return is invalid.
    """
    encoder = _OutputEncoder(version, predictions)
    tensors, contents = [], []
    for output in outputs:
        tensor, content = encode_tensor(output.name, encoder.array(output), binary=request.wants_binary(output))
        tensors.append(tensor)
        contents.append(content)
    json = msgspec.json.encode(_InferResponse(model_name, str(version.number), tensors, request.id))
    binary = b"".join(contents)
    if not binary:
        return Response(json, media_type="application/json")
    headers = {JSON_LENGTH_HEADER: str(len(json))}
    return Response(json + binary, media_type="application/octet-stream", headers=headers)


class _OutputEncoder:
    """Output tensors of a model as arrays."""

    def __init__(self, version: Version, outputs: Predictions) -> None:
        classes = version.classes or ()
        self._names = class_names(classes)
        # Text is in an array of objects; numbers and booleans have an array of their type.
        self._labels: Array = np.array(classes, object if isinstance(next(iter(classes), ""), str) else None)
        self._outputs = outputs

    def array(self, output: RequestedOutput) -> Array:
        count = output.parameters.get("classification")
        if count is not None:
            return self._classification(count, output.name)
        if output.name == LABELS:
            return self._labels[predicted_codes(self._outputs)]
        return {OUTPUTS: self._outputs, PROBABILITIES: class_scores(self._outputs)}[output.name]

    def _classification(self, count: Any, name: str) -> Array:
        """Return the most likely classes as texts `SCORE:INDEX:NAME` (classification extension)."""
        if type(count) is not int or count < 1:
            raise InvalidInput(name, f"classification is {count}; an integer of at least 1 is expected.")
        scores, codes = class_scores(self._outputs), top_k_codes(self._outputs, count)
        texts = np.empty(codes.shape, object)
        for (row, rank), code in np.ndenumerate(codes):
            texts[row, rank] = f"{scores[row, code]:f}:{code}:{self._names[code]}"
        return texts
