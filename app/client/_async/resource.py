"""Base class of the resources that a client returns, pagination and polling."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from nabla.app.client._async.http import AsyncConnection
from nabla.app.client.concurrency import async_sleep

if TYPE_CHECKING:
    from nabla.app.schemas.common import Page

_MIN_POLL_SECONDS, _MAX_POLL_SECONDS = 0.02, 1.0


class ResourceView(Protocol):
    """Representation of a resource in responses."""

    @property
    def id(self) -> str:
        """The id assigned by the service."""

    @property
    def name(self) -> str | None:
        """The name, if there is one."""


ViewT = TypeVar("ViewT", bound=ResourceView)


class AsyncResource(Generic[ViewT]):
    """A resource of the service.

    Attributes hold the state of the last response and cause no request; methods send requests. Two objects are equal
    if they have the same id.

    Attributes:
        view: The last representation received from the service.
    """

    view: ViewT
    _view_type: type[Any]
    _collection: str

    def __init__(self, connection: AsyncConnection, view: ViewT) -> None:
        self._connection = connection
        self.view = view

    @property
    def id(self) -> str:
        """The id of the resource."""
        return self.view.id

    @property
    def name(self) -> str | None:
        """The name of the resource, or None if it has none."""
        return self.view.name

    async def refresh(self) -> Self:
        """Fetch the current state.

        Raises:
            NotFound: The resource was deleted.
        """
        self.view = await self._connection.request(self._view_type, "GET", self._path)
        return self

    def __eq__(self, other: object) -> bool:
        """Return whether both are the same resource, regardless of the state last seen."""
        return isinstance(other, type(self)) and other.id == self.id

    def __hash__(self) -> int:
        """Return the hash of the id."""
        return hash(self.id)

    @property
    def _path(self) -> str:
        return f"{self._collection}/{self.id}"

    @property
    def _label(self) -> str:
        return f"{self.id} {self.name!r}" if self.name else self.id


async def paginate(connection: AsyncConnection, page: "type[Page[ViewT]]", path: str) -> AsyncIterator[ViewT]:
    """Iterate over a collection, newest first, fetching each page when it is reached."""
    query: dict[str, str] = {}
    while True:
        response = await connection.request(page, "GET", path, params=query)
        for view in response.data:
            yield view
        if not response.has_more:
            return
        query = {"after": response.data[-1].id}


async def poll_while(resource: AsyncResource[Any], *states: str) -> None:
    """Refresh a resource until it has left all of these states, at growing intervals."""
    interval = _MIN_POLL_SECONDS
    while resource.view.state in states:
        await async_sleep(interval)
        interval = min(2 * interval, _MAX_POLL_SECONDS)
        await resource.refresh()
