"""create_app(settings): assembles, nothing else."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from anyio import CapacityLimiter
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from nabla.app import __version__
from nabla.app.api import datasets, inference_v2, jobs, networks, predictions, system
from nabla.app.dashboard import routes as dashboard
from nabla.app.dependencies import Context, Underway
from nabla.app.http import errors
from nabla.app.http.body_limits import LimitBody
from nabla.app.http.errors import document_errors
from nabla.app.http.event_stream import Changes, Streams
from nabla.app.http.raw_route import put_first
from nabla.app.inference_v2.repository import Repository
from nabla.app.predictions.batching import Batching
from nabla.app.settings import Settings
from nabla.engine.nn.cuda.devices import Found, find
from nabla.engine.records.job import Job
from nabla.engine.services.arrow_predictions import Frames
from nabla.engine.services.batch_predictions import BatchPredictions
from nabla.engine.services.checkpoints import Checkpoints
from nabla.engine.services.dataset_analysis import Looks
from nabla.engine.services.datasets import Uploads
from nabla.engine.services.jobs import JobService, Limits
from nabla.engine.services.networks import Catalog, Exchange
from nabla.engine.storage.data_dir import DataFolder
from nabla.engine.storage.journal import Entry, Journal
from nabla.engine.storage.registry import Registry
from nabla.engine.training.warmup import compile_predictions
from nabla.engine.workers.task_process import Child, Unreadable
from nabla.engine.workers.training_pool import Slot

# In the order of the story that their examples tell.
_ROUTERS = (
    networks.imports_router,
    networks.networks_router,
    networks.versions_router,
    networks.tags_router,
    datasets.datasets_router,
    datasets.uploads_router,
    datasets.profiles_router,
    jobs.jobs_router,
    jobs.events_router,
    jobs.checkpoints_router,
    predictions.predictions_router,
    predictions.live_predictions_router,
    predictions.batch_router,
    predictions.evaluations_router,
    system.devices_router,
    system.health_router,
)
# The Open Inference Protocol, whose errors have a form of their own.
_PROTOCOL = (inference_v2.models_router, inference_v2.inference_router)

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
        settings.max_queued_jobs, settings.job_bytes, settings.slot_bytes(len(slots)), settings.data_memory_limit
    )
    service = JobService(registry, folder, slots, found, limits, settings.worker_timeout)
    service.recover()
    # Who looks at a dataset does not wait for files, nor do files wait for looks, nor networks for either, nor
    # predictions for any of them.
    reader, looker, exchanger = (
        Child(role, settings.task_memory_limit, settings.worker_timeout, Unreadable)
        for role in ("ingest", "profile", "model-io")
    )
    framer = Child("arrow", settings.task_memory_limit, settings.worker_timeout)
    predictor = Child("predict", settings.predictor_bytes, settings.worker_timeout)
    uploads = Uploads(registry, folder, reader, settings.max_uploads, settings.max_open_uploads)
    looks = Looks(registry, folder, looker)
    exchange = Exchange(registry, folder, exchanger, settings.max_parameters)
    batches = BatchPredictions(registry, folder, catalog, predictor, settings.max_batch_predictions)
    frames = Frames(folder, framer, settings.max_upload_bytes, settings.max_pending_predictions)
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
            Batching(settings.max_pending_predictions, settings.max_inflight_bytes),
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
            await asyncio.to_thread(service.stop, settings.shutdown_timeout)
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
    for router in _ROUTERS:
        document_errors(router.routes)
    routers = [*_ROUTERS, *_PROTOCOL]
    for router in routers:
        app.include_router(router)
    put_first(app, routers)
    app.include_router(dashboard.router)
    errors.install(app)
    app.add_middleware(
        LimitBody,
        json_bytes=settings.max_json_bytes,
        tensor_bytes=settings.max_tensor_bytes,
        upload_bytes=settings.max_upload_bytes,
        all_bytes=settings.max_inflight_bytes,
    )
    return app


def _compile_when_ready(service: JobService, batches: BatchPredictions) -> None:
    """The worker compiles; once it has, this process and that of batch predictions load from the cache what they need
    themselves."""
    service.ready.wait()
    batches.start()
    compile_predictions()
