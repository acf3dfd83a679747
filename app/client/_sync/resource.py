# Generated from resource.py in _async by scripts/generate_sync_client.py. Change that one.
"""What a program holds of something that the service has."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from nabla.app.client._sync.http import Connection

if TYPE_CHECKING:
    from nabla.app.schemas.common import Page


class Described(Protocol):
    """What the service says of something."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str | None: ...


Of = TypeVar("Of", bound=Described)


class Handle(Generic[Of]):
    """`view` is what the service said of it last; nothing is asked but by methods."""

    view: Of

    def __init__(self, connection: Connection, view: Of) -> None:
        self._connection = connection
        self.view = view

    @property
    def id(self) -> str:
        return self.view.id

    @property
    def name(self) -> str | None:
        return self.view.name

    def __eq__(self, other: object) -> bool:
        """The same thing, however old what is known of it."""
        return isinstance(other, type(self)) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def _called(self) -> str:
        return f"{self.id} {self.name!r}" if self.name else self.id


def pages(connection: Connection, page: "type[Page[Of]]", path: str) -> Iterator[Of]:
    """All of a list, newest first, asked for as it is gone through."""
    query: dict[str, str] = {}
    while True:
        found = connection.ask(page, "GET", path, params=query)
        yield from found.data
        if not found.has_more:
            return
        query = {"after": found.data[-1].id}
