"""The FastAPI application: `create_app(settings)`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from nabla.app import __version__, dashboard
from nabla.app.api import datasets, inference_v2, jobs, networks, predictions, system
from nabla.app.http import errors
from nabla.app.http.errors import document_errors
from nabla.app.http.middleware import BodyLimitMiddleware
from nabla.app.http.raw_route import prioritise_raw_routes
from nabla.app.services import Services, open_engine
from nabla.app.settings import Settings

# In this order the OpenAPI examples run from top to bottom.
_V1_ROUTERS = (
    networks.router,
    datasets.router,
    jobs.router,
    predictions.router,
    system.router,
)
# The errors of the Open Inference Protocol have a format of their own.
_V2_ROUTERS = (inference_v2.router,)

_DESCRIPTION = """
Train fully connected neural networks over HTTP: create a network, create a dataset, train, watch the cost (loss),
predict, evaluate. The examples below build on each other and run as they stand, from top to bottom.

Wherever an id is accepted, so is a name, which stands for the newest resource of that name. Wherever a version of a
network is accepted, so is a tag, such as `production`; `current` stands for the version that predicts.
"""


def create_app(settings: Settings) -> FastAPI:
    """Return the application over the data directory of the settings.

    The directory is opened and recovered here, before the first request, and closed when the application shuts down.

    Raises:
        StorageFailed: The directory cannot be used, or another service uses it.
    """
    engine = open_engine(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services = Services.connect(settings, engine, asyncio.get_running_loop())
        app.state.services = services
        services.start()
        try:
            yield
        finally:
            services.close_streams()
            services.batching.close()
            await asyncio.to_thread(services.close, settings.shutdown_timeout)

    app = FastAPIOffline(
        title="Nabla",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        swagger_ui_parameters={"tryItOutEnabled": True, "displayRequestDuration": True},
    )
    for router in _V1_ROUTERS:
        document_errors(router.routes)
    routers = [*_V1_ROUTERS, *_V2_ROUTERS]
    for router in routers:
        app.include_router(router)
    prioritise_raw_routes(app, routers)
    app.include_router(dashboard.router)
    dashboard.mount_guide(app)
    dashboard.protect_swagger_ui(app)
    errors.install_error_handlers(app)
    app.add_middleware(
        BodyLimitMiddleware,
        max_json_bytes=settings.max_json_bytes,
        max_tensor_bytes=settings.max_tensor_bytes,
        max_upload_bytes=settings.max_upload_bytes,
        max_inflight_bytes=settings.max_inflight_bytes,
    )
    return app
