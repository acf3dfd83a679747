"""The page's files over HTTP: security headers, caching and compression."""

import json
from pathlib import Path

import httpx
import pytest

from tests.support.service import RunningService

ROOT = Path(__file__).parents[2]
PLOTLY_PACKAGE = "plotly.js-cartesian-dist-min"
PLOTLY_VERSION = json.loads((ROOT / "package.json").read_text())["devDependencies"][PLOTLY_PACKAGE]
PLOTLY = f"/dashboard/plotly-cartesian-{PLOTLY_VERSION}.min.js"
PAGE_FILES = (
    "/",
    "/dashboard/main.js",
    "/dashboard/lib/theme.js",
    "/dashboard/screens/job.js",
    "/dashboard/style.css",
    "/dashboard/components/components.css",
    "/dashboard/nabla.svg",
)


@pytest.mark.parametrize("path", [*PAGE_FILES, PLOTLY])
def test_files_have_security_headers(service: RunningService, path: str) -> None:
    response = get(service, path)
    policy = response.headers["content-security-policy"].split("; ")
    assert {"default-src 'self'", "object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"} <= set(policy)
    assert not any("script" in directive for directive in policy)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html"),
        ("/dashboard/main.js", "text/javascript"),
        ("/dashboard/style.css", "text/css"),
        ("/dashboard/nabla.svg", "image/svg+xml"),
        (PLOTLY, "text/javascript"),
    ],
)
def test_files_have_their_media_types(service: RunningService, path: str, media_type: str) -> None:
    assert get(service, path).headers["content-type"].split(";")[0] == media_type


@pytest.mark.parametrize("path", PAGE_FILES)
def test_page_files_are_revalidated_with_etag(service: RunningService, path: str) -> None:
    response = get(service, path)
    etag = response.headers["etag"]
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["vary"] == "Accept-Encoding"
    for tags in (etag, f'"other", {etag}', f"W/{etag}"):
        unchanged = service.http.get(path, headers={"if-none-match": tags})
        assert unchanged.status_code == 304
        assert unchanged.content == b""
        assert unchanged.headers["etag"] == etag
        assert unchanged.headers["cache-control"] == "no-cache"
        assert unchanged.headers["vary"] == "Accept-Encoding"
    assert service.http.get(path, headers={"if-none-match": '"other"'}).status_code == 200


def test_plotly_is_cached_for_ever_under_its_version(service: RunningService) -> None:
    redirect = service.http.get("/dashboard/plotly.js")
    assert redirect.status_code == 307
    assert redirect.headers["cache-control"] == "no-cache"
    assert redirect.url.join(redirect.headers["location"]).path == PLOTLY
    response = get(service, PLOTLY)
    assert response.headers["cache-control"] == "max-age=31536000, immutable"
    assert len(response.content) > 1_000_000
    assert service.http.get(PLOTLY, headers={"if-none-match": response.headers["etag"]}).status_code == 304
    assert service.http.get("/dashboard/plotly-0.0.0.js").status_code == 404


def test_plotly_is_that_of_its_package(service: RunningService) -> None:
    package = ROOT / "node_modules" / PLOTLY_PACKAGE
    if not package.exists():
        pytest.skip("needs npm ci")
    assert get(service, PLOTLY).content == (package / "plotly-cartesian.min.js").read_bytes()


@pytest.mark.parametrize("path", ["/", "/dashboard/main.js", "/dashboard/style.css", PLOTLY])
def test_files_are_compressed_if_the_client_accepts_it(service: RunningService, path: str) -> None:
    compressed = get(service, path, "gzip")
    plain = get(service, path, "identity")
    assert compressed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert int(plain.headers["content-length"]) == len(plain.content)
    assert compressed.num_bytes_downloaded < plain.num_bytes_downloaded / 1.5
    assert compressed.content == plain.content
    assert compressed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"


def test_api_responses_and_event_streams_are_not_compressed(service: RunningService) -> None:
    document = get(service, "/openapi.json", "gzip")
    assert len(document.content) > 100_000
    assert "content-encoding" not in document.headers
    assert document.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    with service.http.stream("GET", "/v1/events", headers={"accept-encoding": "gzip"}) as stream:
        assert stream.status_code == 200
        assert "content-encoding" not in stream.headers


@pytest.mark.parametrize(
    "path", ["/dashboard/", "/dashboard/missing.js", "/dashboard/%2e%2e/routes.py", "/dashboard/lib", "/main.js"]
)
def test_unknown_files_are_not_found(service: RunningService, path: str) -> None:
    response = service.http.get(path)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


def test_files_are_read_only(service: RunningService) -> None:
    assert service.http.head("/").status_code == 200
    for path in ("/", "/dashboard/main.js", PLOTLY):
        response = service.http.post(path)
        assert response.status_code == 405
        assert response.headers["content-type"] == "application/problem+json"


def get(service: RunningService, path: str, accept_encoding: str = "gzip") -> httpx.Response:
    response = service.http.get(path, headers={"accept-encoding": accept_encoding})
    assert response.status_code == 200
    return response
