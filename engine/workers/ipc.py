"""Messages between the service and its child processes: a line of JSON each, over a socket pair."""

import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, NoReturn, TypeVar

import msgspec

Received = TypeVar("Received")

_RECEIVE_BYTES = 2**18


def _decode_path(type_: type[Any], text: Any) -> Any:
    """Convert text to a type that JSON does not have: a path."""
    return type_(text)


class Channel(Generic[Received]):
    """One end of a socket pair.

    Only `receive` blocks until a message is complete, so a process that was stopped in the middle of one blocks
    nothing else.
    """

    def __init__(self, end: socket.socket, receives: Any) -> None:
        """Wrap a socket.

        Args:
            end: This end of the pair. `send` and `receive` use its timeout.
            receives: The union of the message types that the other end sends.
        """
        self._socket = end
        self._decoder: msgspec.json.Decoder[Received] = msgspec.json.Decoder(receives, dec_hook=_decode_path)
        self._partial = bytearray()
        self._lines: deque[bytes] = deque()

    def fileno(self) -> int:
        """Return the descriptor of the socket, for polling."""
        return self._socket.fileno()

    def send(self, message: msgspec.Struct) -> None:
        """Send a message.

        Raises:
            OSError: The other end is closed, or does not read within the socket's timeout.
        """
        self._socket.sendall(msgspec.json.encode(message, enc_hook=os.fspath) + b"\n")

    def receive(self) -> Received:
        """Block until a message is complete, and return it.

        Raises:
            EOFError: The other end is closed.
            OSError: The other end is broken, or sends nothing within the socket's timeout.
        """
        while not self._lines:
            self._feed(self._socket.recv(_RECEIVE_BYTES))
        return self._decoder.decode(self._lines.popleft())

    def receive_available(self) -> list[Received]:
        """Return the messages that are complete by now. Raises EOFError or OSError as `receive` does."""
        self._feed(self._socket.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT))
        messages = [self._decoder.decode(line) for line in self._lines]
        self._lines.clear()
        return messages

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def _feed(self, data: bytes) -> None:
        if not data:
            raise EOFError
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._lines.append(bytes(self._partial + line))
            self._partial.clear()
        self._partial += rest


class ServiceConnection(Generic[Received]):
    """A child's end of the channel to the service. The process exits as soon as the service is gone.

    A thread receives messages, so that they are handled at once even during a long computation. So is the end of the
    service, after which a result would have no receiver.
    """

    def __init__(self, descriptor: int, receives: Any, on_message: Callable[[Received], object]) -> None:
        """Start to receive.

        Args:
            descriptor: The socket that was inherited from the service.
            receives: The union of the message types that the service sends.
            on_message: Called in the receiving thread with each message.
        """
        self._channel: Channel[Received] = Channel(socket.socket(fileno=descriptor), receives)
        self._on_message = on_message
        threading.Thread(target=self._receive, daemon=True).start()

    def send(self, message: msgspec.Struct) -> None:
        """Send a message; exit if the service is gone."""
        try:
            self._channel.send(message)
        except OSError:
            _exit()

    def _receive(self) -> None:
        while True:
            try:
                message = self._channel.receive()
            except (EOFError, OSError):
                _exit()
            self._on_message(message)


def _exit() -> NoReturn:
    """Exit without cleanup: the main thread may be in machine code for a long time."""
    os._exit(0)
