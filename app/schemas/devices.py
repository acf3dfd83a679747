"""Devices in answers."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, Field

from engine.names import DeviceKind

if TYPE_CHECKING:
    from engine.jobs.devices import DeviceRecord


class SlotView(BaseModel):
    """A place where one job runs at a time."""

    name: str
    state: Annotated[
        Literal["starting", "idle", "busy", "lost"],
        Field(description="lost: its worker has ended, and the next one is on its way."),
    ]
    cores: int
    job_id: str | None


class DeviceView(BaseModel):
    id: Annotated[str, Field(examples=["cpu", "cuda:0"])]
    kind: DeviceKind
    name: str
    memory_total_bytes: int
    memory_free_bytes: Annotated[
        int, Field(description="Of a GPU: as its worker last said, which it does between jobs.")
    ]
    compute_capability: Annotated[str | None, Field(description="Of a GPU.", examples=["9.0"])]
    slots: list[SlotView]

    @classmethod
    def of(cls, device: "DeviceRecord") -> "DeviceView":
        return cls(
            id=device.id,
            kind=device.kind,
            name=device.name,
            memory_total_bytes=device.memory_total,
            memory_free_bytes=device.memory_free,
            compute_capability=device.compute_capability,
            slots=[SlotView.model_validate(asdict(slot)) for slot in device.slots],
        )


class DevicesView(BaseModel):
    """The CPU first, then the GPUs."""

    data: list[DeviceView]
    missing: Annotated[
        str | None, Field(description="Why there is no GPU to use: CuPy is not installed, or there is no GPU.")
    ]
