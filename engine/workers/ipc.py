"""One end of what two processes say to each other: a line of JSON for each message, over a socket pair."""

import os
import socket
from collections import deque
from typing import Any, Generic, TypeVar

import msgspec

Received = TypeVar("Received")

# What the process at the other end does not take in this time it will not take at all: it hangs.
SECONDS_TO_SEND = 5.0
_BYTES_AT_ONCE = 2**18


def _from_text(type_: type[Any], text: Any) -> Any:
    """What JSON has no kind of its own for: paths."""
    return type_(text)


class Channel(Generic[Received]):
    """One end of a socket pair: a line of JSON for each message. Nothing here waits for the rest of a message that a
    process was stopped in the middle of, but for `receive`."""

    def __init__(self, end: socket.socket, receives: Any) -> None:
        self._socket = end
        self._decoder: msgspec.json.Decoder[Received] = msgspec.json.Decoder(receives, dec_hook=_from_text)
        self._begun = bytearray()
        self._complete: deque[bytes] = deque()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: msgspec.Struct) -> None:
        """Raises OSError if the other side is gone, or does not listen any more."""
        self._socket.sendall(msgspec.json.encode(message, enc_hook=os.fspath) + b"\n")

    def receive(self) -> Received:
        """Waits for a message. Raises EOFError or OSError if the other side is gone."""
        while not self._complete:
            self._take(self._socket.recv(_BYTES_AT_ONCE))
        return self._decoder.decode(self._complete.popleft())

    def received(self) -> list[Received]:
        """All messages that are complete by now. Raises EOFError or OSError if the other side is gone."""
        self._take(self._socket.recv(_BYTES_AT_ONCE, socket.MSG_DONTWAIT))
        found = [self._decoder.decode(line) for line in self._complete]
        self._complete.clear()
        return found

    def _take(self, part: bytes) -> None:
        if not part:
            raise EOFError
        *ended, begun = part.split(b"\n")
        for line in ended:
            self._complete.append(bytes(self._begun + line))
            self._begun.clear()
        self._begun += begun

    def close(self) -> None:
        self._socket.close()
