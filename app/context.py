"""What every route works with, and the parameters that many of them share."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Query, Request
from fastapi.openapi.models import Example

from app.live import Changes
from app.settings import Settings
from engine.jobs.catalog import Catalog
from engine.jobs.registry import Registry
from engine.jobs.service import JobService


@dataclass(frozen=True)
class Context:
    settings: Settings
    registry: Registry
    catalog: Catalog
    jobs: JobService
    changes: Changes


def _context(request: Request) -> Context:
    context = request.app.state.context
    assert isinstance(context, Context)
    return context


Here = Annotated[Context, Depends(_context)]

# What the examples of the other operations have made, so that Swagger UI can go on with it.
_EXAMPLE: dict[str, Example] = {"xor": {"value": "xor"}}

NetworkId = Annotated[str, Path(description="Id or name of the network.", openapi_examples=_EXAMPLE)]
DatasetId = Annotated[str, Path(description="Id or name of the dataset.", openapi_examples=_EXAMPLE)]
JobId = Annotated[str, Path(description="Id or name of the job.", openapi_examples=_EXAMPLE)]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
After = Annotated[str | None, Query(description="The id after which to go on: the last of the page before.")]
