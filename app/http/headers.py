"""Headers: content negotiation, Prefer, Content-Digest, and warnings of binary responses."""

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Annotated

from fastapi import Header, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from nabla.engine.errors import InvalidInput

_DEFAULT_WAIT_SECONDS = 30.0
_MAX_WAIT_SECONDS = 600.0
_CONTENT_DIGEST = "Content-Digest"
WARNINGS_HEADER = "Nabla-Warnings"
"""Header of binary responses with the sentences that JSON has in `warnings`: a list of display strings (RFC 9651)."""
_DIGEST_MEMBER = re.compile(r"([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):", re.ASCII)

Prefer = Annotated[
    str | None,
    Header(description="wait=SECONDS or respond-async: how long to wait for the result before responding with 202."),
]


@lru_cache(maxsize=256)
def negotiate_media_type(accept: str, offered: tuple[str, ...]) -> str:
    """Return the offered media type that an Accept header prefers (RFC 9110, 12.5.1).

    The first one wins ties, and is returned if there is no header.
    """
    if not accept or accept == "*/*":
        return offered[0]
    qualities = dict(_parse_media_range(part) for part in accept.lower().split(","))

    def quality(media_type: str) -> float:
        main_type = media_type.partition("/")[0]
        ranges = (media_type, f"{main_type}/*", "*/*")
        return next((qualities[name] for name in ranges if name in qualities), 0.0)

    return max(offered, key=quality)


def _parse_media_range(part: str) -> tuple[str, float]:
    media_range, *parameters = (word.strip() for word in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            with suppress(ValueError):
                return media_range, float(parameter[2:])
            return media_range, 0.0
    return media_range, 1.0


@lru_cache(maxsize=256)
def parse_media_type(content_type: str, accepted: tuple[str, ...]) -> str:
    """Return the media type of a Content-Type header, without its parameters.

    Raises:
        HTTPException: It is not one of the accepted ones (415).
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in accepted:
        actual = f"is {media_type}" if media_type else "is missing"
        raise HTTPException(415, f"The media type of the body {actual}; accepted: {', '.join(accepted)}.")
    return media_type


def parse_prefer_wait(prefer: str | None) -> float:
    """Return the seconds to wait for a result, from a Prefer header (RFC 7240); unknown preferences are ignored."""
    preferences = dict(_parse_preference(part) for part in (prefer or "").split(","))
    if "respond-async" in preferences:
        return 0.0
    try:
        return min(max(float(preferences.get("wait", _DEFAULT_WAIT_SECONDS)), 0.0), _MAX_WAIT_SECONDS)
    except ValueError:
        return _DEFAULT_WAIT_SECONDS


def _parse_preference(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return name.strip().lower(), value.strip()


class ContentDigest:
    """Verifies a body against the SHA-256 in its Content-Digest header (RFC 9530), if there is one.

    Raises:
        InvalidInput: The header is malformed or has no SHA-256.
    """

    def __init__(self, request: Request) -> None:
        header = ",".join(request.headers.getlist(_CONTENT_DIGEST))
        self._expected = _parse_sha256(header) if header else None
        self._hash = hashlib.sha256()

    async def update(self, part: bytes) -> None:
        """Add the next part of the body."""
        if self._expected is not None:
            await run_in_threadpool(self._hash.update, part)

    def verify(self) -> None:
        """Compare the digests after the last part.

        Raises:
            InvalidInput: They differ.
        """
        actual = self._hash.hexdigest()
        if self._expected is not None and actual != self._expected:
            raise InvalidInput(
                _CONTENT_DIGEST, f"The body arrived with SHA-256 {actual}, not {self._expected}; send it again."
            )


def _parse_sha256(header: str) -> str:
    """Return the SHA-256 of a Content-Digest header, in hexadecimal."""
    encoded = None
    for item in header.split(","):
        member = _DIGEST_MEMBER.fullmatch(item.strip())
        if member is None:
            raise InvalidInput(_CONTENT_DIGEST, "Expected sha-256=:…: with the digest in base64.")
        if member[1] == "sha-256":
            encoded = member[2]
    if encoded is None:
        raise InvalidInput(
            _CONTENT_DIGEST, "Only sha-256 is supported; expected sha-256=:…: with the digest in base64."
        )
    try:
        digest = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise InvalidInput(
            _CONTENT_DIGEST, "This is not a SHA-256; expected sha-256=:…: with the 32 bytes of the digest in base64."
        )
    return digest.hex()


def encode_warnings(sentences: Sequence[str]) -> dict[str, str]:
    """Return the header with warnings; none if there are none."""
    if not sentences:
        return {}
    return {WARNINGS_HEADER: ", ".join(f'%"{_encode_display_string(text)}"' for text in sentences)}


def _encode_display_string(text: str) -> str:
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b'%"' else f"%{byte:02x}"
        for byte in text.encode("utf-8", "replace")
    )
