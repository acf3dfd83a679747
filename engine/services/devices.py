"""What there is to train on, and what its slots do at the moment."""

from dataclasses import dataclass
from pathlib import Path

from nabla.engine.literals import DeviceKind
from nabla.engine.nn.cuda.devices import Gpu
from nabla.engine.services.jobs import JobService
from nabla.engine.workers.training_pool import Slot


@dataclass(frozen=True)
class Place:
    """A slot of a device. `state`: starting, idle, busy (with a job) or lost."""

    name: str
    state: str
    cores: int
    job_id: str | None


@dataclass(frozen=True)
class DeviceRecord:
    """Memory is in bytes. That of a GPU was free when its worker last said so: before its job, while one runs."""

    id: str
    kind: DeviceKind
    name: str
    memory_total: int
    memory_free: int
    compute_capability: str | None
    slots: tuple[Place, ...]


def devices(jobs: JobService) -> list[DeviceRecord]:
    """The CPU first, then the GPUs."""
    places = {slot: _place(slot, jobs.busy_with(slot)) for slot in jobs.slots}
    total, available = _memory()
    of_cpu = tuple(place for slot, place in places.items() if slot.kind == "cpu")
    cpu = DeviceRecord("cpu", "cpu", _processor(), total, available, None, of_cpu)
    return [
        cpu,
        *(_record(gpu, slot, places[slot]) for gpu in jobs.found.gpus for slot in places if slot.gpu == gpu.index),
    ]


def _record(gpu: Gpu, slot: Slot, place: Place) -> DeviceRecord:
    free = gpu.memory_free if slot.memory_free is None else slot.memory_free
    capability = ".".join(map(str, gpu.compute_capability))
    return DeviceRecord(slot.device, "cuda", gpu.name, gpu.memory_total, free, capability, (place,))


def _place(slot: Slot, job_id: str | None) -> Place:
    state = "busy" if job_id else ("idle" if slot.state == "ready" else slot.state)
    return Place(slot.name, state, slot.cores, job_id)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "CPU")


def _memory() -> tuple[int, int]:
    """(all, available) of the machine."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    kibibytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return 1024 * kibibytes["MemTotal"], 1024 * kibibytes["MemAvailable"]
