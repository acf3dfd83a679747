"""/v1/networks: networks, their versions and tags, model import and export."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute

from nabla.app.dependencies import After, IdempotentDep, Limit, NetworkId, ServicesDep, VersionId
from nabla.app.http.errors import error_responses
from nabla.app.http.files import (
    MULTIPART_FORM,
    OCTET_STREAM,
    Digest,
    UploadForm,
    download_response,
    open_upload,
    receive_file,
    reject_duplicate_options,
    resolve_name,
)
from nabla.app.schemas.common import TAG_RULE, Page, TagName
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
from nabla.app.services import Services
from nabla.engine.errors import InvalidInput
from nabla.engine.literals import NetworkFormat
from nabla.engine.records.network import NetworkRecord
from nabla.engine.records.upload import UploadChunk

router = APIRouter(tags=["1 networks"])

Tag = Annotated[
    TagName,
    Path(description=f"The tag: {TAG_RULE}.", openapi_examples={"production": {"value": "production"}}),
]
_TEXT = {"type": "string"}
_FILE_CONTENT = {
    MULTIPART_FORM: {"schema": NetworkFile.model_json_schema()},
    OCTET_STREAM: {"schema": {"type": "string", "format": "binary"}},
}
_FILE_PARAMETERS = [
    *(
        {"name": name, "in": "query", "schema": _TEXT, "description": f"With a file: {field['description']}"}
        for name, field in NetworkFields.model_json_schema()["properties"].items()
    ),
    {
        "name": "Content-Digest",
        "in": "header",
        "schema": _TEXT,
        "description": "With a file: SHA-256 of the body (RFC 9530).",
    },
]


def _view(services: Services, network: NetworkRecord) -> NetworkView:
    return NetworkView.of(network, services.registry.networks.shadowed_by(network))


async def import_network(
    request: Request, services: ServicesDep, idempotent: IdempotentDep, digest: Digest = None
) -> Response:
    """Create a network from a file; documented with `create_network`."""
    async with open_upload(services.datasets, "fields") as upload:
        options = request.query_params.multi_items()
        if request.headers["content-type"].lower().startswith(MULTIPART_FORM):
            form = UploadForm(services.datasets, upload, request.headers["content-type"])
            await form.receive(request)
            options, chunks = [*options, *form.options], form.chunks
        else:
            chunks = [await receive_file(request, services.datasets, upload)]
        fields = NetworkFields.model_validate(reject_duplicate_options(options))
        chunk = _single_file(chunks)
        name = resolve_name(fields.name, [chunk])
        path = services.datasets.chunk_path(upload, chunk)

        def create() -> Response:
            with idempotent.claim(f"{fields.model_dump_json()}\n{chunk.name} {chunk.sha256}".encode()):
                network = idempotent.replay(services.registry.networks.get)
                if network is None:
                    network = services.model_transfer.import_network(path, name, fields.hints(), idempotent.key(201))
                return idempotent.response(201, _view(services, network), f"/v1/networks/{network.id}")

        return await to_thread.run_sync(create, limiter=services.upload_threads)


def _single_file(chunks: list[UploadChunk]) -> UploadChunk:
    """Return the file of a form; raise InvalidInput unless there is exactly one, in the field `file`."""
    for chunk in chunks:
        if chunk.field != "file":
            raise InvalidInput(chunk.field, "Unknown field. Accepted: file.")
    if len(chunks) != 1:
        raise InvalidInput("file", f"The form has {len(chunks)} files; exactly one is expected, with a file name.")
    return chunks[0]


class _FileOrJsonRoute(APIRoute):
    """Passes a request to `import_network` if its body is a file, and parses any other body as JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle_json = super().get_route_handler()
        handle_file = APIRoute(self.path, import_network, response_model=None).get_route_handler()

        async def handle(request: Request) -> Response:
            content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            return await (handle_file if content_type in _FILE_CONTENT else handle_json)(request)

        return handle


def create_network(new: NewNetwork, services: ServicesDep, idempotent: IdempotentDep) -> Response:
    """Create a network from its layers or from a model file.

    - **JSON**: the layers, and how data is preprocessed. The initial weights are drawn from the seed and published as
      version 0.
    - **A file** in the field `file` of a form, or as the body itself with the options in the query, is published as
      version 1: it predicts at once, with its preprocessing and its classes, and jobs with `warm_start` start from it.

    Files are safetensors, npz or ONNX. Files exported by a service (`/versions/{version}/file`) need no options, and
    their predictions are the same to the bit. **ONNX** of other tools: a chain of Gemm, or MatMul and Add, each
    optionally followed by BatchNormalization, and activations. **scikit-learn**: the arrays `coefs_0`, `intercepts_0`,
    … of an MLP. **PyTorch**: the `state_dict` of a Sequential of Linear, each optionally followed by BatchNorm1d (with
    the default ε 1e-5, which such a file does not contain), as `0.weight`, `0.bias`, …. The latter two do not contain
    activations: give them in `layers`. float32 and float64 are accepted, pickles are not. Everything is validated
    before anything is stored.
    """
    architecture = new.architecture()
    with idempotent.claim(new.model_dump_json().encode()):
        network = idempotent.replay(services.registry.networks.get)
        if network is None:
            preprocessing = new.preprocessing.config()
            network = services.networks.create_network(architecture, new.name, preprocessing, idempotent.key(201))
        return idempotent.response(201, _view(services, network), f"/v1/networks/{network.id}")


router.add_api_route(
    "/v1/networks",
    create_network,
    methods=["POST"],
    status_code=201,
    summary="Create a network",
    response_model=NetworkView,
    responses=error_responses(400, 409, 413, 415, 422, 429),
    openapi_extra={"requestBody": {"content": _FILE_CONTENT}, "parameters": _FILE_PARAMETERS},
    route_class_override=_FileOrJsonRoute,
)


@router.get("/v1/networks", summary="List networks", responses=error_responses(422))
def list_networks(services: ServicesDep, limit: Limit = 20, after: After = None) -> Page[NetworkView]:
    """List networks, newest first."""
    networks, has_more = services.registry.networks.page(after, limit)
    return Page(data=[_view(services, network) for network in networks], has_more=has_more)


@router.get("/v1/networks/{network_id}", summary="Get a network", responses=error_responses(404, 422))
def get_network(network_id: NetworkId, services: ServicesDep) -> NetworkView:
    """Get a network's layers, the number of its current version, and its tags."""
    return _view(services, services.registry.networks.resolve(network_id))


@router.patch("/v1/networks/{network_id}", summary="Change a network", responses=error_responses(400, 404, 422))
def change_network(network_id: NetworkId, change: NetworkChange, services: ServicesDep) -> NetworkView:
    """Rename a network, make one of its versions current, or both.

    An older version then predicts again, until the next job that succeeds publishes a new one, which becomes current.
    Several networks may share a name, unless the service is set to unique names; it stands for the newest, which lists
    the others as `shadows`.
    """
    if change.name is None and change.version is None:
        raise InvalidInput("version", "Give a version, a name, or both.")
    record = services.registry.networks.resolve(network_id)
    return _view(services, services.networks.change_network(record, change.name, change.version))


@router.delete(
    "/v1/networks/{network_id}", status_code=204, summary="Delete a network", responses=error_responses(404, 409, 422)
)
def delete_network(network_id: NetworkId, services: ServicesDep) -> None:
    """Delete a network with all its versions.

    409 while an unfinished job or batch prediction needs it, and for a name that several networks have.
    """
    services.networks.delete_network(services.registry.networks.resolve_single(network_id))


@router.post(
    "/v1/networks/{network_id}/clones",
    status_code=201,
    summary="Clone a network",
    response_model=NetworkView,
    responses=error_responses(400, 404, 409, 422),
)
def clone_network(network_id: NetworkId, new: NewClone, services: ServicesDep, idempotent: IdempotentDep) -> Response:
    """Create a network whose version 0 is a version of this one, with its weights, classes and preprocessing.

    The clone predicts the same, and jobs start from that version, with or without `warm_start`. It has no tags, and is
    independent of the original, which may be changed or deleted.
    """
    with idempotent.claim(new.model_dump_json().encode()):
        network = idempotent.replay(services.registry.networks.get)
        if network is None:
            source = services.registry.networks.resolve(network_id)
            network = services.networks.clone_network(source, new.version, new.name, idempotent.key(201))
        return idempotent.response(201, _view(services, network), f"/v1/networks/{network.id}")


@router.get(
    "/v1/networks/{network_id}/versions", summary="List a network's versions", responses=error_responses(404, 422)
)
def list_versions(
    network_id: NetworkId,
    services: ServicesDep,
    limit: Limit = 20,
    before: Annotated[int | None, Query(description="Only versions with a smaller number.")] = None,
) -> VersionsView:
    """List the versions of a network, newest first: version 0 and those published since by jobs and checkpoints."""
    network = services.registry.networks.resolve(network_id)
    older = [version for version in reversed(network.versions) if before is None or version.number < before]
    return VersionsView(
        data=[VersionView.of(version, network) for version in older[:limit]], has_more=len(older) > limit
    )


@router.get(
    "/v1/networks/{network_id}/versions/{version}", summary="Get a version", responses=error_responses(404, 422)
)
def get_version(network_id: NetworkId, version: VersionId, services: ServicesDep) -> VersionView:
    """Get a version's origin, its classes and its tags. `current` is the version that predicts."""
    network = services.registry.networks.resolve(network_id)
    return VersionView.of(network.resolve_version(version), network)


@router.get(
    "/v1/networks/{network_id}/versions/{version}/file",
    summary="Export a version",
    response_class=StreamingResponse,
    responses={200: {"content": {OCTET_STREAM: {}}}, **error_responses(404, 409, 413, 422, 500, 503, 507)},
)
async def export_version(
    network_id: NetworkId,
    version: VersionId,
    services: ServicesDep,
    format: Annotated[NetworkFormat, Query(description="Format of the file.")] = "safetensors",
) -> StreamingResponse:
    """Download a version as a file with everything that predictions need.

    A network created from the file predicts the same to the bit.

    - **safetensors**: `layers.N.weights` (units, inputs), `layers.N.biases`, and with batch normalization
      `layers.N.scales`, `.means` and `.variances`; the scaling of inputs and targets; as metadata the
      `format_version`, and in JSON `architecture`, `preprocessing_config`, `preprocessor` and `classes`.
    - **npz**: the same arrays under the same names; the JSON texts as arrays of their bytes (uint8).
    - **onnx**: a model (ai.onnx 20, ai.onnx.ml 3) from raw inputs to outputs in the units of the targets. Its input is
      `inputs` (batch, inputs) in the network's type; or, for a network trained on a table, one input (batch, 1) for
      each column under the column's name: numbers and dates (days since 1970-01-01) as float64, NaN if missing;
      categories as text, "" if missing; booleans as bool, or as float64 (0, 1, NaN) if missing ones are imputed. Its
      outputs are `outputs` (batch, outputs), and `label` (batch) if there are classes; an underscore is appended if a
      column has that name. An ONNX model cannot reject a row: a missing number without imputation gives NaN, and an
      unknown category sets all its inputs to 0, as with `handle_unknown: ignore`.
    """
    network = services.registry.networks.resolve(network_id)
    file = await to_thread.run_sync(
        services.model_transfer.export_version, network, version, format, limiter=services.upload_threads
    )
    return download_response(file, f"{network.name or network.id}-{version}.{format}")


@router.get("/v1/networks/{network_id}/tags", summary="List a network's tags", responses=error_responses(404, 422))
def list_tags(network_id: NetworkId, services: ServicesDep) -> TagsView:
    """List the tags of a network with the numbers of their versions.

    Wherever a version is accepted, so is a tag, and `current` for the version that predicts.
    """
    return TagsView.of(services.registry.networks.resolve(network_id))


@router.put(
    "/v1/networks/{network_id}/tags/{tag}",
    summary="Tag a version",
    responses={201: {"model": TagView, "description": "The tag is new."}, **error_responses(400, 404, 409, 422)},
)
def put_tag(network_id: NetworkId, tag: Tag, fields: TagFields, services: ServicesDep, response: Response) -> TagView:
    """Assign a tag to a version, or move it there from another one.

    It stays there when another version becomes current. A network has at most 100 tags.
    """
    network, is_new = services.networks.tag(services.registry.networks.resolve(network_id), tag, fields.version)
    if is_new:
        response.status_code = 201
        response.headers["Location"] = f"/v1/networks/{network.id}/versions/{tag}"
    return TagView(tag=tag, version=network.tags[tag])


@router.delete(
    "/v1/networks/{network_id}/tags/{tag}", status_code=204, summary="Remove a tag", responses=error_responses(404, 422)
)
def delete_tag(network_id: NetworkId, tag: Tag, services: ServicesDep) -> None:
    """Remove a tag; its version stays."""
    services.networks.untag(services.registry.networks.resolve(network_id), tag)
