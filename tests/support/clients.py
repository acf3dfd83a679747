"""One interface to both clients, so that the same test runs with each."""

import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from nabla.app.client import AsyncClient, Client
from nabla.app.client._async.resource import AsyncResource

CLIENT_KINDS = ("sync", "async")


@contextmanager
def open_client(kind: str, url: str, **options: Any) -> Iterator[Any]:
    """Open a synchronous client, or an asynchronous one behind a synchronous interface."""
    if kind == "sync":
        with Client(url, **options) as client:
            yield client
        return
    with start_blocking_portal() as portal:
        async_client = portal.call(lambda: _create_async_client(url, options))
        try:
            yield SyncAdapter(portal, async_client)
        finally:
            portal.call(async_client.close)


async def _create_async_client(url: str, options: dict[str, Any]) -> AsyncClient:
    return AsyncClient(url, **options)


class SyncAdapter:
    """Synchronous interface to an asynchronous client or resource, whose event loop runs in a thread."""

    def __init__(self, portal: BlockingPortal, wrapped: Any) -> None:
        self.portal = portal
        self.wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.wrapped, name)
        if not inspect.isroutine(attribute):
            return attribute

        def call(*args: Any, **options: Any) -> Any:
            result = attribute(*map(unwrap, args), **{name: unwrap(value) for name, value in options.items()})
            if inspect.isasyncgen(result):
                return self._iterate(result)
            return self._wrap(self.portal.call(_await, result)) if inspect.iscoroutine(result) else result

        return call

    def __eq__(self, other: object) -> bool:
        return bool(self.wrapped == unwrap(other))

    def __hash__(self) -> int:
        return hash(self.wrapped)

    def __repr__(self) -> str:
        return repr(self.wrapped)

    def _iterate(self, results: AsyncIterator[Any]) -> Iterator[Any]:
        while (result := self.portal.call(_next, results)) is not None:
            yield self._wrap(result)

    def _wrap(self, result: Any) -> Any:
        if isinstance(result, list):
            return [self._wrap(item) for item in result]
        return SyncAdapter(self.portal, result) if isinstance(result, AsyncResource) else result


def unwrap(value: Any) -> Any:
    """Return the asynchronous object behind an adapter; any other value as it is."""
    return value.wrapped if isinstance(value, SyncAdapter) else value


async def _await(result: Any) -> Any:
    return await result


async def _next(results: AsyncIterator[Any]) -> Any:
    return await anext(results, None)
