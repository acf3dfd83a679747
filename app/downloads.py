"""Files as answers, a part at a time."""

import os
from collections.abc import Iterator
from typing import BinaryIO

from fastapi.responses import StreamingResponse

BYTES = "application/octet-stream"
_BYTES_AT_ONCE = 2**20


def download(file: BinaryIO, name: str, kind: str = BYTES) -> StreamingResponse:
    """All of an open file, which is closed then, to be saved under this name."""
    response = sent(file, kind)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def sent(file: BinaryIO, kind: str) -> StreamingResponse:
    """All of an open file, which is closed then."""
    headers = {"Content-Length": str(os.fstat(file.fileno()).st_size)}
    return StreamingResponse(_parts(file), media_type=kind, headers=headers)


def _parts(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while part := file.read(_BYTES_AT_ONCE):
            yield part
