"""/v1/devices"""

from fastapi import APIRouter

from app.context import Here
from app.schemas.devices import DevicesView, DeviceView
from engine.jobs.devices import devices

router = APIRouter(prefix="/v1/devices", tags=["6 health"])


@router.get("", summary="List devices")
def list_devices(here: Here) -> DevicesView:
    """What there is to train on: name, memory, and what the slots do. Where there is no GPU to use, it says why."""
    found = [DeviceView.of(device) for device in devices(here.jobs)]
    return DevicesView(data=found, missing=here.jobs.found.missing)
