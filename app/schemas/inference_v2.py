"""Requests and responses of the Open Inference Protocol (version 2)."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class InferenceError(BaseModel):
    """An error."""

    error: str


class ServerView(BaseModel):
    """Server metadata."""

    name: str
    version: str
    extensions: list[str]


class LiveView(BaseModel):
    """Whether the server is live."""

    live: bool


class ReadyView(BaseModel):
    """Whether the server is ready."""

    ready: bool


class ModelReadyView(BaseModel):
    """Whether a model is ready."""

    name: str
    ready: bool


class TensorView(BaseModel):
    """Tensor metadata. -1 in a shape stands for any number of rows."""

    name: str
    datatype: str
    shape: list[int]


class ModelView(BaseModel):
    """Model metadata: the versions of a network, and the tensors of one of them."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorView]
    outputs: list[TensorView]


class IndexFields(BaseModel):
    """Filter of the repository index."""

    ready: Annotated[bool, Field(description="List only models that are ready.")] = False


class ModelState(BaseModel):
    """State of a version of a model."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: Annotated[str, Field(description="Why the model is unavailable; empty if it is ready.")]


class RequestInput(BaseModel):
    """An input tensor.

    Networks trained on arrays: `inputs` [rows, inputs] of FP32 or FP64. Networks trained on a table: a tensor [rows]
    for each column: FP64 for numbers, BOOL for booleans, BYTES for categories and dates.
    """

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: Annotated[
        list[Any] | None,
        Field(
            description="Elements, flat or nested as in the shape. Omitted if the parameter `binary_data_size` is set: "
            "then this many bytes follow the JSON."
        ),
    ] = None


class RequestOutput(BaseModel):
    """A requested output tensor."""

    name: str
    parameters: Annotated[
        dict[str, Any],
        Field(description="`binary_data`: return binary data; `classification`: return this many most likely classes."),
    ] = {}


class InferenceRequest(BaseModel):
    """An inference request. Without `outputs`, all outputs are returned."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"inputs": [{"name": "inputs", "shape": [2, 2], "datatype": "FP32", "data": [0, 0, 0, 1]}]},
            ]
        }
    )

    id: str | None = None
    parameters: dict[str, Any] = {}
    inputs: list[RequestInput]
    outputs: list[RequestOutput] | None = None


class ResponseOutput(BaseModel):
    """An output tensor."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class InferenceResponse(BaseModel):
    """Output tensors.

    `outputs` in the units of the targets; for classes also `labels`, and `probabilities` if the cost is a
    cross-entropy.
    """

    model_name: str
    model_version: str
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[ResponseOutput]
