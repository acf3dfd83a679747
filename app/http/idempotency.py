"""Requests that create something, carried out once however often they are sent with the same Idempotency-Key."""

import hashlib
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel

from nabla.app.dependencies import Here, Underway
from nabla.engine.storage.registry import Receipt, Registry

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="Any text of your own. A request that is repeated with the same key within 24 hours, because its "
        "answer was lost, gets that answer again, and nothing is created twice.",
    ),
]


class Once:
    """Carries out a request to create something, or finds the answer that it got before."""

    def __init__(self, key: str | None, path: str, registry: Registry, underway: Underway) -> None:
        self._key = key
        self._path = path
        self._registry = registry
        self._underway = underway

    def create(
        self,
        content: Callable[[], bytes],
        make: Callable[[Receipt | None], Any],
        view: Callable[[Any], BaseModel],
        location: Callable[[Any], str],
        status: Callable[[Any], int] = lambda record: 201,
    ) -> Response:
        """`content`: all that was sent, the same for the same request, asked for if there is a key; `make` creates a
        record and journals the receipt with it; `view`, `location` and `status` are what is answered of the record.

        Raises InvalidInput if the key was used for other content, InProgress while it is used by another request.
        """

        def render(record: Any) -> bytes:
            return f"{status(record)} {location(record)}\n{view(record).model_dump_json()}".encode()

        if self._key is None:
            return _answer(render(make(None)))
        fingerprint = hashlib.sha256(self._path.encode() + b"\0" + content()).hexdigest()
        with self._underway.only(self._key):
            before = self._registry.answer(self._key, fingerprint)
            if before is not None:
                return _answer(before, {"Idempotent-Replayed": "true"})
            receipt = Receipt(self._key, fingerprint, render)
            make(receipt)
            assert receipt.answer is not None
            return _answer(receipt.answer)


def _answer(rendered: bytes, headers: dict[str, str] | None = None) -> Response:
    start, _, body = rendered.partition(b"\n")
    status, _, location = start.decode().partition(" ")
    return Response(body, int(status), {"Location": location, **(headers or {})}, "application/json")


async def _once(request: Request, here: Here, key: Key = None) -> Once:
    return Once(key, request.url.path, here.registry, here.underway)


ToCreate = Annotated[Once, Depends(_once)]
