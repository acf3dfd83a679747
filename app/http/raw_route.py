"""Operations that are asked thousands of times a second."""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute, APIRouter
from starlette.routing import Route


class DirectRoute(APIRoute):
    """Documented as any other; but its function is called with the request and the parameters of the path, which are
    text and not looked at, and returns a Response. FastAPI's way to a function, to its arguments, and from what it
    returns to an answer takes longer than a small network."""

    def plain(self) -> Route:
        endpoint: Callable[..., Awaitable[Response]] = self.endpoint

        async def handle(request: Request) -> Response:
            return await endpoint(request, **request.path_params)

        return Route(self.path, handle, methods=[*(self.methods or ())], include_in_schema=False)


def put_first(app: FastAPI, routers: list[APIRouter]) -> None:
    """Let the direct routes of these be found before all others. Those stay, for the documentation."""
    app.router.routes[:0] = [
        route.plain() for router in routers for route in router.routes if isinstance(route, DirectRoute)
    ]
