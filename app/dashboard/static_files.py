"""The files of the dashboard: the page's own, and the library of its charts as its package carries it."""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

LIBRARY = "plotly"
_PAGE = Path(__file__).parent / "static"
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Served:
    """A file as it is sent: plain, or packed with gzip. `tag` tells one content from another."""

    kind: str
    plain: bytes
    packed: bytes
    tag: str


@cache
def names() -> frozenset[str]:
    """Of all files of the page."""
    return frozenset(file.name for file in _PAGE.iterdir() if file.suffix in _KINDS)


@cache
def page_file(name: str) -> Served:
    """One of `names`."""
    file = _PAGE / name
    return _served(file.read_bytes(), _KINDS[file.suffix])


def library_version() -> str:
    return distribution(LIBRARY).version


@cache
def library() -> Served:
    """Read when it is first asked for. The package is not imported: of all that is in it only this file is wanted."""
    file = distribution(LIBRARY).locate_file("plotly/package_data/plotly.min.js")
    return _served(Path(str(file)).read_bytes(), _KINDS[".js"])


def _served(content: bytes, kind: str) -> Served:
    return Served(kind, content, gzip.compress(content, 6, mtime=0), f'"{hashlib.sha256(content).hexdigest()[:32]}"')
