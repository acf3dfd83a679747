"""/ and /dashboard"""

from typing import Annotated

from fastapi import APIRouter, Header, Response
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from nabla.app.dashboard.static_files import Served, library, library_version, names, page_file

# Functions and not coroutines: files are read and packed in threads.
router = APIRouter(include_in_schema=False)

# All that the page is made of comes from here, and what it is told by anybody is never run. The charts' library sets
# styles, and draws pictures that are saved.
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Encoding",
}
# A file that keeps its address is asked about each time, which is answered with 304 as long as it is the same.
_ASK, _KEEP = "no-cache", "max-age=31536000, immutable"

AcceptEncoding = Annotated[str, Header()]
IfNoneMatch = Annotated[str, Header()]


@router.get("/")
def page(accept_encoding: AcceptEncoding = "", if_none_match: IfNoneMatch = "") -> Response:
    return _answer(page_file("index.html"), _ASK, accept_encoding, if_none_match)


@router.get("/dashboard/plotly.js")
def newest_library() -> Response:
    """Its address has its version, so that a browser asks for each of them once."""
    return RedirectResponse(f"plotly-{library_version()}.js", 307, {"Cache-Control": _ASK})


@router.get("/dashboard/plotly-{version}.js")
def charts(version: str, accept_encoding: AcceptEncoding = "", if_none_match: IfNoneMatch = "") -> Response:
    if version != library_version():
        raise HTTPException(404)
    return _answer(library(), _KEEP, accept_encoding, if_none_match)


@router.get("/dashboard/{name}")
def file(name: str, accept_encoding: AcceptEncoding = "", if_none_match: IfNoneMatch = "") -> Response:
    if name not in names():
        raise HTTPException(404)
    return _answer(page_file(name), _ASK, accept_encoding, if_none_match)


def _answer(file: Served, caching: str, accept_encoding: str, if_none_match: str) -> Response:
    headers = {**_HEADERS, "Cache-Control": caching, "ETag": file.tag}
    # What stands between may have made the tag a weak one.
    if file.tag in (tag.strip().removeprefix("W/") for tag in if_none_match.split(",")):
        return Response(status_code=304, headers=headers)
    packed = "gzip" in (part.split(";")[0].strip() for part in accept_encoding.split(","))
    if packed:
        headers["Content-Encoding"] = "gzip"
    return Response(file.packed if packed else file.plain, 200, headers, media_type=file.kind)
