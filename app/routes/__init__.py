"""The operations, a file per resource."""

from collections.abc import Iterable
from typing import Any

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from app.problems import Problem
from app.schemas.base import in_one_piece

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
