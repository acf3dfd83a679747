"""Content-Digest, RFC 9530: what a sender says of a body, held against what has arrived. SHA-256 is known."""

import base64
import binascii
import hashlib
import re

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from engine.errors import InvalidInput

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
