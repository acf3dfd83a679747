"""How many commits the journal has had, kept beside it.

It is written after a commit is on disk and need not be synced itself: it only ever knows of fewer commits than the
journal has, unless the journal lost some.
"""

import hashlib
import logging
import os
import struct
from pathlib import Path

from engine.errors import StorageFailed

log = logging.getLogger(__name__)

_NUMBER = struct.Struct("<Q")
_DIGEST = 8
_PLACE = _NUMBER.size + _DIGEST


class Witness:
    """A file with two places, written in turn: a write that was torn leaves the other one. Raises StorageFailed if it
    cannot be opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as problem:
            raise StorageFailed(f"The file {path.name} cannot be opened: {problem.strerror}.") from problem

    def read(self) -> int | None:
        """The number of commits; None if it is not known."""
        content = os.pread(self._descriptor, 2 * _PLACE, 0)
        places = [content[start : start + _PLACE] for start in range(0, len(content), _PLACE)]
        places = [place for place in places if place != bytes(_PLACE)]  # not written yet
        numbers = [number for place in places if (number := _number(place)) is not None]
        if len(numbers) < len(places):
            log.warning("%s is damaged in part; the journal is taken as it is", self.path.name)
        return max(numbers, default=None)

    def write(self, number: int) -> None:
        content = _NUMBER.pack(number)
        try:
            os.pwrite(self._descriptor, content + _digest(content), number % 2 * _PLACE)
        except OSError as problem:
            log.warning("%s cannot be written: %s", self.path.name, problem.strerror)

    def close(self) -> None:
        os.close(self._descriptor)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST).digest()


def _number(place: bytes) -> int | None:
    content, digest = place[: _NUMBER.size], place[_NUMBER.size :]
    if len(place) != _PLACE or digest != _digest(content):
        return None
    return int(_NUMBER.unpack(content)[0])
