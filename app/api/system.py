"""/v1/devices, /health and /metrics, whose gauges are computed from the registry at each request."""

from collections import Counter
from collections.abc import Iterator
from typing import get_args

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from pydantic import BaseModel

from nabla.app.dependencies import ServicesDep
from nabla.app.http.errors import error_responses, problem_response
from nabla.app.schemas.common import DevicesView, DeviceView
from nabla.engine.literals import BatchState, JobState
from nabla.engine.services import devices
from nabla.engine.services.jobs import JobService
from nabla.engine.storage.registry import Registry

router = APIRouter(tags=["6 health"])


class Health(BaseModel):
    """Health of the service."""

    status: str


@router.get("/v1/devices", summary="List devices")
def list_devices(services: ServicesDep) -> DevicesView:
    """List the devices for training, with their memory and slots, and the reason if no GPU can be used."""
    views = [DeviceView.of(device) for device in devices.list_devices(services.jobs)]
    return DevicesView(data=views, gpu_unavailable_reason=services.jobs.gpus.unavailable_reason)


@router.get("/health/live", summary="Check liveness")
async def live() -> Health:
    """Return 200 as long as the process answers requests."""
    return Health(status="live")


@router.get("/health/ready", summary="Check readiness to train", response_model=Health, responses=error_responses(503))
async def ready(services: ServicesDep) -> Health | JSONResponse:
    """Return 200 if at least one slot has a ready worker and the journal can be written, else 503 with the reason."""
    if services.unready_reason is not None:
        return problem_response("not-ready", "Not ready", 503, services.unready_reason)
    return Health(status="ready")


@router.get("/metrics", summary="Get Prometheus metrics", response_class=PlainTextResponse)
def metrics(services: ServicesDep) -> Response:
    """Get the number of jobs and batch predictions by state, of networks and of datasets, and which slots are ready."""
    content, content_type = render_metrics(services.registry, services.jobs)
    return Response(content, media_type=content_type)


def render_metrics(registry: Registry, jobs: JobService) -> tuple[bytes, str]:
    """Return the metrics in the text format of Prometheus, and their content type."""
    collectors = CollectorRegistry(auto_describe=False)
    collectors.register(_RegistryCollector(registry, jobs))
    return generate_latest(collectors), CONTENT_TYPE_PLAIN_0_0_4


class _RegistryCollector(Collector):
    def __init__(self, registry: Registry, jobs: JobService) -> None:
        self._registry = registry
        self._jobs = jobs

    def collect(self) -> Iterator[Metric]:
        job_counts = self._registry.jobs.count()
        jobs = GaugeMetricFamily("nabla_jobs", "Jobs by state.", labels=["state"])
        for state in get_args(JobState):
            jobs.add_metric([state], job_counts.get(state, 0))
        yield jobs
        batch_counts = Counter(batch.state for batch in self._registry.batch_predictions)
        batches = GaugeMetricFamily(
            "nabla_batch_predictions",
            "Batch predictions by state; running ones count as queued.",
            labels=["state"],
        )
        for batch_state in get_args(BatchState):
            batches.add_metric([batch_state], batch_counts[batch_state])
        yield batches
        yield GaugeMetricFamily("nabla_networks", "Networks.", len(self._registry.networks))
        yield GaugeMetricFamily("nabla_datasets", "Datasets.", len(self._registry.datasets))
        slots = GaugeMetricFamily("nabla_slot_ready", "1 if the slot has a ready worker.", labels=["slot"])
        for slot in self._jobs.slots:
            slots.add_metric([slot.name], slot.state == "ready")
        yield slots
