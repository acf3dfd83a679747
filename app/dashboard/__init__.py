"""Static pages: the dashboard at /, and the documentation at /docs/guide/.

Wheels contain the built documentation. In a checkout `scripts/docs build` builds it.
"""

from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Scripts come from the service alone. Plotly sets inline styles, and saves charts through data: and blob: images.
_DASHBOARD_POLICY = "; ".join(
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
# Inline scripts of the documentation set the theme and configure the search, one of Swagger UI starts it.
_DOCS_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_DASHBOARD_HEADERS = {
    "Content-Security-Policy": _DASHBOARD_POLICY,
    "Referrer-Policy": "no-referrer",
    # The GZip middleware leaves it out of a 304 and of small files.
    "Vary": "Accept-Encoding",
}
_DOCS_HEADERS = {"Content-Security-Policy": _DOCS_POLICY}
_REVALIDATE = "no-cache"
_IMMUTABLE = "max-age=31536000, immutable"
# FileResponse sends chunks of this size. Compressing one takes 2 ms, which is spent in a thread, off the event loop.
_FILE_CHUNK_BYTES = 64 * 1024

_DASHBOARD_DIR = Path(__file__).parent / "static"
# plotly.js as npm's plotly.js-cartesian-dist-min has it, under the MIT license: the Python package takes 61 MB for it.
_PLOTLY_FILE = next((Path(__file__).parent / "vendor").glob("plotly-*.min.js"))

GUIDE_PATH = "/docs/guide"
GUIDE_SITE = Path(__file__).parent.parent / "guide"
_GUIDE_NOT_BUILT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Nabla</title>
<h1>The documentation is not built</h1>
<p>This service runs from a checkout. Build the documentation, then restart the service:</p>
<pre>scripts/docs build</pre>
<p>The HTTP API is at <a href="/docs">/docs</a>.</p>
</html>
"""


class HeadersMiddleware:
    """Sets headers of every response."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str]) -> None:
        self.app = app
        self.headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI connection."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self.headers)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class StaticFile(StaticFiles):
    """Serves a single file, whatever the URL."""

    def __init__(self, file: Path) -> None:
        super().__init__(directory=file.parent)
        self.name = file.name

    def get_path(self, scope: Scope) -> str:
        """Return the path below the directory."""
        return self.name


def _add_middleware(app: ASGIApp, cache_control: str) -> ASGIApp:
    compressed = GZipMiddleware(app, compresslevel=6, thread_minimum_size=_FILE_CHUNK_BYTES)
    return HeadersMiddleware(compressed, {**_DASHBOARD_HEADERS, "Cache-Control": cache_control})


# The middleware wraps these routes only, so that responses and event streams of the API are never compressed.
router = APIRouter(
    include_in_schema=False,
    routes=[
        Route("/", _add_middleware(StaticFile(_DASHBOARD_DIR / "index.html"), _REVALIDATE)),
        # The version in the URL lets browsers cache the file indefinitely.
        Route(f"/dashboard/{_PLOTLY_FILE.name}", _add_middleware(StaticFile(_PLOTLY_FILE), _IMMUTABLE)),
    ],
)


@router.get("/dashboard/plotly.js")
async def redirect_to_plotly() -> RedirectResponse:
    """Redirect to the version of plotly.js that the package has."""
    return RedirectResponse(_PLOTLY_FILE.name, headers={"Cache-Control": _REVALIDATE})


# Last, because it matches every path below /dashboard.
router.mount("/dashboard", _add_middleware(StaticFiles(directory=_DASHBOARD_DIR), _REVALIDATE))


def mount_guide(app: FastAPI, site: Path = GUIDE_SITE) -> None:
    """Add the documentation to the service, or a page that says how to build it."""
    if (site / "index.html").is_file():
        app.mount(GUIDE_PATH, HeadersMiddleware(StaticFiles(directory=site, html=True), _DOCS_HEADERS))
    else:
        app.add_api_route(f"{GUIDE_PATH}/{{path:path}}", _guide_not_built, include_in_schema=False)


def protect_swagger_ui(app: FastAPI) -> None:
    """Add a policy to the pages of Swagger UI."""
    for route in app.routes:
        if isinstance(route, Route) and route.path in (app.swagger_ui_oauth2_redirect_url, "/docs"):
            route.app = HeadersMiddleware(route.app, _DOCS_HEADERS)


async def _guide_not_built() -> HTMLResponse:
    return HTMLResponse(_GUIDE_NOT_BUILT, 404)
