"""Running the service: uvicorn on a socket that listens already, ended in order by SIGTERM or Ctrl-C."""

import gc
import logging
import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app.connections import Connection
from app.main import create_app
from app.settings import Settings

# An open event stream ends at once; any other answer still being sent gets so long.
_SECONDS_FOR_ANSWERS = 2


class _Server(uvicorn.Server):
    """Ends event streams first: uvicorn waits for open connections before it lets the application end."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        context = getattr(self._app.state, "context", None)
        if context is not None:
            context.end_streams()
        # Not uvicorn's own: it would raise the signal again afterwards, and an orderly end exits with 0.
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def serve(settings: Settings, listening: socket.socket) -> bool:
    """Serve until a signal; true if the service had started. Raises StorageFailed if the data folder cannot be used."""
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        http=type("LimitedConnection", (Connection,), {"silence_seconds": settings.silence_seconds}),
        log_config=None,
        access_log=settings.log_level == "debug",
        timeout_graceful_shutdown=_SECONDS_FOR_ANSWERS,
    )
    server = _Server(config, app)
    # What is there now stays; looking through it for garbage again and again would keep answers waiting.
    gc.freeze()
    gc.enable()
    server.run([listening])
    return server.started
