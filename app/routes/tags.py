"""/v1/networks/{id}/tags"""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from app.context import Here, NetworkId
from app.routes import problems
from app.schemas.base import TAG_IN_WORDS, TagName
from app.schemas.versions import TagFields, TagsView, TagView

router = APIRouter(prefix="/v1/networks/{network_id}/tags", tags=["1 networks"])

_MADE: dict[int | str, dict[str, Any]] = {201: {"model": TagView, "description": "There was no such tag before."}}

Tag = Annotated[
    TagName,
    Path(
        description=f"Made of {TAG_IN_WORDS}.",
        openapi_examples={"production": {"value": "production"}},
    ),
]


@router.get("", summary="List a network's tags", responses=problems(404, 422))
def list_tags(network_id: NetworkId, here: Here) -> TagsView:
    """Each with the number of its version. Wherever a version is asked for, a tag may stand, and `current` for the one
    that predicts."""
    return TagsView.of(here.registry.networks.find(network_id))


@router.put("/{tag}", summary="Tag a version", responses={**_MADE, **problems(400, 404, 409, 422)})
def put_tag(network_id: NetworkId, tag: Tag, fields: TagFields, here: Here, response: Response) -> TagView:
    """Give the tag to a version, or move it there from another one. It stays there, whatever becomes current. A network
    has at most 100 tags."""
    network, is_new = here.catalog.tag(here.registry.networks.find(network_id), tag, fields.version)
    if is_new:
        response.status_code = 201
        response.headers["Location"] = f"/v1/networks/{network.id}/versions/{tag}"
    return TagView(tag=tag, version=network.tags[tag])


@router.delete("/{tag}", status_code=204, summary="Remove a tag", responses=problems(404, 422))
def delete_tag(network_id: NetworkId, tag: Tag, here: Here) -> None:
    """Its version stays."""
    here.catalog.untag(here.registry.networks.find(network_id), tag)
