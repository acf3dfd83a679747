"""/v1/networks/{id}/versions"""

from typing import Annotated

from fastapi import APIRouter, Query

from app.context import Here, Limit, NetworkId, VersionId
from app.routes import problems
from app.schemas.versions import VersionsView, VersionView

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
