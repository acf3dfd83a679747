"""/v2/models and /v2/repository: what the Open Inference Protocol tells of models. Every network is one, under its name
or its id."""

from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.openapi.models import Example

from app import __version__
from app.context import Here, VersionId
from app.inference.models import Described, inputs_of, outputs_of
from app.schemas.inference import (
    IndexFields,
    InferenceError,
    LiveView,
    ModelReadyView,
    ModelState,
    ModelView,
    ReadyView,
    ServerView,
    TensorView,
)
from engine.errors import Conflict
from engine.names import CURRENT, VersionReference

router = APIRouter(prefix="/v2", tags=["7 open inference protocol"])

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


@router.get("", summary="The server")
async def server() -> ServerView:
    """Its name, its version, and which extensions of the protocol it knows."""
    return ServerView(name="nabla", version=__version__, extensions=_EXTENSIONS)


@router.get("/health/live", summary="Is the server alive?")
async def live() -> LiveView:
    """As long as it answers at all."""
    return LiveView(live=True)


@router.get("/health/ready", summary="Is the server ready to infer?")
async def ready() -> ReadyView:
    """It predicts whether or not a worker is ready to train."""
    return ReadyView(ready=True)


@router.get("/models/{model_name}", summary="A model", responses=errors(404, 409))
async def model(model_name: ModelName, here: Here) -> ModelView:
    """Its tensors, as its current version has them."""
    return _view(model_name, CURRENT, here)


@router.get("/models/{model_name}/versions/{model_version}", summary="A version of a model", responses=errors(404, 409))
async def model_version(model_name: ModelName, model_version: VersionId, here: Here) -> ModelView:
    """Its tensors. Versions that were trained on different tables have different ones."""
    return _view(model_name, model_version, here)


@router.get("/models/{model_name}/ready", summary="Is a model ready?", responses=errors(404, 409))
async def model_ready(model_name: ModelName, here: Here) -> ModelReadyView:
    """Whether its current version can predict: it is not unloaded, and if it scales it has been trained."""
    return _ready(model_name, CURRENT, here)


@router.get(
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


@router.post("/repository/index", summary="All models", responses=errors(413, 422, 500, 503))
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


@router.post("/repository/models/{model_name}/load", summary="Load a model", responses=errors(404, 500, 503))
async def load(model_name: ModelName, here: Here) -> None:
    """Let it infer again. All models do when the service starts."""
    here.repository.load(model_name)


@router.post("/repository/models/{model_name}/unload", summary="Unload a model", responses=errors(404, 500, 503))
async def unload(model_name: ModelName, here: Here) -> None:
    """It does not infer until it is loaded again. The network stays as it is, and predicts at /v1."""
    here.repository.unload(model_name)
