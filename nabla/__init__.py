"""Train and query fully connected neural networks: the HTTP service, its engine, and a typed client."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nabla.app.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client"]


def __getattr__(name: str) -> Any:
    # Lazy, so that worker processes, which import nabla.engine, load no HTTP client.
    if name in __all__:
        from nabla.app import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
