"""What the service counts, in the text format of Prometheus. Counted when asked, from the registry."""

from collections import Counter
from collections.abc import Iterator
from typing import get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from nabla.engine.literals import BatchState, State
from nabla.engine.services.jobs import JobService
from nabla.engine.storage.registry import Registry


class _Counted(Collector):
    def __init__(self, registry: Registry, jobs: JobService) -> None:
        self._registry = registry
        self._jobs = jobs

    def collect(self) -> Iterator[Metric]:
        states = self._registry.jobs.count()
        by_state = GaugeMetricFamily("nabla_jobs", "Jobs by state.", labels=["state"])
        for state in get_args(State):
            by_state.add_metric([state], states.get(state, 0))
        yield by_state
        batches = GaugeMetricFamily(
            "nabla_batch_predictions", "Batch predictions by state; one that runs is queued.", labels=["state"]
        )
        recorded = Counter(batch.state for batch in self._registry.batches)
        for batch_state in get_args(BatchState):
            batches.add_metric([batch_state], recorded[batch_state])
        yield batches
        yield GaugeMetricFamily("nabla_networks", "Networks.", len(self._registry.networks))
        yield GaugeMetricFamily("nabla_datasets", "Datasets.", len(self._registry.datasets))
        slots = GaugeMetricFamily("nabla_slot_ready", "1 if the slot has a worker that is ready.", labels=["slot"])
        for slot in self._jobs.slots:
            slots.add_metric([slot.name], slot.state == "ready")
        yield slots


def exposition(registry: Registry, jobs: JobService) -> tuple[bytes, str]:
    """(content, content type)"""
    collectors = CollectorRegistry(auto_describe=False)
    collectors.register(_Counted(registry, jobs))
    return generate_latest(collectors), CONTENT_TYPE_PLAIN_0_0_4
