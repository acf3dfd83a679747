"""Damage to files, as by a failing disk."""

from pathlib import Path


def flip_last_bit(path: Path) -> None:
    """Flip the last bit of a file."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
