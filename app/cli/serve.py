"""`nabla serve`"""

import gc
import signal
import socket
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from nabla.app.server import listen
from nabla.app.settings import Settings
from nabla.engine.errors import StorageFailed
from nabla.engine.workers.os_process import end_with

commands = typer.Typer(add_completion=False)


@commands.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (NABLA_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one (NABLA_PORT).")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for everything that is kept (NABLA_DATA_DIR).")] = None,
    fd: Annotated[int | None, typer.Option(help="Listen on this open socket instead (a file descriptor).")] = None,
    parent: Annotated[int | None, typer.Option(help="End when this process ends, which started it (its id).")] = None,
) -> None:
    """Start the service. All settings can be given as NABLA_… variables."""
    gc.disable()  # until it serves: hardly anything of what is loaded now is ever garbage
    from nabla.app import server  # after that, for the same reason

    if parent is not None:
        end_with(parent, signal.SIGTERM)
    given: dict[str, Any] = {"host": host, "port": port, "data_dir": data_dir}
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as problem:
        for error in problem.errors():
            print(f"nabla: NABLA_{str(error['loc'][0]).upper()}: {error['msg']}", file=sys.stderr)
        raise typer.Exit(2) from problem
    try:
        listening = socket.socket(fileno=fd) if fd is not None else listen(settings.host, settings.port)
    except OSError as problem:
        print(f"nabla: cannot listen on {settings.host}:{settings.port}: {problem.strerror}", file=sys.stderr)
        raise typer.Exit(1) from problem
    address, bound_port = listening.getsockname()[:2]
    url = f"http://{address}:{bound_port}"
    print(f"Nabla on {url} - open it in a browser, or try /docs. Data in {settings.data_dir.absolute()}.", flush=True)
    try:
        started = server.serve(settings, listening)
    except StorageFailed as problem:
        print(f"nabla: {problem}", file=sys.stderr)
        raise typer.Exit(1) from problem
    raise typer.Exit(0 if started else 1)
