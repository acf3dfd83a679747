"""Routes without FastAPI's parsing and serialization, for operations that are called thousands of times a second."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute, APIRouter
from starlette.routing import Route

Endpoint = TypeVar("Endpoint", bound=Callable[..., Awaitable[Response]])


def raw_post(router: APIRouter, path: str, **options: Any) -> Callable[[Endpoint], Endpoint]:
    """Register a POST operation as a raw route; `options` are those of `APIRouter.post`."""

    def register(endpoint: Endpoint) -> Endpoint:
        router.add_api_route(path, endpoint, methods=["POST"], route_class_override=RawRoute, **options)
        return endpoint

    return register


class RawRoute(APIRoute):
    """Route whose endpoint gets the request, the services and the path parameters as text, and returns a Response.

    FastAPI documents it like any other route. Its own handling of parameters and responses takes longer than the
    prediction of a small network.
    """

    def to_starlette_route(self) -> Route:
        """Return the route that serves the requests."""
        endpoint: Callable[..., Awaitable[Response]] = self.endpoint

        async def handle(request: Request) -> Response:
            return await endpoint(request, services=request.app.state.services, **request.path_params)

        return Route(self.path, handle, methods=[*(self.methods or ())], include_in_schema=False)


def prioritise_raw_routes(app: FastAPI, routers: list[APIRouter]) -> None:
    """Put the raw routes of the routers before all others, which remain for the documentation."""
    app.router.routes[:0] = [
        route.to_starlette_route() for router in routers for route in router.routes if isinstance(route, RawRoute)
    ]
