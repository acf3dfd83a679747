"""/v1/networks/{id}/versions"""

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app.context import Here, Limit, NetworkId, VersionId
from app.downloads import BYTES, download
from app.routes import problems
from app.schemas.versions import VersionsView, VersionView
from engine.names import NetworkFormat

router = APIRouter(prefix="/v1/networks", tags=["1 networks"])


@router.get("/{network_id}/versions", summary="List a network's versions", responses=problems(404, 422))
def list_versions(
    network_id: NetworkId,
    here: Here,
    limit: Limit = 20,
    before: Annotated[int | None, Query(description="The version before which to go on.")] = None,
) -> VersionsView:
    """Newest first: its start, and what jobs and checkpoints have published since."""
    network = here.registry.networks.find(network_id)
    older = [version for version in reversed(network.versions) if before is None or version.number < before]
    return VersionsView(
        data=[VersionView.of(version, network) for version in older[:limit]], has_more=len(older) > limit
    )


@router.get("/{network_id}/versions/{version}", summary="Get a version", responses=problems(404, 422))
def get_version(network_id: NetworkId, version: VersionId, here: Here) -> VersionView:
    """Where it comes from, what it tells apart, and its tags. `current` is the one that predicts."""
    network = here.registry.networks.find(network_id)
    return VersionView.of(network.find(version), network)


@router.get(
    "/{network_id}/versions/{version}/file",
    summary="Copy a version out",
    response_class=StreamingResponse,
    responses={200: {"content": {BYTES: {}}}, **problems(404, 409, 413, 422, 500, 503, 507)},
)
async def copy_out(
    network_id: NetworkId,
    version: VersionId,
    here: Here,
    format: Annotated[NetworkFormat, Query(description="What the file is to be.")] = "safetensors",
) -> StreamingResponse:
    """A file with everything that predictions need. Creating a network takes it in again, with the same bits.

    - **safetensors**: `layers.N.weights` (units, inputs), `layers.N.biases`, and with batch normalization
      `layers.N.scales`, `.means` and `.variances`; what inputs and targets are scaled by; as metadata, in JSON, the
      `architecture`, the `rule` and the `preparation` of data, and the `classes`.
    - **npz**: the same arrays under the same names; the JSON texts as arrays of their bytes (uint8).
    - **onnx**: a model (ai.onnx 20, ai.onnx.ml 3) from raw inputs to answers in the units of the targets. Its input is
      `inputs` (batch, inputs) in the network's type; or, of a network trained on a table, one (batch, 1) for each
      column under the column's name: numbers and dates (days since 1970-01-01) as float64, NaN where there is none;
      categories as text, "" where there is none; truth values as bool, or as float64 (0, 1, NaN) where missing ones are
      filled. Its outputs are `outputs` (batch, outputs), and `label` (batch) where there are classes; an _ follows
      where a column has that name. It cannot refuse: a number that is missing and that nothing fills gives NaN, a
      category that was not learned has all inputs 0, as with `unseen: ignore`.
    """
    network = here.registry.networks.find(network_id)
    file = await to_thread.run_sync(here.exchange.copy_out, network, version, format, limiter=here.waiting)
    return download(file, f"{network.name or network.id}-{version}.{format}")
