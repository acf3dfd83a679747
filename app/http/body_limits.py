"""Request bodies, and answers beside them: how large they may be, and how much of them may be in memory."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nabla.engine.errors import Busy

Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True)
class _Limit:
    """`kept`: such bodies are in memory as a whole."""

    bytes: int
    what: str
    kept: bool = True


class LimitBody:
    """Refuses a body as soon as it is longer than what the service takes of its kind, and what would take too much
    memory together. A body is JSON, or nothing that is wanted, unless its operation says otherwise: see `streamed` and
    `tensors`."""

    def __init__(self, app: ASGIApp, *, json_bytes: int, tensor_bytes: int, upload_bytes: int, all_bytes: int) -> None:
        """`all_bytes`: of all that are in memory."""
        self._app = app
        self._json = _Limit(json_bytes, "a JSON body; larger data go in as a file")
        self.tensors = _Limit(tensor_bytes, "a request with binary tensors")
        self.upload = _Limit(upload_bytes, "an upload", kept=False)
        self._all_bytes = all_bytes
        self._kept = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        taken = scope[_TAKEN] = _Taken(self, self._json)

        async def counted() -> Message:
            message = await receive()
            taken.count(len(message.get("body", b"")))
            return message

        try:
            await self._app(scope, counted, send)
        finally:
            self._kept -= taken.kept

    def keep(self, size: int) -> None:
        """Raises Busy if it is too much."""
        self._kept += size
        if self._kept > self._all_bytes:
            raise Busy(f"Requests take {self._all_bytes} bytes of memory already, as many as they may.")


_TAKEN = "nabla.taken"


class _Taken:
    """What one request takes, until it is answered."""

    def __init__(self, limits: LimitBody, limit: _Limit) -> None:
        self.limits, self.limit = limits, limit
        self.received = self.kept = 0

    def count(self, size: int) -> None:
        """Of the body. Raises HTTPException, Busy."""
        self.received += size
        if self.received > self.limit.bytes:
            raise HTTPException(413, f"At most {self.limit.bytes} bytes are accepted in {self.limit.what}.")
        if self.limit.kept:
            self.keep(size)

    def keep(self, size: int) -> None:
        """Raises Busy."""
        self.kept += size
        self.limits.keep(size)


def _taken_by(request: Request) -> _Taken:
    taken: _Taken = request.scope[_TAKEN]
    return taken


def streamed(request: Request) -> AsyncIterator[bytes]:
    """The body as it arrives, to go to disk or through a network: as long as an upload may be."""
    taken = _taken_by(request)
    taken.limit = taken.limits.upload
    return request.stream()


async def tensors(request: Request) -> bytes:
    """The body, which may be as long as one with binary tensors."""
    taken = _taken_by(request)
    taken.limit = taken.limits.tensors
    return await request.body()


def keep(request: Request, size: int) -> None:
    """Count what an answer takes until it is sent. Raises Busy if that is too much beside all others."""
    _taken_by(request).keep(size)


async def parse(request: Request, model: type[Body]) -> Body:
    """The request's JSON body as `model`, parsed in a thread. Raises pydantic's ValidationError."""
    body = await request.body()
    return await run_in_threadpool(model.model_validate_json, body)
