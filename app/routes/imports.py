"""POST /v1/networks with a file: networks that were made elsewhere"""

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from app.context import Context, Here
from app.handed_in import Digest, arriving, each_once, name_for
from app.idempotency import Once, ToCreate
from app.receiving import FORM, Form, receive_file
from app.schemas.imports import NetworkFields, NetworkFile
from app.schemas.networks import NetworkView
from engine.errors import InvalidInput
from engine.jobs.network import NetworkRecord
from engine.jobs.registry import Receipt
from engine.jobs.upload import Piece, Upload

_BYTES = "application/octet-stream"
_KINDS = (FORM, _BYTES)


class _FileRoute(APIRoute):
    """Takes requests whose body is a file, and leaves all others to the operation that takes JSON."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        kind = dict(scope["headers"]).get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
        return (match, child) if match is Match.FULL and kind in _KINDS else (Match.NONE, {})


router = APIRouter(prefix="/v1/networks", tags=["1 networks"], route_class=_FileRoute)


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
@router.post("", status_code=201, response_model=NetworkView, include_in_schema=False)
async def import_network(request: Request, here: Here, once: ToCreate, digest: Digest = None) -> Response:
    async with arriving(here, "fields") as upload:
        options = request.query_params.multi_items()
        if request.headers["content-type"].lower().startswith(FORM):
            form = Form(here.uploads, upload, request.headers["content-type"])
            await form.receive(request)
            options, pieces = [*options, *form.options], form.pieces
        else:
            pieces = [await receive_file(request, here.uploads, upload)]
        fields = NetworkFields.model_validate(each_once(options))
        return await _created(here, once, upload, _only(pieces), fields)


def _only(pieces: list[Piece]) -> Piece:
    """Raises InvalidInput."""
    for piece in pieces:
        if piece.field != "file":
            raise InvalidInput(piece.field, "There is no such field for a network. Accepted: file.")
    if len(pieces) != 1:
        raise InvalidInput("file", f"There are {len(pieces)} files; one is expected, with a file name.")
    return pieces[0]


async def _created(here: Context, once: Once, upload: Upload, piece: Piece, fields: NetworkFields) -> Response:
    name = name_for(fields.name, [piece])
    path = here.uploads.path(upload, piece)

    def take_in(receipt: Receipt | None) -> NetworkRecord:
        return here.exchange.take_in(path, name, fields.hints(), receipt)

    def create() -> Response:
        content = f"{fields.model_dump_json()}\n{piece.name} {piece.sha256}".encode()
        return once.create(lambda: content, take_in, NetworkView.of, lambda network: f"/v1/networks/{network.id}")

    return await to_thread.run_sync(create, limiter=here.waiting)
