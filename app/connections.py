"""Connections that cannot be held for ever: uvicorn's, with limits for what it leaves to others."""

import asyncio
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Of a request's first line and headers.
_MOST_BYTES_OF_A_HEAD = 2**16


class Connection(HttpToolsProtocol):
    """Ends when the head of a request is too long; and when a client that has connected, or has begun a request, sends
    nothing for so many seconds."""

    silence_seconds = 60.0
    _reads_head = False
    _head_bytes = 0
    _silence: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._listen()

    def connection_lost(self, exc: Exception | None) -> None:
        self._hear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._hear()
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._reads_head:
            self._head_bytes += len(data)
            if self._head_bytes > _MOST_BYTES_OF_A_HEAD:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
                return
        if self._reads_head or self.cycle.more_body:
            self._listen()

    def on_message_begin(self) -> None:
        self._reads_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._reads_head = False
        super().on_headers_complete()

    def _hear(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _listen(self) -> None:
        self._silence = self.loop.call_later(self.silence_seconds, self._drop)

    def _drop(self) -> None:
        if self.flow.read_paused:  # it may have sent what nobody has taken yet
            self._listen()
        elif self._reads_head or (self.cycle is not None and not self.cycle.response_started):
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.close()

    def _refuse(self, status: HTTPStatus) -> None:
        words = f"{status.phrase}."
        self.transport.write(
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n"
            f"content-length: {len(words)}\r\nconnection: close\r\n\r\n{words}".encode("ascii")
        )
        self.transport.close()
