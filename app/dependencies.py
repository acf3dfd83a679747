"""FastAPI dependencies, and the path and query parameters that several routes share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, Path, Query, Request
from fastapi.openapi.models import Example
from pydantic import BeforeValidator, WithJsonSchema
from starlette.concurrency import run_in_threadpool

from nabla.app.http.idempotency import IdempotencyKeyHeader, IdempotentRequest
from nabla.app.schemas.common import VersionReference
from nabla.app.services import Services
from nabla.engine.data.dataset import Dataset
from nabla.engine.errors import NotFound
from nabla.engine.records.job import Job

MAX_INT64 = 2**63 - 1
"""Largest integer that the journal can hold."""

# The examples of the creating operations use this name, so that the examples in Swagger UI build on each other.
_EXAMPLE: dict[str, Example] = {"xor": {"value": "xor"}}

NetworkId = Annotated[str, Path(description="Id or name of the network.", openapi_examples=_EXAMPLE)]
DatasetId = Annotated[str, Path(description="Id or name of the dataset.", openapi_examples=_EXAMPLE)]
JobId = Annotated[str, Path(description="Id or name of the job.", openapi_examples=_EXAMPLE)]
Limit = Annotated[int, Query(ge=1, le=1000, description="Maximum number of items.")]
After = Annotated[str | None, Query(description="Id of the last item of the previous page.")]


def parse_version_ref(text: str) -> int | str:
    """Return a version number that fits the journal as an integer, and any other text as a tag."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(MAX_INT64)) else text


VersionId = Annotated[
    VersionReference,
    BeforeValidator(parse_version_ref),
    WithJsonSchema({"type": "string"}),  # Swagger UI sends path parameters as text
    Path(description="Number or tag of the version.", openapi_examples={"current": {"value": "current"}}),
]


# Coroutines although they await nothing: FastAPI would run plain functions in a thread, for every request.
async def _get_services(request: Request) -> Services:
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


ServicesDep = Annotated[Services, Depends(_get_services)]


async def resolve_job(job_id: JobId, services: ServicesDep) -> Job:
    """Return a job by id or name, from the journal in a thread if it is not in memory. Raises NotFound."""
    cached = services.registry.jobs.get_cached(job_id)
    return await run_in_threadpool(services.registry.jobs.resolve, job_id) if cached is None else cached


JobDep = Annotated[Job, Depends(resolve_job)]


async def _idempotent_request(
    request: Request, services: ServicesDep, key: IdempotencyKeyHeader = None
) -> IdempotentRequest:
    return IdempotentRequest(key, request.url.path, services.registry, services.in_flight_keys)


IdempotentDep = Annotated[IdempotentRequest, Depends(_idempotent_request)]


@contextmanager
def error_field(field: str) -> Iterator[None]:
    """Attach `field` to a NotFound raised in the block, so that the 404 names the offending field of the request."""
    try:
        yield
    except NotFound as error:
        error.field = field
        raise


def resolve_owned_datasets(references: Sequence[str], services: Services) -> tuple[Dataset, ...]:
    """Return the datasets of the field `owned_datasets`. Raises NotFound, and Conflict if one is not ready."""
    datasets = []
    for number, reference in enumerate(references):
        with error_field(f"owned_datasets.{number}"):
            datasets.append(services.datasets.resolve_ready(reference))
    return tuple(datasets)
