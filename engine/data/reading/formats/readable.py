"""Bytes that are read from the beginning to the end. Whoever reads arrays alone needs no Arrow, which takes time and
memory to load."""

from typing import Protocol


class Readable(Protocol):
    """Bytes, read from the beginning to the end."""

    def read(self, amount: int, /) -> bytes: ...


def exactly(stream: Readable, amount: int) -> bytes:
    """So many bytes, or all that are left."""
    parts = []
    while amount and (part := stream.read(amount)):
        parts.append(part)
        amount -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
