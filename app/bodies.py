"""Request bodies: how large they may be, and large JSON checked away from the event loop."""

from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Where bodies may be files: below the first, and at the second itself.
_DATASETS, _NETWORKS = "/v1/datasets", "/v1/networks"

Body = TypeVar("Body", bound=BaseModel)


class LimitBody:
    """Refuses a body as soon as it is longer than what the service takes for its kind."""

    def __init__(self, app: ASGIApp, *, json_bytes: int, upload_bytes: int) -> None:
        self._app = app
        self._json_bytes = json_bytes
        self._upload_bytes = upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        may_be_file = scope["path"].startswith(_DATASETS) or scope["path"] == _NETWORKS
        upload = may_be_file and kind not in (b"", b"application/json")
        limit = self._upload_bytes if upload else self._json_bytes
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                what = "an upload" if upload else "a JSON body; larger data go in as a file"
                raise HTTPException(413, f"At most {limit} bytes are accepted in {what}.")
            return message

        await self._app(scope, counted, send)


async def parse(request: Request, model: type[Body]) -> Body:
    """The request's JSON body as `model`, parsed in a thread. Raises pydantic's ValidationError."""
    body = await request.body()
    return await run_in_threadpool(model.model_validate_json, body)
