"""Names of text encodings."""

import codecs


def is_text_encoding(name: str) -> bool:
    """Return whether Python can decode text in the encoding with this name."""
    try:
        return codecs.lookup(name)._is_text_encoding  # Python's io module asks the same
    except LookupError:
        return False
