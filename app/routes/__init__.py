"""The operations, a file per resource."""

from typing import Any

from app.problems import Problem

_MEANINGS = {
    400: "The body is not valid JSON.",
    404: "There is nothing of this id or name.",
    409: "The request does not fit the present state.",
    413: "The body, or what it asks for, is larger than this service takes.",
    415: "The body is of a kind that is not accepted here.",
    422: "A field is missing, unknown or out of range.",
    429: "As much waits already as this service takes.",
    503: "The service cannot do this at the moment.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How an operation's errors are documented."""
    content = {"application/problem+json": {"schema": Problem.model_json_schema()}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in statuses}
