"""Both clients behind one face: what a test says of one is said of the other."""

import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from nabla.app.client import AsyncClient, Client
from nabla.app.client._async.resource import AsyncHandle

BOTH = ("sync", "async")


@contextmanager
def client_of(kind: str, url: str, **options: Any) -> Iterator[Any]:
    if kind == "sync":
        with Client(url, **options) as client:
            yield client
        return
    with start_blocking_portal() as portal:
        made = portal.call(lambda: _made(url, options))
        try:
            yield Driven(portal, made)
        finally:
            portal.call(made.close)


async def _made(url: str, options: dict[str, Any]) -> AsyncClient:
    return AsyncClient(url, **options)


class Driven:
    """An asynchronous client, or what it has given out, in an event loop of its own."""

    def __init__(self, portal: BlockingPortal, driven: Any) -> None:
        self.portal = portal
        self.driven = driven

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.driven, name)
        if not inspect.isroutine(found):
            return found

        def call(*args: Any, **options: Any) -> Any:
            result = found(*(bare(one) for one in args), **{name: bare(one) for name, one in options.items()})
            if inspect.isasyncgen(result):
                return self._each(result)
            return self._given(self.portal.call(_awaited, result)) if inspect.iscoroutine(result) else result

        return call

    def __eq__(self, other: object) -> bool:
        return bool(self.driven == bare(other))

    def __hash__(self) -> int:
        return hash(self.driven)

    def __repr__(self) -> str:
        return repr(self.driven)

    def _each(self, results: AsyncIterator[Any]) -> Iterator[Any]:
        while (result := self.portal.call(_next, results)) is not None:
            yield self._given(result)

    def _given(self, result: Any) -> Any:
        if isinstance(result, list):
            return [self._given(one) for one in result]
        return Driven(self.portal, result) if isinstance(result, AsyncHandle) else result


def bare(value: Any) -> Any:
    return value.driven if isinstance(value, Driven) else value


async def _awaited(result: Any) -> Any:
    return await result


async def _next(results: AsyncIterator[Any]) -> Any:
    return await anext(results, None)
