"""Errors as RFC 9457 problem details. One table says what each kind of error is to a client."""

import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute

from nabla.app.schemas.common import in_one_piece
from nabla.engine.errors import (
    Busy,
    Conflict,
    Damaged,
    InProgress,
    InvalidInput,
    NablaError,
    NotFound,
    StorageFailed,
    StorageFull,
    TooLarge,
    TooMany,
    Unavailable,
)
from nabla.engine.nn.optimizers import OPTIMIZERS
from nabla.engine.nn.schedules import SCHEDULES

log = logging.getLogger(__name__)

_MOST_ERRORS_SHOWN = 20
# Objects of one of several kinds: pydantic puts the kind behind the field's name, where a client has none.
_KINDS: dict[str, set[str]] = {
    "optimizer": set(OPTIMIZERS),
    "schedule": {"rule", "stages", *SCHEDULES},
    "class_weights": {"name", "weights"},
    "version": {"number", "tag"},
    "model_version": {"number", "tag"},
}
_LATER, _SOON = {"Retry-After": "10"}, {"Retry-After": "1"}
_UNSUPPORTED = "Unsupported media type"
_INFERENCE = "/v2"
# Python has changed some names of statuses; the types of problems stay.
_PHRASES = {413: "Too large", 415: _UNSUPPORTED}


class FieldError(BaseModel):
    """What is wrong with one field, and what would be accepted."""

    field: str = Field(examples=["layers.1.activation"])
    message: str


class Problem(BaseModel):
    """An error as RFC 9457 describes it (application/problem+json)."""

    type: str = Field(description="Stable name of the kind of error.", examples=["/problems/unknown-network"])
    title: str
    status: int
    detail: str
    errors: list[FieldError] = []


def problem(
    slug: str,
    title: str,
    status: int,
    detail: str,
    errors: Sequence[FieldError] = (),
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    body = Problem(type=f"/problems/{slug}", title=title, status=status, detail=detail, errors=list(errors))
    return JSONResponse(body.model_dump(), status, headers, media_type="application/problem+json")


def _from_engine(error: NablaError) -> JSONResponse:
    """The table. The most specific kinds come first."""
    match error:
        case TooLarge():
            return problem("too-large", "Too large", 413, str(error), _fields(error))
        case InvalidInput():
            return problem("invalid-input", "Invalid input", 422, str(error), _fields(error))
        case NotFound():
            fields = [FieldError(field=error.field, message=str(error))] if error.field else []
            return problem(f"unknown-{error.kind}", f"Unknown {error.kind}", 404, str(error), fields)
        case InProgress():
            return problem("in-progress", "Being carried out", 409, str(error), headers=_SOON)
        case Conflict():
            return problem("conflict", "Does not fit the present state", 409, str(error))
        case TooMany():
            return problem("too-many", "Too many", 429, str(error), headers=_LATER)
        case Busy():
            return problem("busy", "Busy", 503, str(error), headers=_SOON)
        case Unavailable():
            return problem("unavailable", "Not at the moment", 503, str(error), headers=_LATER)
        case StorageFull():
            return problem("storage-full", "No space left", 507, f"{error} Nothing was stored.")
        case Damaged():
            return _unexpected(error, 500, "damaged", "What is stored is damaged, and is not served")
        case StorageFailed():
            return _unexpected(error, 503, "storage-failed", "The data folder cannot be read or written")
        case _:
            return _unexpected(error, 500, "internal-error", "An error of the service")


def _fields(error: InvalidInput) -> list[FieldError]:
    return [FieldError(field=field, message=message) for field, message in error.problems]


def _unexpected(error: Exception, status: int, slug: str, title: str) -> JSONResponse:
    """What the client cannot have caused: the log has the details under an id, the client gets the id."""
    id = uuid.uuid4().hex[:12]
    log.error("error %s: %s", id, error, exc_info=error)
    return problem(slug, title, status, f"The log of the service has the details under the id {id}.")


def _from_validation(errors: Sequence[Any]) -> JSONResponse:
    """What pydantic found, without its words for Python programmers."""
    if errors and errors[0]["type"] == "json_invalid":
        where = errors[0].get("ctx", {}).get("error", "")
        return problem("malformed-json", "Malformed JSON", 400, f"The body is not valid JSON: {where}.")
    if errors and errors[0]["type"] == "missing" and tuple(errors[0]["loc"]) == ("body",):
        return problem("malformed-json", "Malformed JSON", 400, "The body is empty; a JSON object is expected.")
    found = []
    for error in errors[:_MOST_ERRORS_SHOWN]:
        path = [str(part) for part in error["loc"]]
        if path and path[0] in ("body", "query", "path", "header"):
            path = path[1:]
        found.append(FieldError(field=".".join(_without_kinds(path)) or "body", message=_sentence(error)))
    more = len(errors) - len(found)
    detail = f"{found[0].field}: {found[0].message}" + (f" (and {len(errors) - 1} more)" if len(errors) > 1 else "")
    if more > 0:
        detail += f"; the first {len(found)} are listed"
    return problem("invalid-input", "Invalid input", 422, detail, found)


def _without_kinds(path: list[str]) -> list[str]:
    kinds = _KINDS.get(path[0], set()) if path else set()
    place = next((place for place, part in enumerate(path[1:], 1) if part not in kinds), len(path))
    return path[:1] + path[place:]


def _sentence(error: Any) -> str:
    """Pydantic's message, or a better one where its message says too little."""
    match error["type"]:
        case "extra_forbidden":
            return "This field is not known here."
        case "missing":
            return "This field is required."
        case "model_type" | "model_attributes_type" | "dict_type":
            return "A JSON object is expected."
        case "value_error":
            return f"{error['ctx']['error']}."
        case "finite_number":
            return "Only finite numbers are accepted, no NaN or infinity."
        case _:
            return str(error["msg"]) + "."


Handler = Callable[[Request, Exception], Awaitable[JSONResponse]]


def install(app: FastAPI) -> None:
    """Make every error of the service a problem."""

    async def from_engine(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, NablaError)
        return _from_engine(error)

    async def from_validation(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError | ValidationError)
        kind = request.headers.get("content-type", "")
        if not kind.startswith("application/json") and tuple(error.errors()[0]["loc"]) == ("body",):
            detail = f"The Content-Type is {kind or 'missing'}; JSON is expected, as application/json."
            return problem("unsupported-media-type", _UNSUPPORTED, 415, detail)
        return _from_validation(error.errors())

    async def from_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        phrase = _PHRASES.get(error.status_code) or HTTPStatus(error.status_code).phrase
        slug = phrase.lower().replace(" ", "-")
        headers = dict(error.headers) if error.headers else None
        detail = str(error.detail)
        if error.status_code == 404 and detail == phrase:
            detail = f"There is nothing at {request.url.path}; /docs lists what there is."
        return problem(slug, phrase, error.status_code, detail, headers=headers)

    async def from_nobody(request: Request, error: Exception) -> JSONResponse:
        """Nobody reads this answer."""
        log.warning("the client of %s %s went away before its body had arrived", request.method, request.url.path)
        return problem("incomplete", "Incomplete", 400, "The body did not arrive as a whole.")

    async def from_anything(request: Request, error: Exception) -> JSONResponse:
        return _unexpected(error, 500, "internal-error", "An error of the service")

    handlers: dict[type[Exception], Handler] = {
        NablaError: from_engine,
        RequestValidationError: from_validation,
        ValidationError: from_validation,
        HTTPException: from_http,
        ClientDisconnect: from_nobody,
        Exception: from_anything,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, _in_form_of_path(handler))


def _in_form_of_path(handler: Handler) -> Handler:
    """The Open Inference Protocol has a form of its own: a sentence."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        response = await handler(request, error)
        if not request.url.path.startswith(_INFERENCE):
            return response
        found = Problem.model_validate_json(bytes(response.body))
        fields = [f"{field.field}: {field.message}" for field in found.errors]
        later = {"Retry-After": response.headers["Retry-After"]} if "Retry-After" in response.headers else None
        return JSONResponse({"error": "; ".join(fields) or found.detail}, found.status, later)

    return handle


_MEANINGS = {
    400: "The body is not valid JSON.",
    404: "There is nothing of this id or name.",
    409: "The request does not fit the present state.",
    413: "The body, or what it asks for, is larger than this service takes.",
    415: "The body is of a kind that is not accepted here.",
    422: "A field is missing, unknown or out of range.",
    429: "As much waits already as this service takes.",
    500: "What is stored is damaged, or the service has an error; its log has the details.",
    503: "The service cannot do this at the moment.",
    507: "There is no space left on the disk of the data folder. Nothing was stored.",
}
_OF_A_BODY = (400, 413, 415)
_OF_A_CHANGE = (500, 503, 507)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How an operation's errors are documented."""
    content = {"application/problem+json": {"schema": in_one_piece(Problem)}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in statuses}


def document_errors(routes: Iterable[BaseRoute]) -> None:
    """Add what every operation may answer that has a body, or that changes something."""
    for route in routes:
        if not isinstance(route, APIRoute):
            continue
        if route.methods != {"GET"}:
            route.responses = {**problems(*_OF_A_CHANGE), **route.responses}
        if route.body_field is not None:
            route.responses = {**problems(*_OF_A_BODY), **route.responses}
        route.responses = dict(sorted(route.responses.items(), key=lambda item: int(item[0])))
