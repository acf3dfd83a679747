"""Connection of a command to a running service, or to one started for the command; and `nabla devices`."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import typer

from nabla.app.cli.options import DEFAULT_URL, CliCommand, Json, Local, Url
from nabla.app.cli.output import log, print_json, print_table
from nabla.app.client import Client
from nabla.app.schemas.common import DeviceView, SlotView

devices_app = typer.Typer(add_completion=False)

_START_TIMEOUT = 120.0


@contextmanager
def open_client(url: str, local: bool) -> Iterator[Client]:
    """Open a client of the service at a URL, or of one that is started for the block.

    Args:
        url: The address of the service.
        local: Whether to start a service instead, on the configured data directory.
    """
    if not local:
        with Client(url) as client:
            yield client
        return
    from nabla.app.settings import Settings

    data_dir = Settings().data_dir
    log(f"Starting a service on {data_dir.absolute()} …")
    with local_client(data_dir) as client:
        yield client


@contextmanager
def local_client(data_dir: Path) -> Iterator[Client]:
    """Start a service for the block, and open a client of it."""
    with _local_service(data_dir) as url, Client(url, timeout=_START_TIMEOUT) as client:
        yield client


@contextmanager
def _local_service(data_dir: Path) -> Iterator[str]:
    """Start a service for the block, and return its URL.

    It shuts down cleanly when the block ends, even by an interrupt or a signal, and when the command is killed.
    Unfinished jobs continue with the next service on the data directory.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        options = ["--fd", str(listener.fileno()), "--data-dir", str(data_dir), "--parent", str(os.getpid())]
        process = subprocess.Popen(
            [sys.executable, "-m", "nabla.app.cli.main", "serve", *options],
            pass_fds=[listener.fileno()],
            stdout=subprocess.DEVNULL,
            env={**os.environ, "NABLA_LOG_LEVEL": "warning"},
            # Its own process group, so that Ctrl-C interrupts only the command, which may ask whether to cancel a job.
            process_group=0,
        )
    previous_handler = signal.signal(signal.SIGTERM, _exit_on_signal)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        signal.signal(signal.SIGTERM, previous_handler)
        process.send_signal(signal.SIGTERM)
        process.wait()


def _exit_on_signal(number: int, frame: FrameType | None) -> None:
    """Exit with the code that the signal has by default, but run all `finally` blocks."""
    raise SystemExit(128 + number)


@devices_app.command(cls=CliCommand)
def devices(url: Url = DEFAULT_URL, local: Local = False, json: Json = False) -> None:
    """Show the devices of the service and the state of their slots."""
    with open_client(url, local) as client:
        view = client.get_devices()
    if json:
        print_json(view)
        return
    print_table(("device", "name", "memory free", "slots"), map(_table_row, view.data))
    if view.gpu_unavailable_reason:
        log(view.gpu_unavailable_reason)


def _table_row(device: DeviceView) -> tuple[object, ...]:
    memory = f"{device.memory_free_bytes / 2**30:.1f} of {device.memory_total_bytes / 2**30:.1f} GiB"
    return device.id, device.name, memory, ", ".join(map(_format_slot, device.slots))


def _format_slot(slot: SlotView) -> str:
    return f"{slot.name} {slot.state}{f' with {slot.job_id}' if slot.job_id else ''}"
