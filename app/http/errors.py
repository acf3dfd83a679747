"""Errors as RFC 9457 problem details, and their documentation in OpenAPI."""

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

from nabla.app.schemas.common import inline_schema
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

STATUS_DESCRIPTIONS = {
    400: "The body is not valid JSON.",
    403: "The request comes from a page of another origin.",
    404: "No resource has this id or name.",
    409: "The request conflicts with the current state.",
    413: "The body or the requested result exceeds a limit of the service.",
    415: "The media type of the body is not accepted.",
    421: "The service does not have this name; see NABLA_ALLOWED_HOSTS.",
    422: "A field is missing, unknown or out of range.",
    429: "A queue is full; retry later.",
    500: "Stored data is damaged, or an internal error occurred; see the service log.",
    503: "The service is busy or cannot access its data directory; retry later.",
    507: "The disk of the data directory is full. Nothing was stored.",
}
_BODY_STATUSES = (400, 413, 415)
_WRITE_STATUSES = (403, 500, 503, 507)

_MAX_FIELD_ERRORS = 20
# Tags of unions, which pydantic inserts into the location of an error behind the name of the field.
_UNION_TAGS: dict[str, set[str]] = {
    "optimizer": set(OPTIMIZERS),
    "schedule": {"rule", "stages", *SCHEDULES},
    "class_weights": {"name", "weights"},
    "version": {"number", "tag"},
    "model_version": {"number", "tag"},
}
_RETRY_LATER, _RETRY_SOON = {"Retry-After": "10"}, {"Retry-After": "1"}
_UNSUPPORTED_MEDIA_TYPE = "Unsupported media type"
# Phrases that differ between Python versions: problem types are derived from them, and have to be stable.
_PHRASES = {413: "Too large", 415: _UNSUPPORTED_MEDIA_TYPE}
_INFERENCE_PREFIX = "/v2"


class FieldError(BaseModel):
    """An invalid field, with what is wrong and what is accepted."""

    field: str = Field(examples=["layers.1.activation"])
    message: str


class Problem(BaseModel):
    """An error as a problem detail of RFC 9457 (application/problem+json)."""

    type: str = Field(description="Stable identifier of the kind of error.", examples=["/problems/unknown-network"])
    title: str
    status: int
    detail: str
    errors: list[FieldError] = []


def problem_response(
    slug: str,
    title: str,
    status: int,
    detail: str,
    errors: Sequence[FieldError] = (),
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """Return a problem of the type `/problems/SLUG`."""
    body = Problem(type=f"/problems/{slug}", title=title, status=status, detail=detail, errors=list(errors))
    return JSONResponse(body.model_dump(), status, headers, media_type="application/problem+json")


def _from_engine_error(error: NablaError) -> JSONResponse:
    # Subclasses come before their base classes.
    match error:
        case TooLarge():
            return problem_response("too-large", "Too large", 413, str(error), _field_errors(error))
        case InvalidInput():
            return problem_response("invalid-input", "Invalid input", 422, str(error), _field_errors(error))
        case NotFound():
            fields = [FieldError(field=error.field, message=str(error))] if error.field else []
            return problem_response(f"unknown-{error.kind}", f"Unknown {error.kind}", 404, str(error), fields)
        case InProgress():
            return problem_response("in-progress", "Request in progress", 409, str(error), headers=_RETRY_SOON)
        case Conflict():
            return problem_response("conflict", "Conflict with the current state", 409, str(error))
        case TooMany():
            return problem_response("too-many", "Too many", 429, str(error), headers=_RETRY_LATER)
        case Busy():
            return problem_response("busy", "Busy", 503, str(error), headers=_RETRY_SOON)
        case Unavailable():
            return problem_response("unavailable", "Retry later", 503, str(error), headers=_RETRY_LATER)
        case StorageFull():
            return problem_response("storage-full", "Disk full", 507, f"{error} Nothing was stored.")
        case Damaged():
            return _log_and_respond(error, 500, "damaged", "Stored data is damaged")
        case StorageFailed():
            return _log_and_respond(error, 503, "storage-failed", "Cannot access the data directory")
        case _:
            return _internal_error(error)


def _field_errors(error: InvalidInput) -> list[FieldError]:
    return [FieldError(field=field, message=message) for field, message in error.problems]


def _internal_error(error: Exception) -> JSONResponse:
    return _log_and_respond(error, 500, "internal-error", "Internal error")


def _log_and_respond(error: Exception, status: int, slug: str, title: str) -> JSONResponse:
    """Log an error that the client cannot have caused, and return a problem that refers to the log entry."""
    error_id = uuid.uuid4().hex[:12]
    log.error("error %s: %s", error_id, error, exc_info=error)
    return problem_response(slug, title, status, f"See error {error_id} in the log of the service.")


def _from_validation_errors(errors: Sequence[Any]) -> JSONResponse:
    """Convert validation errors of pydantic, replacing messages that are worded for Python programmers."""
    if errors and errors[0]["type"] == "json_invalid":
        reason = errors[0].get("ctx", {}).get("error", "")
        return problem_response("malformed-json", "Malformed JSON", 400, f"The body is not valid JSON: {reason}.")
    if errors and errors[0]["type"] == "missing" and tuple(errors[0]["loc"]) == ("body",):
        detail = "The body is empty; a JSON object is expected."
        return problem_response("malformed-json", "Malformed JSON", 400, detail)
    listed = [
        FieldError(field=_field_path(error["loc"]), message=_validation_message(error))
        for error in errors[:_MAX_FIELD_ERRORS]
    ]
    detail = f"{listed[0].field}: {listed[0].message}"
    if len(errors) > 1:
        detail += f" (and {len(errors) - 1} more)"
    if len(errors) > len(listed):
        detail += f"; the first {len(listed)} are listed"
    return problem_response("invalid-input", "Invalid input", 422, detail, listed)


def _field_path(location: Sequence[Any]) -> str:
    path = [str(part) for part in location]
    if path and path[0] in ("body", "query", "path", "header"):
        path = path[1:]
    tags = _UNION_TAGS.get(path[0], set()) if path else set()
    end_of_tags = next((index for index, part in enumerate(path[1:], 1) if part not in tags), len(path))
    return ".".join(path[:1] + path[end_of_tags:]) or "body"


def _validation_message(error: Any) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "Unknown field."
        case "missing":
            return "This field is required."
        case "model_type" | "model_attributes_type" | "dict_type":
            return "A JSON object is expected."
        case "value_error":
            return f"{error['ctx']['error']}."
        case "finite_number":
            return "Only finite numbers are accepted, not NaN or infinity."
        case _:
            return f"{error['msg']}."


Handler = Callable[[Request, Exception], Awaitable[JSONResponse]]


def install_error_handlers(app: FastAPI) -> None:
    """Respond to every error of the application with a problem detail."""

    async def handle_engine_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, NablaError)
        return _from_engine_error(error)

    async def handle_validation_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError | ValidationError)
        content_type = request.headers.get("content-type", "")
        if not content_type.startswith("application/json") and tuple(error.errors()[0]["loc"]) == ("body",):
            detail = f"The Content-Type is {content_type or 'missing'}; application/json is expected."
            return problem_response("unsupported-media-type", _UNSUPPORTED_MEDIA_TYPE, 415, detail)
        return _from_validation_errors(error.errors())

    async def handle_http_exception(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        phrase = _PHRASES.get(error.status_code) or HTTPStatus(error.status_code).phrase
        slug = phrase.lower().replace(" ", "-")
        headers = dict(error.headers) if error.headers else None
        detail = str(error.detail)
        if error.status_code == 404 and detail == phrase:
            detail = f"Nothing exists at {request.url.path}; /docs lists all paths."
        return problem_response(slug, phrase, error.status_code, detail, headers=headers)

    async def handle_disconnect(request: Request, error: Exception) -> JSONResponse:
        # The client is gone, so this response only ends the request.
        log.warning("client disconnected during the body of %s %s", request.method, request.url.path)
        return problem_response("incomplete", "Incomplete", 400, "The body is incomplete.")

    async def handle_any_error(request: Request, error: Exception) -> JSONResponse:
        return _internal_error(error)

    handlers: dict[type[Exception], Handler] = {
        NablaError: handle_engine_error,
        RequestValidationError: handle_validation_error,
        ValidationError: handle_validation_error,
        HTTPException: handle_http_exception,
        ClientDisconnect: handle_disconnect,
        Exception: handle_any_error,
    }
    for error_type, handler in handlers.items():
        app.add_exception_handler(error_type, _adapt_to_protocol(handler))


def _adapt_to_protocol(handler: Handler) -> Handler:
    """Return a handler that responds in the format of the Open Inference Protocol below its prefix."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        return format_for_protocol(await handler(request, error), request.url.path)

    return handle


def format_for_protocol(response: JSONResponse, path: str) -> JSONResponse:
    """Return a problem in the format of the protocol that the path belongs to."""
    if not path.startswith(_INFERENCE_PREFIX):
        return response
    problem = Problem.model_validate_json(bytes(response.body))
    messages = [f"{field.field}: {field.message}" for field in problem.errors]
    headers = {"Retry-After": response.headers["Retry-After"]} if "Retry-After" in response.headers else None
    return JSONResponse({"error": "; ".join(messages) or problem.detail}, problem.status, headers)


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI documentation of an operation's errors."""
    content = {"application/problem+json": {"schema": inline_schema(Problem)}}
    return {status: {"description": STATUS_DESCRIPTIONS[status], "content": content} for status in statuses}


def document_errors(routes: Iterable[BaseRoute]) -> None:
    """Document the errors that every operation, every one with a body, and every one that writes, can return."""
    for route in routes:
        if not isinstance(route, APIRoute):
            continue
        route.responses = {**error_responses(421), **route.responses}
        if route.methods != {"GET"}:
            route.responses = {**error_responses(*_WRITE_STATUSES), **route.responses}
        if route.body_field is not None:
            route.responses = {**error_responses(*_BODY_STATUSES), **route.responses}
        route.responses = dict(sorted(route.responses.items(), key=lambda item: int(item[0])))
