"""Running the service: uvicorn on a socket that listens already, ended in order by SIGTERM or Ctrl-C."""

import ctypes
import gc
import logging
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from nabla.app.http.connection import Connection
from nabla.app.main import create_app
from nabla.app.settings import Settings

# Containers that live at once, beside those from the start, before it is looked which of them are garbage: more than
# many requests that wait have, which are none.
_OBJECTS_BEFORE_A_LOOK = 20_000
# glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# What is larger comes from the system, and goes back when it is freed; of what is not so much at most is kept.
_BYTES_FROM_THE_SYSTEM, _BYTES_KEPT = 2**25, 2**27
# An open event stream ends at once; any other answer still being sent gets so long.
_SECONDS_FOR_ANSWERS = 2


class _Server(uvicorn.Server):
    """Ends event streams first: uvicorn waits for open connections before it lets the application end."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What is there now stays; looking through it for garbage again and again would keep answers waiting.
        gc.freeze()
        gc.set_threshold(_OBJECTS_BEFORE_A_LOOK)
        gc.enable()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        context = getattr(self._app.state, "context", None)
        if context is not None:
            context.end_streams()
        # Not uvicorn's own: it would raise the signal again afterwards, and an orderly end exits with 0.
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def _keep_freed_memory() -> None:
    """A large body comes in parts of 256 KiB. glibc would get each from the system and give it back, which takes longer
    than the part took to arrive: half of the time of a prediction of 10,000 rows."""
    change: Callable[[int, int], int] | None = getattr(ctypes.CDLL(None), "mallopt", None)
    if change is not None:
        change(_M_MMAP_THRESHOLD, _BYTES_FROM_THE_SYSTEM)
        change(_M_TRIM_THRESHOLD, _BYTES_KEPT)


def serve(settings: Settings, listening: socket.socket) -> bool:
    """Serve until a signal; true if the service had started. Raises StorageFailed if the data folder cannot be used."""
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        http=type("LimitedConnection", (Connection,), {"client_idle_timeout": settings.client_idle_timeout}),
        log_config=None,
        access_log=settings.log_level == "debug",
        timeout_graceful_shutdown=_SECONDS_FOR_ANSWERS,
    )
    server = _Server(config, app)
    _keep_freed_memory()
    server.run([listening])
    return server.started


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one. Raises OSError."""
    listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.set_inheritable(True)
    return listening
