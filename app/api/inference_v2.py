"""/v2/models and /v2/repository: what the Open Inference Protocol tells of models. Every network is one, under its name
or its id."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.openapi.models import Example
from starlette.concurrency import run_in_threadpool

from nabla.app import __version__
from nabla.app.api.predictions import LARGE, found_model
from nabla.app.dependencies import Here, VersionId, context_of, number_in
from nabla.app.http.body_limits import keep, tensors
from nabla.app.http.raw_route import DirectRoute
from nabla.app.inference_v2.codec import (
    JSON_LENGTH,
    Inference,
    arrays_in,
    check_words,
    inference_in,
    inferred,
    prepared,
    wanted_outputs,
)
from nabla.app.inference_v2.repository import Described, inputs_of, outputs_of
from nabla.app.predictions.decoding import check_rows
from nabla.app.predictions.encoding import FEW
from nabla.app.schemas.common import in_one_piece
from nabla.app.schemas.inference_v2 import (
    IndexFields,
    InferenceError,
    InferenceRequest,
    InferenceResponse,
    LiveView,
    ModelReadyView,
    ModelState,
    ModelView,
    ReadyView,
    ServerView,
    TensorView,
)
from nabla.engine.errors import Conflict, InvalidInput
from nabla.engine.literals import CURRENT, VersionReference
from nabla.engine.nn.array_views import Matrix
from nabla.engine.training.model import Model

models_router = APIRouter(prefix="/v2", tags=["7 open inference protocol"])

_EXTENSIONS = ["binary_tensor_data", "classification", "model_repository"]
_MEANINGS = {
    404: "There is no such model, or version of it.",
    409: "The model cannot predict at present.",
    413: "The body is larger than this service takes.",
    422: "A tensor, or the body, is not as the model takes it.",
    500: "What is stored is damaged, or the service has an error; its log has the details.",
    503: "As much is being done at this moment as this service does at once.",
    507: "There is no space left on the disk of the data folder.",
}
ModelName = Annotated[
    str, Path(description="Name or id of a network.", openapi_examples={"xor": Example({"value": "xor"})})
]


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": InferenceError, "description": _MEANINGS[status]} for status in statuses}


@models_router.get("", summary="The server")
async def server() -> ServerView:
    """Its name, its version, and which extensions of the protocol it knows."""
    return ServerView(name="nabla", version=__version__, extensions=_EXTENSIONS)


@models_router.get("/health/live", summary="Is the server alive?")
async def live() -> LiveView:
    """As long as it answers at all."""
    return LiveView(live=True)


@models_router.get("/health/ready", summary="Is the server ready to infer?")
async def ready() -> ReadyView:
    """It predicts whether or not a worker is ready to train."""
    return ReadyView(ready=True)


@models_router.get("/models/{model_name}", summary="A model", responses=errors(404, 409))
async def model(model_name: ModelName, here: Here) -> ModelView:
    """Its tensors, as its current version has them."""
    return _view(model_name, CURRENT, here)


@models_router.get(
    "/models/{model_name}/versions/{model_version}", summary="A version of a model", responses=errors(404, 409)
)
async def model_version(model_name: ModelName, model_version: VersionId, here: Here) -> ModelView:
    """Its tensors. Versions that were trained on different tables have different ones."""
    return _view(model_name, model_version, here)


@models_router.get("/models/{model_name}/ready", summary="Is a model ready?", responses=errors(404, 409))
async def model_ready(model_name: ModelName, here: Here) -> ModelReadyView:
    """Whether its current version can predict: it is not unloaded, and if it scales it has been trained."""
    return _ready(model_name, CURRENT, here)


@models_router.get(
    "/models/{model_name}/versions/{model_version}/ready",
    summary="Is a version of a model ready?",
    responses=errors(404, 409),
)
async def version_ready(model_name: ModelName, model_version: VersionId, here: Here) -> ModelReadyView:
    """The same of another version than the current one."""
    return _ready(model_name, model_version, here)


def _view(name: str, reference: VersionReference, here: Here) -> ModelView:
    network = here.repository.find(name)
    version = network.find(reference)
    return ModelView(
        name=name,
        versions=[str(version.number) for version in network.versions],
        platform="nabla",
        inputs=_tensors(inputs_of(network.architecture, version)),
        outputs=_tensors(outputs_of(network.architecture, version)),
    )


def _tensors(described: list[Described]) -> list[TensorView]:
    return [TensorView(name=each.name, datatype=each.datatype, shape=[*each.shape]) for each in described]


def _ready(name: str, reference: VersionReference, here: Here) -> ModelReadyView:
    network = here.repository.find(name)
    if reason := here.repository.reason(network, network.find(reference)):
        raise Conflict(f"The model {name} cannot predict: {reason}.")
    return ModelReadyView(name=name, ready=True)


@models_router.post("/repository/index", summary="All models", responses=errors(413, 422, 500, 503))
def index(here: Here, wanted: IndexFields | None = None) -> list[ModelState]:
    """Every version of every network."""
    found = []
    for name, network in here.repository.models():
        for version in network.versions:
            reason = here.repository.reason(network, version)
            if not reason or wanted is None or not wanted.ready:
                state = ModelState(
                    name=name, version=str(version.number), state="UNAVAILABLE" if reason else "READY", reason=reason
                )
                found.append(state)
    return found


@models_router.post("/repository/models/{model_name}/load", summary="Load a model", responses=errors(404, 500, 503))
async def load(model_name: ModelName, here: Here) -> None:
    """Let it infer again. All models do when the service starts."""
    here.repository.load(model_name)


@models_router.post("/repository/models/{model_name}/unload", summary="Unload a model", responses=errors(404, 500, 503))
async def unload(model_name: ModelName, here: Here) -> None:
    """It does not infer until it is loaded again. The network stays as it is, and predicts at /v1."""
    here.repository.unload(model_name)


inference_router = APIRouter(
    prefix="/v2/models/{model_name}", tags=["7 open inference protocol"], route_class=DirectRoute
)

_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {"schema": in_one_piece(InferenceRequest)},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}
_ERRORS = errors(404, 409, 413, 422, 500, 503, 507)


@inference_router.post(
    "/infer",
    summary="Infer",
    response_model=InferenceResponse,
    responses=_ERRORS,
    openapi_extra={"requestBody": _BODY},
)
async def infer(request: Request, model_name: ModelName) -> Response:
    """Work rows of raw inputs through the current version of a network. Tensors are JSON, or binary behind it, with the
    header `Inference-Header-Content-Length`; each output comes as it is asked for."""
    return await _infer(request, model_name, CURRENT)


@inference_router.post(
    "/versions/{model_version}/infer",
    summary="Infer with a version",
    response_model=InferenceResponse,
    responses=_ERRORS,
    openapi_extra={"requestBody": _BODY},
)
async def infer_with_version(request: Request, model_name: ModelName, model_version: VersionId) -> Response:
    """The same with another version than the current one."""
    return await _infer(request, model_name, number_in(str(model_version)))


async def _infer(request: Request, name: str, reference: VersionReference) -> Response:
    here = context_of(request)
    network = here.repository.find(name)
    binary = JSON_LENGTH.lower() in request.headers
    body = await (tensors(request) if binary else request.body())
    json_length = _json_length(request, body)
    version, model = await found_model(here, network, reference)
    large = len(body) > LARGE
    if large:
        inference, rows = await run_in_threadpool(_rows, body, json_length, model)
    else:
        inference, rows = _rows(body, json_length, model)
    wanted = wanted_outputs(inference, network, version)
    check_rows(len(rows), model.network.architecture)
    answers = model.answers(await here.batching.outputs(model.network, rows), "inputs")
    check_words(inference, wanted, answers)
    keep(request, answers.nbytes)
    if large or answers.size > FEW:
        return await run_in_threadpool(inferred, name, version, inference, wanted, answers)
    return inferred(name, version, inference, wanted, answers)


def _json_length(request: Request, body: bytes) -> int:
    """Raises InvalidInput."""
    length = request.headers.get(JSON_LENGTH)
    if length is None:
        return len(body)
    if not (length.isascii() and length.isdigit() and len(length) < 20 and int(length) <= len(body)):
        raise InvalidInput(JSON_LENGTH, f"It is {length[:20]!r}; the body has {len(body)} bytes, JSON and all.")
    return int(length)


def _rows(body: bytes, json_length: int, model: Model) -> tuple[Inference[Any], Matrix]:
    inference, known = inference_in(body[:json_length])
    return inference, prepared(arrays_in(inference, body[json_length:], known=known), model)
