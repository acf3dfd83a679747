"""create_app(settings): assembles, nothing else."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from anyio import CapacityLimiter
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app import __version__, problems
from app.bodies import LimitBody
from app.context import Context, Underway
from app.dashboard import routes as dashboard
from app.direct import put_first
from app.inference.repository import Repository
from app.live import Changes
from app.predictions.batching import Batching
from app.routes import batches as batch_routes
from app.routes import checkpoints as checkpoint_routes
from app.routes import (
    datasets,
    devices,
    document_errors,
    evaluations,
    events,
    health,
    imports,
    inference,
    jobs,
    live_predictions,
    models,
    networks,
    predictions,
    profiles,
    tags,
    versions,
)
from app.routes import uploads as upload_routes
from app.settings import Settings
from app.streams import Streams
from engine.jobs.batches import BatchPredictions
from engine.jobs.catalog import Catalog
from engine.jobs.checkpoints import Checkpoints
from engine.jobs.children import Child, Unreadable
from engine.jobs.exchange import Exchange
from engine.jobs.executor import Slot
from engine.jobs.folder import DataFolder
from engine.jobs.frames import Frames
from engine.jobs.job import Job
from engine.jobs.journal import Entry, Journal
from engine.jobs.looks import Looks
from engine.jobs.orders import Limits
from engine.jobs.registry import Registry
from engine.jobs.service import JobService
from engine.jobs.uploads import Uploads
from engine.nn.cuda.discovery import Found, find
from engine.training.compiled import compile_predictions

# In the order of the story that their examples tell.
_ROUTES = (
    imports,
    networks,
    versions,
    tags,
    datasets,
    upload_routes,
    profiles,
    jobs,
    events,
    checkpoint_routes,
    predictions,
    live_predictions,
    batch_routes,
    evaluations,
    devices,
    health,
)
# The Open Inference Protocol, whose errors have a form of their own.
_PROTOCOL = (models, inference)

_DESCRIPTION = """
Train fully connected neural networks over HTTP. In order: create a network, create a dataset, train, watch the cost
history, predict, evaluate. The examples below are one story and run as they stand, from top to bottom.

Wherever an id is asked for, a name may stand; it means the newest one that has it. Wherever a version of a network is
asked for, a tag may stand, such as `production`; `current` means the one that predicts.
"""


def create_app(settings: Settings) -> FastAPI:
    """The service over the data folder of the settings.

    The folder is opened and everything in it recovered at once, before there is anything to answer; it is closed when
    the app has ended. Raises StorageFailed if it cannot be used.
    """
    folder = DataFolder(settings.data_dir)
    journal = Journal(folder.journal)
    registry = Registry(journal)
    catalog = Catalog(registry, folder, settings.max_parameters)
    catalog.sweep()
    found = find() if settings.gpus == "auto" else Found(missing="This service was told to use none, by NABLA_GPUS")
    slots = [Slot(f"cpu-{number}", settings.cores_per_slot) for number in range(settings.cpu_slots)]
    slots += [Slot(f"cuda-{gpu.index}", 1, gpu.index) for gpu in found.gpus]
    limits = Limits(
        settings.max_queued_jobs, settings.job_bytes, settings.slot_bytes(len(slots)), settings.max_data_bytes
    )
    service = JobService(registry, folder, slots, found, limits, settings.hang_seconds)
    service.recover()
    # Who looks at a dataset does not wait for files, nor do files wait for looks, nor networks for either, nor
    # predictions for any of them.
    reader, looker, exchanger = (
        Child("engine.jobs.reader", settings.reader_bytes, settings.hang_seconds, Unreadable) for _ in range(3)
    )
    framer = Child("engine.jobs.reader", settings.reader_bytes, settings.hang_seconds)
    predictor = Child("engine.jobs.predictor", settings.predictor_bytes, settings.hang_seconds)
    uploads = Uploads(registry, folder, reader, settings.max_uploads, settings.max_open_uploads)
    looks = Looks(registry, folder, looker)
    exchange = Exchange(registry, folder, exchanger, settings.max_parameters)
    batches = BatchPredictions(registry, folder, catalog, predictor, settings.max_batch_predictions)
    frames = Frames(folder, framer, settings.max_upload_bytes, settings.max_waiting_predictions)
    last_event = registry.last_event()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        changes, streams = Changes(loop), Streams(registry, loop, last_event)

        def announce(job: Job, entries: Sequence[Entry]) -> None:
            changes.announce(job)
            streams.announce(entries)

        registry.changed, registry.reopened = announce, streams.start_anew
        checkpoints = Checkpoints(registry, folder)
        app.state.context = Context(
            settings,
            registry,
            catalog,
            uploads,
            looks,
            exchange,
            batches,
            frames,
            service,
            checkpoints,
            changes,
            streams,
            Underway(),
            Batching(settings.max_waiting_predictions, settings.max_waiting_bytes),
            Repository(registry),
            CapacityLimiter(settings.max_uploads),
            CapacityLimiter(settings.max_uploads),
        )
        service.start()
        uploads.recover()
        threading.Thread(target=_compile_when_ready, args=(service, batches), daemon=True).start()
        try:
            yield
        finally:
            app.state.context.end_streams()
            app.state.context.batching.end()
            await asyncio.to_thread(looks.end)
            await asyncio.to_thread(exchange.end)
            await asyncio.to_thread(frames.close)
            await asyncio.to_thread(batches.end)
            await asyncio.to_thread(uploads.end)
            await asyncio.to_thread(service.stop, settings.drain_seconds)
            journal.close()
            folder.close()

    app = FastAPIOffline(
        title="Nabla",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        swagger_ui_parameters={"tryItOutEnabled": True, "displayRequestDuration": True},
    )
    for module in _ROUTES:
        document_errors(module.router.routes)
    routers = [module.router for module in (*_ROUTES, *_PROTOCOL)]
    for router in routers:
        app.include_router(router)
    put_first(app, routers)
    app.include_router(dashboard.router)
    problems.install(app)
    app.add_middleware(
        LimitBody,
        json_bytes=settings.max_json_bytes,
        tensor_bytes=settings.max_tensor_bytes,
        upload_bytes=settings.max_upload_bytes,
        all_bytes=settings.max_waiting_bytes,
    )
    return app


def _compile_when_ready(service: JobService, batches: BatchPredictions) -> None:
    """The worker compiles; once it has, this process and that of batch predictions load from the cache what they need
    themselves."""
    service.ready.wait()
    batches.start()
    compile_predictions()
