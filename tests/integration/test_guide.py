"""The documentation at /docs/guide/."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import expect

from nabla.app import dashboard
from nabla.app.server import listen
from tests.support.browser import launch_chromium, requires_chromium
from tests.support.service import RunningService

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("guide") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(directory)]
    subprocess.run(command, cwd=ROOT, check=True)
    return directory


@contextmanager
def served(site: Path) -> Iterator[str]:
    """Serve the documentation as the service does; yield the address."""
    app = FastAPI()
    dashboard.mount_guide(app, site)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    with closing(listen("127.0.0.1", 0)) as socket:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{socket.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def test_guide_does_not_shadow_swagger_ui(service: RunningService) -> None:
    assert "swagger-ui" in service.http.get("/docs").text
    page = service.http.get("/docs/guide", follow_redirects=True)
    assert page.headers["content-type"].startswith("text/html")
    built = (dashboard.GUIDE_SITE / "index.html").is_file()
    assert page.status_code == (200 if built else 404)
    assert ("gradient of the cost" if built else "scripts/docs build") in page.text


def test_missing_site_says_how_to_build_it(tmp_path: Path) -> None:
    with served(tmp_path) as url:
        for path in ("/docs/guide/", "/docs/guide/reference/cli/"):
            response = httpx.get(url + path)
            assert response.status_code == 404
            assert "scripts/docs build" in response.text


def test_pages_are_served_with_a_content_policy(site: Path) -> None:
    with served(site) as url, httpx.Client(base_url=f"{url}/docs/guide", follow_redirects=True) as http:
        for path in ("/", "/reference/settings", "/images/training-light.png"):
            response = http.get(path)
            assert response.status_code == 200, path
            assert "default-src 'self'" in response.headers["Content-Security-Policy"]
        assert http.get("/nothing").status_code == 404


@requires_chromium
def test_pages_load_nothing_from_other_hosts_and_search_works(site: Path) -> None:
    requested: list[str] = []
    errors: list[str] = []
    with served(site) as url, launch_chromium() as browser:
        page = browser.new_page()
        page.on("request", lambda request: requested.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        for file in site.rglob("index.html"):
            assert file.read_text().count("<h1") == 1, file
        # One of each layout.
        for path in ("", "tutorials/python/", "how-to/upload-data/", "reference/http-api/", "reference/python-client/"):
            page.goto(f"{url}/docs/guide/{path}")
            expect(page.locator("h1")).to_have_count(1)
        search = page.get_by_placeholder("Search")
        result = page.locator(".md-search-result__item").first
        for _ in range(30):  # the page does not show when it begins to listen to the keys
            search.fill("")
            search.press_sequentially("checkpoint")
            with suppress(AssertionError):
                expect(result).to_be_visible(timeout=1000)
                break
        expect(result).to_be_visible()
        assert {urlsplit(address).netloc for address in requested if not address.startswith("data:")} == {
            urlsplit(url).netloc
        }
    assert errors == []
