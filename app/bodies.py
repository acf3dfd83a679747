"""Request bodies: how large they may be, and large JSON checked away from the event loop."""

from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.errors import Busy

Body = TypeVar("Body", bound=BaseModel)

_IN_JSON = (b"", b"application/json")


@dataclass(frozen=True)
class _Limit:
    """`kept`: such bodies are in memory as a whole."""

    bytes: int
    what: str
    kept: bool = True


class LimitBody:
    """Refuses a body as soon as it is longer than what the service takes for its kind, and bodies that would take too
    much memory together."""

    def __init__(self, app: ASGIApp, *, json_bytes: int, tensor_bytes: int, upload_bytes: int, all_bytes: int) -> None:
        """`all_bytes`: of all that are in memory."""
        self._app = app
        self._json = _Limit(json_bytes, "a JSON body; larger data go in as a file")
        self._tensors = _Limit(tensor_bytes, "a request with binary tensors")
        self._upload = _Limit(upload_bytes, "an upload", kept=False)
        self._all_bytes = all_bytes
        self._kept = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit(scope)
        received = kept = 0

        async def counted() -> Message:
            nonlocal received, kept
            message = await receive()
            size = len(message.get("body", b""))
            received += size
            if received > limit.bytes:
                raise HTTPException(413, f"At most {limit.bytes} bytes are accepted in {limit.what}.")
            if limit.kept:
                kept += size
                self._kept += size
                if self._kept > self._all_bytes:
                    raise Busy(f"Bodies of requests take {self._all_bytes} bytes already, as many as they may.")
            return message

        try:
            await self._app(scope, counted, send)
        finally:
            self._kept -= kept

    def _limit(self, scope: Scope) -> _Limit:
        path = scope["path"]
        kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
        if kind.partition(b";")[0].strip().lower() in _IN_JSON:
            return self._json
        if path.startswith("/v1/datasets") or path == "/v1/networks" or path.endswith("/predictions"):
            return self._upload  # to disk, or through the network, as it arrives
        return self._tensors if path.startswith("/v2/") else self._json


async def parse(request: Request, model: type[Body]) -> Body:
    """The request's JSON body as `model`, parsed in a thread. Raises pydantic's ValidationError."""
    body = await request.body()
    return await run_in_threadpool(model.model_validate_json, body)
