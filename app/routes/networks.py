"""/v1/networks"""

from fastapi import APIRouter, Response

from app.context import After, Here, Limit, NetworkId
from app.idempotency import ToCreate
from app.routes import problems
from app.routes.imports import CONTENT, PARAMETERS
from app.schemas.base import Page
from app.schemas.networks import NetworkChange, NetworkView, NewClone, NewNetwork
from engine.errors import InvalidInput
from engine.jobs.network import NetworkRecord
from engine.jobs.registry import Receipt

router = APIRouter(prefix="/v1/networks", tags=["1 networks"])


@router.post(
    "",
    status_code=201,
    summary="Create a network",
    response_model=NetworkView,
    responses=problems(400, 409, 413, 415, 422, 429),
    openapi_extra={"requestBody": {"content": CONTENT}, "parameters": PARAMETERS},
)
def create_network(new: NewNetwork, here: Here, once: ToCreate) -> Response:
    """Describe a network, layer by layer, or hand in a file with one. Its start is drawn from the seed and published as
    version 0.

    - **JSON**: the layers, and how data are prepared.
    - **A file** in the field `file` of a form, or as the body itself with the options in the query, is published as
      version 1: it predicts at once, with its preparation and its classes, and jobs with `warm_start` go on from it.

    Files are safetensors, npz or ONNX. Those that were copied out of a service (`/versions/{version}/file`) need no
    options; predictions have the same bits then. **ONNX** of other makers: a chain of Gemm, or MatMul and Add, with
    BatchNormalization behind it if any, and activations. **scikit-learn**: the arrays `coefs_0`, `intercepts_0`, … of
    an MLP; **PyTorch**: the `state_dict` of a Sequential of Linear, and BatchNorm1d right behind one (with the default
    ε 1e-5, which such a file does not say), as `0.weight`, `0.bias`, …. Both say nothing of activations: `layers` does.
    float32 and float64 are accepted, pickles are not. Everything is checked before anything is stored.
    """
    architecture = new.architecture()
    return once.create(
        lambda: new.model_dump_json().encode(),
        lambda receipt: here.catalog.create_network(architecture, new.name, receipt, new.preparation.rule()),
        NetworkView.of,
        lambda network: f"/v1/networks/{network.id}",
    )


@router.get("", summary="List networks", responses=problems(422))
def list_networks(here: Here, limit: Limit = 20, after: After = None) -> Page[NetworkView]:
    """Newest first."""
    networks, has_more = here.registry.networks.page(after, limit)
    return Page(data=[NetworkView.of(network) for network in networks], has_more=has_more)


@router.get("/{network_id}", summary="Get a network", responses=problems(404, 422))
def get_network(network_id: NetworkId, here: Here) -> NetworkView:
    """Its layers, the number of its current version, and its tags."""
    return NetworkView.of(here.registry.networks.find(network_id))


@router.patch("/{network_id}", summary="Change a network", responses=problems(400, 404, 422))
def change_network(network_id: NetworkId, change: NetworkChange, here: Here) -> NetworkView:
    """Rename it, make one of its versions current, or both. An older version predicts again then; the next job that
    succeeds publishes a new one, which is current. Several networks may have one name; it stands for the one that was
    created last."""
    if change.name is None and change.version is None:
        raise InvalidInput("version", "Give a version, a name, or both.")
    return NetworkView.of(
        here.catalog.change_network(here.registry.networks.find(network_id), change.name, change.version)
    )


@router.post(
    "/{network_id}/clones",
    status_code=201,
    summary="Clone a network",
    response_model=NetworkView,
    responses=problems(400, 404, 409, 422),
)
def clone_network(network_id: NetworkId, new: NewClone, here: Here, once: ToCreate) -> Response:
    """A network of its own, whose start, version 0, is a version of this one: with its weights and classes, and with
    what its data are prepared by. So it predicts the same, and a job goes on from there, with or without `warm_start`.
    It has no tags, and this one may be changed or deleted."""

    def clone(receipt: Receipt | None) -> NetworkRecord:
        return here.catalog.clone_network(here.registry.networks.find(network_id), new.version, new.name, receipt)

    return once.create(
        lambda: new.model_dump_json().encode(),
        clone,
        NetworkView.of,
        lambda network: f"/v1/networks/{network.id}",
    )


@router.delete("/{network_id}", status_code=204, summary="Delete a network", responses=problems(404, 409, 422))
def delete_network(network_id: NetworkId, here: Here) -> None:
    """With all its versions. Refused while a job or a batch prediction that is not finished needs it."""
    here.catalog.delete_network(here.registry.networks.find(network_id))
