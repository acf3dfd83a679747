"""Encodings of text."""

import codecs

from nabla.engine.errors import InvalidInput

FALLBACK_ENCODING = "cp1252"
"""Encoding of text that is not in UTF-8, if cleaning is to guess; Windows' for Western Europe."""


def is_text_encoding(name: str) -> bool:
    """Return whether Python can decode text in the encoding with this name."""
    try:
        return codecs.lookup(name)._is_text_encoding  # Python's io module asks the same
    except LookupError:
        return False


class NotUtf8(InvalidInput):
    """Text is not in UTF-8, and its encoding is not known."""


def not_utf8(field: str, byte: int) -> NotUtf8:
    """Return the error for text whose byte `byte` cannot be UTF-8."""
    return NotUtf8(
        field,
        f"The file is not UTF-8 text (byte {byte}). Set encoding, such as cp1252 or latin-1; UTF-16 needs a byte order "
        "mark at its beginning.",
    )
