"""Open Inference Protocol (version 2). Every network is a model, under its name or its id."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.openapi.models import Example
from starlette.concurrency import run_in_threadpool

from nabla.app import __version__
from nabla.app.api.predictions import MAX_INLINE_BYTES, load_model
from nabla.app.dependencies import ServicesDep, VersionId, parse_version_ref
from nabla.app.http.errors import STATUS_DESCRIPTIONS
from nabla.app.http.middleware import read_tensor_body, reserve_memory
from nabla.app.http.raw_route import raw_post
from nabla.app.inference_v2.codec import (
    JSON_LENGTH_HEADER,
    check_json_size,
    decode_request,
    encode_response,
    requested_outputs,
)
from nabla.app.inference_v2.repository import TensorSpec, input_specs, output_specs
from nabla.app.predictions.decoding import check_row_count
from nabla.app.predictions.encoding import MAX_INLINE_OUTPUTS
from nabla.app.schemas.common import inline_schema
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
from nabla.app.services import Services
from nabla.engine.errors import Conflict, InvalidInput
from nabla.engine.literals import CURRENT, VersionReference

router = APIRouter(tags=["7 open inference protocol"])

_EXTENSIONS = ["binary_tensor_data", "classification", "model_repository"]
_STATUS_DESCRIPTIONS = {
    **STATUS_DESCRIPTIONS,
    404: "No model, or no version of it, has this name.",
    409: "The model cannot predict in its current state.",
    422: "A tensor, or the body, does not fit the model.",
}
ModelName = Annotated[
    str, Path(description="Name or id of a network.", openapi_examples={"xor": Example({"value": "xor"})})
]


def _error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": InferenceError, "description": _STATUS_DESCRIPTIONS[status]} for status in statuses}


_INFER_DOCS: dict[str, Any] = {
    "response_model": InferenceResponse,
    "responses": _error_responses(404, 409, 413, 422, 500, 503, 507),
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": inline_schema(InferenceRequest)},
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            },
        }
    },
}


@router.get("/v2", summary="Get the server metadata")
async def server() -> ServerView:
    """Return the name and version of the server, and the extensions of the protocol that it supports."""
    return ServerView(name="nabla", version=__version__, extensions=_EXTENSIONS)


@router.get("/v2/health/live", summary="Is the server live?")
async def live() -> LiveView:
    """Return true whenever the server responds."""
    return LiveView(live=True)


@router.get("/v2/health/ready", summary="Is the server ready?", responses={503: {"model": ReadyView}})
async def ready(services: ServicesDep, response: Response) -> ReadyView:
    """Return what `/health/ready` says: true, or false with the status 503."""
    is_ready = services.unready_reason is None
    response.status_code = 200 if is_ready else 503
    return ReadyView(ready=is_ready)


@router.get("/v2/models/{model_name}", summary="Get a model", responses=_error_responses(404, 409))
async def model(model_name: ModelName, services: ServicesDep) -> ModelView:
    """Return the tensors of the current version."""
    return _model_view(services, model_name, CURRENT)


@router.get(
    "/v2/models/{model_name}/versions/{model_version}",
    summary="Get a version of a model",
    responses=_error_responses(404, 409),
)
async def model_version(model_name: ModelName, model_version: VersionId, services: ServicesDep) -> ModelView:
    """Return the tensors of a version, which depend on the table that it was trained on."""
    return _model_view(services, model_name, model_version)


@router.get("/v2/models/{model_name}/ready", summary="Is a model ready?", responses=_error_responses(404, 409))
async def model_ready(model_name: ModelName, services: ServicesDep) -> ModelReadyView:
    """Return whether the current version can predict: it is loaded, and trained if it scales inputs or targets."""
    return _ready_view(services, model_name, CURRENT)


@router.get(
    "/v2/models/{model_name}/versions/{model_version}/ready",
    summary="Is a version of a model ready?",
    responses=_error_responses(404, 409),
)
async def version_ready(model_name: ModelName, model_version: VersionId, services: ServicesDep) -> ModelReadyView:
    """Return whether a version can predict."""
    return _ready_view(services, model_name, model_version)


def _model_view(services: Services, name: str, reference: VersionReference) -> ModelView:
    network = services.repository.get(name)
    version = network.resolve_version(reference)
    return ModelView(
        name=name,
        versions=[str(version.number) for version in network.versions],
        platform="nabla",
        inputs=_tensor_views(input_specs(network.architecture, version)),
        outputs=_tensor_views(output_specs(network.architecture, version)),
    )


def _tensor_views(specs: list[TensorSpec]) -> list[TensorView]:
    return [TensorView(name=spec.name, datatype=spec.datatype, shape=[*spec.shape]) for spec in specs]


def _ready_view(services: Services, name: str, reference: VersionReference) -> ModelReadyView:
    network = services.repository.get(name)
    if reason := services.repository.unavailable_reason(network, network.resolve_version(reference)):
        raise Conflict(f"The model {name} cannot predict: {reason}.")
    return ModelReadyView(name=name, ready=True)


@router.post("/v2/repository/index", summary="List models", responses=_error_responses(413, 422, 500, 503))
def index(services: ServicesDep, fields: IndexFields | None = None) -> list[ModelState]:
    """List all versions of all networks."""
    states = []
    for name, network in services.repository.list_models():
        for version in network.versions:
            reason = services.repository.unavailable_reason(network, version)
            if reason and fields is not None and fields.ready:
                continue
            state = ModelState(
                name=name, version=str(version.number), state="UNAVAILABLE" if reason else "READY", reason=reason
            )
            states.append(state)
    return states


@router.post(
    "/v2/repository/models/{model_name}/load", summary="Load a model", responses=_error_responses(404, 500, 503)
)
async def load(model_name: ModelName, services: ServicesDep) -> None:
    """Load a model that was unloaded. All models are loaded when the service starts."""
    services.repository.load(model_name)


@router.post(
    "/v2/repository/models/{model_name}/unload", summary="Unload a model", responses=_error_responses(404, 500, 503)
)
async def unload(model_name: ModelName, services: ServicesDep) -> None:
    """Reject inference requests until the model is loaded again. The network is unchanged, and predicts at /v1."""
    services.repository.unload(model_name)


@raw_post(router, "/v2/models/{model_name}/infer", summary="Infer", **_INFER_DOCS)
async def infer(request: Request, model_name: ModelName, services: ServicesDep) -> Response:
    """Predict raw rows with the current version of a network.

    Tensors are JSON, or binary data after the JSON with the header `Inference-Header-Content-Length`. Each output is
    returned in the requested form.
    """
    return await _infer(request, services, model_name, CURRENT)


@raw_post(
    router, "/v2/models/{model_name}/versions/{model_version}/infer", summary="Infer with a version", **_INFER_DOCS
)
async def infer_with_version(
    request: Request, model_name: ModelName, model_version: VersionId, services: ServicesDep
) -> Response:
    """Predict raw rows with a version of a network."""
    return await _infer(request, services, model_name, parse_version_ref(str(model_version)))


async def _infer(request: Request, services: Services, name: str, reference: VersionReference) -> Response:
    network = services.repository.get(name)
    has_binary_data = JSON_LENGTH_HEADER.lower() in request.headers
    body = await (read_tensor_body(request) if has_binary_data else request.body())
    json_length = _json_length(request, body)
    version, model = await load_model(services, network, reference)
    in_thread = len(body) > MAX_INLINE_BYTES
    if in_thread:
        parsed, rows = await run_in_threadpool(decode_request, body, json_length, model)
    else:
        parsed, rows = decode_request(body, json_length, model)
    outputs = requested_outputs(parsed, network, version)
    check_row_count(len(rows), model.network.architecture)
    predictions = model.rescale_outputs(await services.batching.predict(model.network, rows), "inputs")
    check_json_size(parsed, outputs, predictions)
    reserve_memory(request, predictions.nbytes)
    if in_thread or predictions.size > MAX_INLINE_OUTPUTS:
        return await run_in_threadpool(encode_response, name, version, parsed, outputs, predictions)
    return encode_response(name, version, parsed, outputs, predictions)


def _json_length(request: Request, body: bytes) -> int:
    length = request.headers.get(JSON_LENGTH_HEADER)
    if length is None:
        return len(body)
    if not (length.isascii() and length.isdigit() and len(length) < 20 and int(length) <= len(body)):
        raise InvalidInput(JSON_LENGTH_HEADER, f"The length is {length[:20]!r}; the whole body has {len(body)} bytes.")
    return int(length)
