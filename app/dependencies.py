"""What every route works with, and the parameters that many of them share."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Path, Query, Request
from fastapi.openapi.models import Example
from pydantic import BeforeValidator, WithJsonSchema

from nabla.app.http.event_stream import Changes, Streams
from nabla.app.inference_v2.repository import Repository
from nabla.app.predictions.batching import Batching
from nabla.app.schemas.common import VersionReference
from nabla.app.settings import Settings
from nabla.engine.errors import InProgress, NotFound
from nabla.engine.services.arrow_predictions import Frames
from nabla.engine.services.batch_predictions import BatchPredictions
from nabla.engine.services.checkpoints import Checkpoints
from nabla.engine.services.dataset_analysis import Looks
from nabla.engine.services.datasets import Uploads
from nabla.engine.services.jobs import JobService
from nabla.engine.services.networks import Catalog, Exchange
from nabla.engine.storage.registry import Registry


class Underway:
    """Keys of requests that are being carried out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: set[str] = set()

    @contextmanager
    def only(self, key: str) -> Iterator[None]:
        """Raises InProgress if a request with this key is being carried out."""
        with self._lock:
            if key in self._keys:
                raise InProgress("A request with this Idempotency-Key is being carried out; repeat it in a moment.")
            self._keys.add(key)
        try:
            yield
        finally:
            with self._lock:
                self._keys.remove(key)


@dataclass(frozen=True)
class Context:
    settings: Settings
    registry: Registry
    catalog: Catalog
    uploads: Uploads
    looks: Looks
    exchange: Exchange
    batches: BatchPredictions
    frames: Frames
    jobs: JobService
    checkpoints: Checkpoints
    changes: Changes
    streams: Streams
    underway: Underway
    batching: Batching
    repository: Repository
    waiting: CapacityLimiter
    """For requests that wait for reading: they do not take the threads of the others."""
    at_frames: CapacityLimiter
    """For those that wait for Arrow tables, likewise."""

    def end_streams(self) -> None:
        """Wake everybody who waits, for the last time: the service ends."""
        self.changes.close()
        self.streams.close()
        # In a thread: it waits for what is being read to be let go of, and this is called within a signal.
        threading.Thread(target=self._let_go_of_files, name="ending").start()

    def _let_go_of_files(self) -> None:
        self.exchange.end()
        self.frames.close()
        self.uploads.end()


@contextmanager
def spoken_of_in(field: str) -> Iterator[None]:
    """What is not found there is spoken of in this field of the request."""
    try:
        yield
    except NotFound as problem:
        problem.field = field
        raise


def context_of(request: Request) -> Context:
    context = request.app.state.context
    assert isinstance(context, Context)
    return context


# As all that only look into memory a coroutine: a function would have to wait for a thread, at every request.
async def _context(request: Request) -> Context:
    return context_of(request)


Here = Annotated[Context, Depends(_context)]

# What the examples of the other operations have made, so that Swagger UI can go on with it.
_EXAMPLE: dict[str, Example] = {"xor": {"value": "xor"}}

NetworkId = Annotated[str, Path(description="Id or name of the network.", openapi_examples=_EXAMPLE)]
DatasetId = Annotated[str, Path(description="Id or name of the dataset.", openapi_examples=_EXAMPLE)]
JobId = Annotated[str, Path(description="Id or name of the job.", openapi_examples=_EXAMPLE)]
# Of a whole number in the journal.
LARGEST = 2**63 - 1


def number_in(text: str) -> int | str:
    """Digits are a number, as long as they can be one."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST)) else text


VersionId = Annotated[
    VersionReference,
    BeforeValidator(number_in),
    WithJsonSchema({"type": "string"}),  # in a path it is text, which Swagger UI has to let pass
    Path(description="Number or tag of the version.", openapi_examples={"current": {"value": "current"}}),
]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
After = Annotated[str | None, Query(description="The id after which to go on: the last of the page before.")]
