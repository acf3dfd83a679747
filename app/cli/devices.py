"""`nabla devices`"""

import typer

from nabla.app.cli.options import DEFAULT_URL, Json, Local, Told, Url
from nabla.app.cli.output import note, show_json, show_table
from nabla.app.cli.service import connected

commands = typer.Typer(add_completion=False)


@commands.command(cls=Told)
def devices(url: Url = DEFAULT_URL, local: Local = False, json: Json = False) -> None:
    """Show what the service can train on, and what that does."""
    with connected(url, local) as client:
        found = client.devices()
    if json:
        show_json(found)
        return
    rows = [
        (
            device.id,
            device.name,
            f"{device.memory_free_bytes / 2**30:.1f} of {device.memory_total_bytes / 2**30:.1f} GiB",
            ", ".join(
                f"{slot.name} {slot.state}{f' with {slot.job_id}' if slot.job_id else ''}" for slot in device.slots
            ),
        )
        for device in found.data
    ]
    show_table(("device", "name", "memory free", "slots"), rows)
    if found.missing:
        note(found.missing)
