"""What goes into requests, as the service reads it."""

import base64
import json
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from nabla.app.client.errors import refusal

ARROW_STREAM = "application/vnd.apache.arrow.stream"
BYTES = "application/octet-stream"
NPY = "application/x-npy"

# As the service takes a name: none that looks like an id.
_NAME = re.compile(r"(?!(?:net|ds|job|bp)_)[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}")
_PACKED = (".gz", ".zst", ".zstd")
# Of files whose first bytes do not say what they are, as a body has no name.
_FORMATS = {".tsv": "tsv", ".tab": "tsv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "json", ".csv": "csv"}


def as_text(options: Mapping[str, Any]) -> dict[str, str]:
    """Lists and objects as the service reads them in forms and queries; what is None is left out."""
    given = {name: value for name, value in options.items() if value is not None}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}


def by_id(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a JSON body, where a job, a network or a dataset stands for its id."""
    return {name: getattr(value, "id", value) for name, value in fields.items()}


def content_digest(sha256: bytes) -> str:
    """Content-Digest, RFC 9530."""
    return f"sha-256=:{base64.b64encode(sha256).decode()}:"


def told_by_name(file: str) -> dict[str, str]:
    """What a file's name says of a dataset: what it is called, and the format, where the content might not tell."""
    path = PurePath(file)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    found = {"name": path.stem} if _NAME.fullmatch(path.stem) else {}
    if suffixes and suffixes[-1] in _FORMATS:
        found["format"] = _FORMATS[suffixes[-1]]
    return found


def problem_in(status: int, content: bytes, retry_after: str | None) -> Exception:
    """What an answer that is an error says."""
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    problem = found if isinstance(found, dict) else {"detail": content[:200].decode(errors="replace")}
    seconds = float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None
    return refusal(status, problem, seconds)
