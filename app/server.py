"""Server: uvicorn on a listening socket, until SIGTERM or Ctrl-C, with limits for slow or greedy clients."""

import asyncio
import ctypes
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable
from http import HTTPStatus
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from nabla.app.http.middleware import BrowserProtection
from nabla.app.main import create_app
from nabla.app.settings import Settings

# Size of the request line and the headers.
_MAX_HEAD_BYTES = 2**16
# Requests of a connection that wait for the responses to earlier ones.
_MAX_PIPELINED_REQUESTS = 64
# Allocations between garbage collections: more objects than many pending requests hold, none of them garbage.
_GC_THRESHOLD = 20_000
# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Allocations of at least this size are mapped, and unmapped when freed; of smaller ones this much stays with glibc.
_MMAP_THRESHOLD_BYTES, _TRIM_THRESHOLD_BYTES = 2**25, 2**27
# Event streams end at once on shutdown; other responses have this long.
_RESPONSE_SHUTDOWN_SECONDS = 2


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 picks a free port.

    Raises:
        OSError: The address is in use or not available.
    """
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.set_inheritable(True)
    return listener


def serve(settings: Settings, listener: socket.socket) -> bool:
    """Serve until SIGTERM or Ctrl-C, and return whether the service had started.

    Raises:
        StorageFailed: The data directory cannot be used.
    """
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    os.umask(0o077)  # other users cannot read what the service and its processes write
    app = create_app(settings)
    config = uvicorn.Config(
        BrowserProtection(app, settings.allowed_hosts),
        http=type("HttpProtocol", (LimitedHttpProtocol,), {"client_idle_timeout": settings.client_idle_timeout}),
        log_config=None,
        access_log=settings.log_level == "debug",
        timeout_graceful_shutdown=_RESPONSE_SHUTDOWN_SECONDS,
    )
    server = _Server(config, app)
    _keep_freed_memory()
    server.run([listener])
    return server.started


class LimitedHttpProtocol(HttpToolsProtocol):
    """Limits the size of a request head, the number of pipelined requests, and idle reads and writes.

    A connection is closed if the client sends nothing while a request is due or incomplete, or reads nothing of a
    response, for `client_idle_timeout` seconds. Between requests uvicorn's keep-alive timeout applies, unless part of
    a request has arrived.
    """

    client_idle_timeout = 60.0
    _in_head = False
    _head_bytes = 0
    _read_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Start the timer for the first request."""
        super().connection_made(transport)
        self._start_read_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers and drop pipelined requests."""
        self._stop_read_timer()
        self._stop_write_timer()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Restart the read timer if more data are due, and check the size of the head."""
        self._stop_read_timer()
        self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if not self._in_head:
            self._head_bytes = 0
        if self._head_bytes > _MAX_HEAD_BYTES:
            self._reject(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self._awaits_data():
            self._start_read_timer()

    def on_message_begin(self) -> None:
        """Note the start of a request."""
        self._in_head = True
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        """Pass on part of a body, which does not count as head even if it arrived together with the next head."""
        self._head_bytes -= len(body)
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """Pass on a request, unless too many are pipelined."""
        self._in_head = False
        if self.transport.is_closing():
            return
        super().on_headers_complete()
        if len(self.pipeline) > _MAX_PIPELINED_REQUESTS:
            self.transport.abort()

    def pause_writing(self) -> None:
        """Start the write timer: the client reads slower than the response is produced."""
        super().pause_writing()
        self._start_write_timer(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Stop the write timer."""
        self._stop_write_timer()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; abort it later if the client never reads the rest of the last response."""
        super().timeout_keep_alive_handler()
        unsent = self.transport.get_write_buffer_size()
        if unsent and self._write_timer is None:
            self._start_write_timer(unsent)

    def _awaits_data(self) -> bool:
        return self._in_head or self.cycle is None or self.cycle.more_body or self.cycle.response_complete

    def _start_read_timer(self) -> None:
        self._read_timer = self.loop.call_later(self.client_idle_timeout, self._on_read_timeout)

    def _stop_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _on_read_timeout(self) -> None:
        responding = self.cycle is not None and not self.cycle.response_complete
        if self.flow.read_paused:  # data may have arrived that the application has not consumed
            self._start_read_timer()
        elif self._in_head or (responding and not self.cycle.response_started):
            self._reject(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.close()

    def _start_write_timer(self, unsent: int) -> None:
        self._write_timer = self.loop.call_later(self.client_idle_timeout, self._on_write_timeout, unsent)

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _on_write_timeout(self, unsent_before: int) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent < unsent_before:
            self._start_write_timer(unsent)
        else:
            self.transport.abort()

    def _reject(self, status: HTTPStatus) -> None:
        """Close the connection with an error response, unless that would land inside another response."""
        if self.cycle is None or self.cycle.response_complete or not (self._in_head or self.cycle.response_started):
            body = f"{status.phrase}."
            self.transport.write(
                f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode("ascii")
            )
        self.transport.close()


class _Server(uvicorn.Server):
    """Server that ends event streams on shutdown; uvicorn would wait for them."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start up, and exclude all objects loaded so far from garbage collection, which would delay responses."""
        await super().startup(sockets)
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD)
        gc.enable()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start the shutdown; a second Ctrl-C forces it."""
        services = getattr(self._app.state, "services", None)
        if services is not None:
            services.close_streams()
        # uvicorn's own handler would raise the signal again at the end, but a clean shutdown exits with 0.
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def _keep_freed_memory() -> None:
    """Make glibc reuse freed memory instead of returning it to the system.

    A large body arrives in parts of 256 KiB. Mapping and unmapping memory for each took half of the time of a
    prediction of 10,000 rows.
    """
    mallopt: Callable[[int, int], int] | None = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES)
