"""The devices of this machine and the state of their slots."""

from dataclasses import dataclass
from pathlib import Path

from nabla.engine.literals import DeviceKind
from nabla.engine.nn.cuda.devices import Gpu
from nabla.engine.services.jobs import JobService
from nabla.engine.workers.training_pool import Slot


@dataclass(frozen=True)
class SlotStatus:
    """A slot of a device. `state`: starting, idle, busy (with a job) or lost."""

    name: str
    state: str
    cores: int
    job_id: str | None


@dataclass(frozen=True)
class DeviceRecord:
    """A device. Memory is in bytes; a GPU's free memory is as its worker last reported it, between jobs."""

    id: str
    kind: DeviceKind
    name: str
    memory_total: int
    memory_free: int
    compute_capability: str | None
    slots: tuple[SlotStatus, ...]


def list_devices(jobs: JobService) -> list[DeviceRecord]:
    """Return the devices, the CPU first, then the GPUs."""
    statuses = {slot: _slot_status(slot, jobs.job_in(slot)) for slot in jobs.slots}
    total, available = _machine_memory()
    cpu_slots = tuple(status for slot, status in statuses.items() if slot.kind == "cpu")
    cpu = DeviceRecord("cpu", "cpu", _cpu_name(), total, available, None, cpu_slots)
    gpus = (
        _gpu_record(gpu, slot, status)
        for gpu in jobs.gpus.gpus
        for slot, status in statuses.items()
        if slot.gpu == gpu.index
    )
    return [cpu, *gpus]


def _gpu_record(gpu: Gpu, slot: Slot, status: SlotStatus) -> DeviceRecord:
    free = gpu.memory_free if slot.memory_free is None else slot.memory_free
    capability = ".".join(map(str, gpu.compute_capability))
    return DeviceRecord(slot.device, "cuda", gpu.name, gpu.memory_total, free, capability, (status,))


def _slot_status(slot: Slot, job_id: str | None) -> SlotStatus:
    state = "busy" if job_id else ("idle" if slot.state == "ready" else slot.state)
    return SlotStatus(slot.name, state, slot.cores, job_id)


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "CPU")


def _machine_memory() -> tuple[int, int]:
    """Return the total and the available memory in bytes."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    kibibytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return 1024 * kibibytes["MemTotal"], 1024 * kibibytes["MemAvailable"]
