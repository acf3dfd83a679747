"""Which of several kinds a client would rather have, by its Accept header (RFC 9110, 12.5.1)."""

import base64
import binascii
import hashlib
import re
from contextlib import suppress
from functools import lru_cache
from typing import Annotated

from fastapi import Header, Request
from starlette.concurrency import run_in_threadpool

from nabla.engine.errors import InvalidInput


@lru_cache(maxsize=256)
def preferred(accept: str, offered: tuple[str, ...]) -> str:
    """The one that the client wishes most; of equals, and for who does not say, the first."""
    if not accept or accept == "*/*":
        return offered[0]
    wishes = dict(_wishes(part) for part in accept.lower().split(","))

    def wish(kind: str) -> float:
        main = kind.partition("/")[0]
        return next((wishes[name] for name in (kind, f"{main}/*", "*/*") if name in wishes), 0.0)

    return max(offered, key=wish)


def _wishes(part: str) -> tuple[str, float]:
    kind, *parameters = (word.strip() for word in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            return kind, _weight(parameter[2:])
    return kind, 1.0


def _weight(word: str) -> float:
    """What cannot be read is not wished."""
    with suppress(ValueError):
        return float(word)
    return 0.0


Prefer = Annotated[
    str | None,
    Header(description="wait=SECONDS, or respond-async: how long to wait for the result before the answer is 202."),
]
_SECONDS = 30.0
_MOST_SECONDS = 600.0


def seconds_to_wait(prefer: str | None) -> float:
    """What is not understood is passed over, as the RFC asks."""
    preferences = dict(_split(part) for part in (prefer or "").split(","))
    if "respond-async" in preferences:
        return 0.0
    try:
        return min(max(float(preferences.get("wait", _SECONDS)), 0.0), _MOST_SECONDS)
    except ValueError:
        return _SECONDS


def _split(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return name.strip().lower(), value.strip()


_FIELD = "Content-Digest"
_MEMBER = re.compile(r"([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):", re.ASCII)


class ContentDigest:
    """Of the body of a request. Raises InvalidInput at once if the header does not say it in a way that is known."""

    def __init__(self, request: Request) -> None:
        header = ",".join(request.headers.getlist(_FIELD))
        self._given = _sha256_in(header) if header else None
        self._hash = hashlib.sha256()

    async def see(self, part: bytes) -> None:
        """What has arrived next. Without a header nothing is looked at."""
        if self._given is not None:
            await run_in_threadpool(self._hash.update, part)

    def check(self) -> None:
        """All has arrived. Raises InvalidInput if it is something else."""
        found = self._hash.hexdigest()
        if self._given is not None and found != self._given:
            raise InvalidInput(_FIELD, f"What has arrived has the SHA-256 {found}, not {self._given}; send it again.")


def _sha256_in(header: str) -> str:
    """In hexadecimal digits."""
    given = None
    for item in header.split(","):
        member = _MEMBER.fullmatch(item.strip())
        if member is None:
            raise InvalidInput(_FIELD, "Expected sha-256=:…: with the digest in base64.")
        if member[1] == "sha-256":
            given = member[2]
    if given is None:
        raise InvalidInput(_FIELD, "Only sha-256 is known here; expected sha-256=:…: with the digest in base64.")
    try:
        digest = base64.b64decode(given, validate=True)
    except binascii.Error:
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise InvalidInput(
            _FIELD, "This is no SHA-256; expected sha-256=:…: with the 32 bytes of the digest in base64."
        )
    return digest.hex()
