"""The Open Inference Protocol in requests and answers."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class InferenceError(BaseModel):
    """What is wrong, in words."""

    error: str


class ServerView(BaseModel):
    name: str
    version: str
    extensions: list[str]


class LiveView(BaseModel):
    live: bool


class ReadyView(BaseModel):
    ready: bool


class ModelReadyView(BaseModel):
    name: str
    ready: bool


class TensorView(BaseModel):
    """-1 in a shape stands for any number of rows."""

    name: str
    datatype: str
    shape: list[int]


class ModelView(BaseModel):
    """A network: its versions, and the tensors of the one that was asked for."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorView]
    outputs: list[TensorView]


class IndexFields(BaseModel):
    """`ready`: only what can predict."""

    ready: bool = False


class ModelState(BaseModel):
    """A version of a model, and why it cannot predict if it cannot."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class RequestInput(BaseModel):
    """`inputs` [rows, inputs] of FP32 or FP64; or, where the network was trained on a table, a tensor [rows] for each
    column: FP64, BOOL, and BYTES for categories and dates."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: Annotated[
        list[Any] | None,
        Field(
            description="Flat, or nested as the shape is: looked at as an array, not number by number. Not there with "
            "`binary_data_size` among the parameters: so many bytes follow the JSON then."
        ),
    ] = None


class RequestOutput(BaseModel):
    """`parameters`: `binary_data`, and `classification` for the likeliest classes by name."""

    name: str
    parameters: dict[str, Any] = {}


class InferenceRequest(BaseModel):
    """Without `outputs` all come."""

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
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class InferenceResponse(BaseModel):
    """`outputs` in the units of the targets; `labels` of classes, and their `probabilities` where outputs are that."""

    model_name: str
    model_version: str
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[ResponseOutput]
