"""`nabla serve`."""

import gc
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from nabla.app.settings import Settings
from nabla.engine.errors import StorageFailed
from nabla.engine.workers.os_process import die_with_parent

serve_app = typer.Typer(add_completion=False)

# Not those of `options`, which would import the client: the service has to start fast.
_EXIT_FAILED, _EXIT_USAGE = 1, 2


@serve_app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (NABLA_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 selects a free port (NABLA_PORT).")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Directory for persistent data (NABLA_DATA_DIR).")] = None,
    fd: Annotated[
        int | None, typer.Option(metavar="FD", help="Listen on this open socket (a file descriptor) instead.")
    ] = None,
    parent: Annotated[
        int | None, typer.Option(metavar="PID", help="Shut down when this process, the parent, ends.")
    ] = None,
) -> None:
    """Start the service. It is configured by environment variables NABLA_…; options override them."""
    if sys.platform != "linux":
        _print_error(
            "the service needs Linux (prctl, O_TMPFILE, /proc). Run it in Docker: docker compose up; "
            "the Python client and the commands with --url run on this system."
        )
        raise typer.Exit(_EXIT_FAILED)
    # Imports create little garbage, so collecting it would only delay the start. The server enables collection again.
    gc.disable()
    # This process multiplies no large matrices, but OpenBLAS would start a thread for each core of the machine.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from nabla.app import server

    if parent is not None:
        die_with_parent(parent, signal.SIGTERM)
    options: dict[str, Any] = {"host": host, "port": port, "data_dir": data_dir}
    try:
        settings = Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        for detail in error.errors():
            _print_error(f"NABLA_{str(detail['loc'][0]).upper()}: {detail['msg']}")
        raise typer.Exit(_EXIT_USAGE) from error
    try:
        listener = socket.socket(fileno=fd) if fd is not None else server.listen(settings.host, settings.port)
    except OSError as error:
        _print_error(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}")
        raise typer.Exit(_EXIT_FAILED) from error
    host_address, bound_port = listener.getsockname()[:2]
    print(
        f"Nabla is running at http://{host_address}:{bound_port} - open it in a browser, or see /docs. "
        f"Data directory: {settings.data_dir.absolute()}",
        flush=True,
    )
    try:
        started = server.serve(settings, listener)
    except StorageFailed as error:
        _print_error(str(error))
        raise typer.Exit(_EXIT_FAILED) from error
    raise typer.Exit(0 if started else _EXIT_FAILED)


def _print_error(message: str) -> None:
    print(f"nabla: {message}", file=sys.stderr)
