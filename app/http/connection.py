"""Connections that cannot be held for ever: uvicorn's, with limits for what it leaves to others."""

import asyncio
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Of a request's first line and headers.
_MOST_BYTES_OF_A_HEAD = 2**16


# Requests that were sent before the answers to those before them had come.
_MOST_PIPELINED = 64


class Connection(HttpToolsProtocol):
    """Ends when the head of a request is too long; when a client sends request after request without waiting for
    answers; and when one from which something is expected, or that is to read its answer, does nothing for so many
    seconds. Between requests uvicorn's own limit holds, unless something came that is no request yet."""

    client_idle_timeout = 60.0
    _reads_head = False
    _head_bytes = 0
    _silence: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._listen()

    def connection_lost(self, exc: Exception | None) -> None:
        self._hear()
        self._is_read()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._hear()
        self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if not self._reads_head:
            self._head_bytes = 0
        if self._head_bytes > _MOST_BYTES_OF_A_HEAD:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self._expects():
            self._listen()

    def on_message_begin(self) -> None:
        self._reads_head = True
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        self._head_bytes -= len(body)  # a head that has begun behind it came in the same part
        super().on_body(body)

    def on_headers_complete(self) -> None:
        self._reads_head = False
        if self.transport.is_closing():
            return
        super().on_headers_complete()
        if len(self.pipeline) > _MOST_PIPELINED:
            self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reading(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._is_read()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        unsent = self.transport.get_write_buffer_size()
        if unsent and self._unread is None:  # closed only when all has gone, which may be never
            self._watch_reading(unsent)

    def _expects(self) -> bool:
        """Whether it is the client's turn."""
        return self._reads_head or self.cycle is None or self.cycle.more_body or self.cycle.response_complete

    def _hear(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _listen(self) -> None:
        self._silence = self.loop.call_later(self.client_idle_timeout, self._drop)

    def _drop(self) -> None:
        answering = self.cycle is not None and not self.cycle.response_complete
        if self.flow.read_paused:  # it may have sent what nobody has taken yet
            self._listen()
        elif self._reads_head or (answering and not self.cycle.response_started):
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.close()

    def _watch_reading(self, unsent: int) -> None:
        self._unread = self.loop.call_later(self.client_idle_timeout, self._drop_unless_read, unsent)

    def _drop_unless_read(self, unsent: int) -> None:
        now = self.transport.get_write_buffer_size()
        if now < unsent:
            self._watch_reading(now)
        else:
            self.transport.abort()

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _refuse(self, status: HTTPStatus) -> None:
        """In words, unless that would be in the midst of another answer."""
        if self.cycle is None or self.cycle.response_complete or not (self._reads_head or self.cycle.response_started):
            words = f"{status.phrase}."
            self.transport.write(
                f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n"
                f"content-length: {len(words)}\r\nconnection: close\r\n\r\n{words}".encode("ascii")
            )
        self.transport.close()
