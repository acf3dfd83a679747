"""/v1/networks"""

from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from nabla.app.dependencies import After, Context, Here, Limit, NetworkId, VersionId
from nabla.app.http.errors import problems
from nabla.app.http.files import BYTES, FORM, Digest, Form, arriving, download, each_once, name_for, receive_file
from nabla.app.http.idempotency import Once, ToCreate
from nabla.app.schemas.common import TAG_IN_WORDS, Page, TagName
from nabla.app.schemas.networks import (
    NetworkChange,
    NetworkFields,
    NetworkFile,
    NetworkView,
    NewClone,
    NewNetwork,
    TagFields,
    TagsView,
    TagView,
    VersionsView,
    VersionView,
)
from nabla.engine.errors import InvalidInput
from nabla.engine.literals import NetworkFormat
from nabla.engine.records.network import NetworkRecord
from nabla.engine.records.upload import Upload, UploadChunk
from nabla.engine.storage.registry import Receipt

versions_router = APIRouter(prefix="/v1/networks", tags=["1 networks"])


@versions_router.get("/{network_id}/versions", summary="List a network's versions", responses=problems(404, 422))
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


@versions_router.get("/{network_id}/versions/{version}", summary="Get a version", responses=problems(404, 422))
def get_version(network_id: NetworkId, version: VersionId, here: Here) -> VersionView:
    """Where it comes from, what it tells apart, and its tags. `current` is the one that predicts."""
    network = here.registry.networks.find(network_id)
    return VersionView.of(network.find(version), network)


@versions_router.get(
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
      category that was not learned has all inputs 0, as with `handle_unknown: ignore`.
    """
    network = here.registry.networks.find(network_id)
    file = await to_thread.run_sync(here.exchange.copy_out, network, version, format, limiter=here.waiting)
    return download(file, f"{network.name or network.id}-{version}.{format}")


tags_router = APIRouter(prefix="/v1/networks/{network_id}/tags", tags=["1 networks"])

_MADE: dict[int | str, dict[str, Any]] = {201: {"model": TagView, "description": "There was no such tag before."}}

Tag = Annotated[
    TagName,
    Path(
        description=f"Made of {TAG_IN_WORDS}.",
        openapi_examples={"production": {"value": "production"}},
    ),
]


@tags_router.get("", summary="List a network's tags", responses=problems(404, 422))
def list_tags(network_id: NetworkId, here: Here) -> TagsView:
    """Each with the number of its version. Wherever a version is asked for, a tag may stand, and `current` for the one
    that predicts."""
    return TagsView.of(here.registry.networks.find(network_id))


@tags_router.put("/{tag}", summary="Tag a version", responses={**_MADE, **problems(400, 404, 409, 422)})
def put_tag(network_id: NetworkId, tag: Tag, fields: TagFields, here: Here, response: Response) -> TagView:
    """Give the tag to a version, or move it there from another one. It stays there, whatever becomes current. A network
    has at most 100 tags."""
    network, is_new = here.catalog.tag(here.registry.networks.find(network_id), tag, fields.version)
    if is_new:
        response.status_code = 201
        response.headers["Location"] = f"/v1/networks/{network.id}/versions/{tag}"
    return TagView(tag=tag, version=network.tags[tag])


@tags_router.delete("/{tag}", status_code=204, summary="Remove a tag", responses=problems(404, 422))
def delete_tag(network_id: NetworkId, tag: Tag, here: Here) -> None:
    """Its version stays."""
    here.catalog.untag(here.registry.networks.find(network_id), tag)


_BYTES = "application/octet-stream"
_KINDS = (FORM, _BYTES)


class _FileRoute(APIRoute):
    """Takes requests whose body is a file, and leaves all others to the operation that takes JSON."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        kind = dict(scope["headers"]).get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
        return (match, child) if match is Match.FULL and kind in _KINDS else (Match.NONE, {})


imports_router = APIRouter(prefix="/v1/networks", tags=["1 networks"], route_class=_FileRoute)


CONTENT = {
    FORM: {"schema": NetworkFile.model_json_schema()},
    _BYTES: {"schema": {"type": "string", "format": "binary"}},
}
"""Of a request with a file, for the operation that documents it."""

_TEXT = {"type": "string"}
PARAMETERS = [
    *(
        {"name": name, "in": "query", "schema": _TEXT, "description": f"A file: {field['description']}"}
        for name, field in NetworkFields.model_json_schema()["properties"].items()
    ),
    {
        "name": "Content-Digest",
        "in": "header",
        "schema": _TEXT,
        "description": "A file: SHA-256 of the body, RFC 9530.",
    },
]
"""What goes with a file that is the body itself."""


# Documented with the operation that takes JSON: in OpenAPI a path has one of a kind.
@imports_router.post("", status_code=201, response_model=NetworkView, include_in_schema=False)
async def import_network(request: Request, here: Here, once: ToCreate, digest: Digest = None) -> Response:
    async with arriving(here, "fields") as upload:
        options = request.query_params.multi_items()
        if request.headers["content-type"].lower().startswith(FORM):
            form = Form(here.uploads, upload, request.headers["content-type"])
            await form.receive(request)
            options, chunks = [*options, *form.options], form.chunks
        else:
            chunks = [await receive_file(request, here.uploads, upload)]
        fields = NetworkFields.model_validate(each_once(options))
        return await _created(here, once, upload, _only(chunks), fields)


def _only(chunks: list[UploadChunk]) -> UploadChunk:
    """Raises InvalidInput."""
    for chunk in chunks:
        if chunk.field != "file":
            raise InvalidInput(chunk.field, "There is no such field for a network. Accepted: file.")
    if len(chunks) != 1:
        raise InvalidInput("file", f"There are {len(chunks)} files; one is expected, with a file name.")
    return chunks[0]


async def _created(here: Context, once: Once, upload: Upload, chunk: UploadChunk, fields: NetworkFields) -> Response:
    name = name_for(fields.name, [chunk])
    path = here.uploads.path(upload, chunk)

    def take_in(receipt: Receipt | None) -> NetworkRecord:
        return here.exchange.take_in(path, name, fields.hints(), receipt)

    def create() -> Response:
        content = f"{fields.model_dump_json()}\n{chunk.name} {chunk.sha256}".encode()
        return once.create(lambda: content, take_in, NetworkView.of, lambda network: f"/v1/networks/{network.id}")

    return await to_thread.run_sync(create, limiter=here.waiting)


networks_router = APIRouter(prefix="/v1/networks", tags=["1 networks"])


@networks_router.post(
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
      version 1: it predicts at once, with its preprocessing and its classes, and jobs with `warm_start` go on from it.

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
        lambda receipt: here.catalog.create_network(architecture, new.name, receipt, new.preprocessing.rule()),
        NetworkView.of,
        lambda network: f"/v1/networks/{network.id}",
    )


@networks_router.get("", summary="List networks", responses=problems(422))
def list_networks(here: Here, limit: Limit = 20, after: After = None) -> Page[NetworkView]:
    """Newest first."""
    networks, has_more = here.registry.networks.page(after, limit)
    return Page(data=[NetworkView.of(network) for network in networks], has_more=has_more)


@networks_router.get("/{network_id}", summary="Get a network", responses=problems(404, 422))
def get_network(network_id: NetworkId, here: Here) -> NetworkView:
    """Its layers, the number of its current version, and its tags."""
    return NetworkView.of(here.registry.networks.find(network_id))


@networks_router.patch("/{network_id}", summary="Change a network", responses=problems(400, 404, 422))
def change_network(network_id: NetworkId, change: NetworkChange, here: Here) -> NetworkView:
    """Rename it, make one of its versions current, or both. An older version predicts again then; the next job that
    succeeds publishes a new one, which is current. Several networks may have one name; it stands for the one that was
    created last."""
    if change.name is None and change.version is None:
        raise InvalidInput("version", "Give a version, a name, or both.")
    return NetworkView.of(
        here.catalog.change_network(here.registry.networks.find(network_id), change.name, change.version)
    )


@networks_router.post(
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


@networks_router.delete("/{network_id}", status_code=204, summary="Delete a network", responses=problems(404, 409, 422))
def delete_network(network_id: NetworkId, here: Here) -> None:
    """With all its versions. Refused while a job or a batch prediction that is not finished needs it."""
    here.catalog.delete_network(here.registry.networks.find(network_id))
