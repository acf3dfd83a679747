"""Pages of other sites, in the browser of somebody who can reach the service, can neither change nor read anything."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page

from tests.conftest import StartService
from tests.support import scenarios
from tests.support.browser import launch_chromium, requires_chromium
from tests.support.service import TIMEOUT_SECONDS, RunningService

FOREIGN = "http://evil.example"
FOREIGN_HOSTS = ("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "", "a b")
PAGES = ("/", "/dashboard/app.js", "/dashboard/plotly.js", "/docs", "/docs/oauth2-redirect", "/docs/guide/", "/metrics")
OTHERS = ("/openapi.json", "/nothing/here")
Operation = tuple[str, str]


@pytest.fixture(scope="module")
def operations(service: RunningService) -> list[Operation]:
    """Return method and path of every operation, with ids that nothing has, and of pages and files."""
    documented = [
        (method.upper(), re.sub(r"\{[^}]*\}", "1", path))
        for path, item in service.get("/openapi.json")["paths"].items()
        for method in item
    ]
    assert len(documented) > 50
    return [*documented, *(("GET", path) for path in (*PAGES, *OTHERS))]


def list_everything(service: RunningService) -> list[Any]:
    return [service.get(f"/v1/{kind}?limit=100")["data"] for kind in ("networks", "datasets", "jobs")]


def test_every_operation_rejects_foreign_hosts(service: RunningService, operations: list[Operation]) -> None:
    before = list_everything(service)
    for method, path in operations:
        for host in (
            "evil.example",
            "evil.example:8000",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "a b",
        ):
            response = service.http.request(method, path, headers={"host": host})
            assert response.status_code == 421, (method, path, host)
    assert list_everything(service) == before


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": FOREIGN, "sec-fetch-site": "cross-site"},
        {"origin": FOREIGN, "sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site"},
        {"origin": FOREIGN},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": "http://127.0.0.1:1"},
    ],
    ids=str,
)
def test_operations_that_change_something_reject_other_origins(
    service: RunningService, operations: list[Operation], headers: dict[str, str]
) -> None:
    before = list_everything(service)
    changing = [operation for operation in operations if operation[0] != "GET"]
    assert len(changing) > 30
    for method, path in changing:
        response = service.http.request(method, path, headers=headers)
        assert response.status_code == 403, (method, path)
        body = response.json()
        assert "another origin" in (body["error"] if path.startswith("/v2") else body["detail"])
    assert list_everything(service) == before


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"origin": "http://localhost:8000", "host": "localhost:8000"},
        {"origin": "https://[::1]", "host": "[::1]"},
        {"host": "nabla.localhost"},
        {"host": "LOCALHOST.:80"},
        {"host": "192.168.1.7:8000"},
    ],
    ids=str,
)
def test_requests_of_the_service_s_own_pages_are_accepted(service: RunningService, headers: dict[str, str]) -> None:
    dataset = {"inputs": scenarios.XOR_INPUTS, "labels": scenarios.XOR_LABELS}
    assert service.http.post("/v1/datasets", json=dataset, headers=headers).status_code == 201


@pytest.mark.parametrize("hosts", [b"", b"Host: localhost\r\nHost: localhost\r\n"])
def test_exactly_one_host_is_required(service: RunningService, hosts: bytes) -> None:
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=TIMEOUT_SECONDS) as connection:
        connection.sendall(b"GET /v1/networks HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n")
        with connection.makefile("rb") as response:
            assert b" 421 " in response.readline()


def test_names_are_allowed_by_a_setting(start_service: StartService) -> None:
    service = start_service(allowed_hosts="nabla, *.example.com")
    for host, status in (
        ("nabla:8000", 200),
        ("a.example.com", 200),
        ("a.b.example.com", 200),
        ("example.com", 421),
        ("badexample.com", 421),
        ("other", 421),
        ("localhost", 200),
    ):
        assert service.http.get("/health/live", headers={"host": host}).status_code == status, host


def test_every_response_forbids_frames_embedding_and_sniffing(
    service: RunningService, operations: list[Operation]
) -> None:
    for method, path in operations:
        for headers in ({}, {"host": "evil.example"}):
            with service.http.stream(method, path, headers=headers) as response:
                assert "frame-ancestors 'none'" in response.headers["content-security-policy"], (method, path)
                assert response.headers["cross-origin-resource-policy"] == "same-origin"
                assert response.headers["x-content-type-options"] == "nosniff"


@contextmanager
def serve_page(content: str) -> Iterator[int]:
    """Serve a page at every path, and yield the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """Return a page of a browser in which evil.example is this machine."""
    with launch_chromium("--host-resolver-rules=MAP evil.example 127.0.0.1") as browser:
        yield browser.new_page()


@requires_chromium
def test_page_of_another_site_changes_nothing(service: RunningService, page: Page) -> None:
    job = scenarios.submit_endless_job(service)["id"]
    before = list_everything(service)[:2]
    attack = f"""
        <iframe name="result"></iframe>
        <form method="post" enctype="multipart/form-data" target="result" action="{service.url}/v1/networks">
          <input name="name" value="stolen"><textarea name="file">…</textarea>
        </form>
        <script>
          const send = (path, body, type) => fetch("{service.url}" + path,
            {{method: "POST", mode: "no-cors", body, headers: type ? {{"Content-Type": type}} : {{}}}}).catch(() => 0);
          document.forms[0].submit();
          const form = new FormData();
          form.append("file", new Blob(["a,b\\n1,2\\n3,4\\n"]), "people.csv");
          form.append("target", "b");
          window.done = Promise.all([
            send("/v1/datasets", form),
            send("/v1/datasets?target=b", "a,b\\n1,2\\n", "text/plain"),
            send("/v1/jobs/{job}/cancel"),
            send("/v2/repository/models/xor/unload"),
          ]).then(() => new Promise(resolve => setTimeout(resolve, 0)));
        </script>"""
    with serve_page(attack) as port, page.expect_response(f"{service.url}/v1/networks") as submitted:
        page.goto(f"http://evil.example:{port}/")
        page.evaluate("window.done")
    assert submitted.value.status == 403
    assert list_everything(service)[:2] == before
    assert service.get(f"/v1/jobs/{job}")["state"] in ("queued", "running")
    service.post(f"/v1/jobs/{job}/cancel")


@requires_chromium
def test_name_that_points_to_this_machine_reads_nothing(service: RunningService, page: Page) -> None:
    response = page.goto(f"http://evil.example:{urlsplit(service.url).port}/v1/networks")
    assert response is not None
    assert response.status == 421
    assert "data" not in response.json()


@requires_chromium
@pytest.mark.parametrize("path", ["/", "/docs", "/docs/guide/"])
def test_pages_cannot_be_framed(service: RunningService, page: Page, path: str) -> None:
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    with serve_page(f'<iframe src="{service.url}{path}"></iframe>') as port:
        page.goto(f"http://evil.example:{port}/")
        frame = page.frames[1]
        frame.wait_for_load_state()
        assert not frame.url.startswith(service.url) or frame.locator("body").inner_text() == ""
    assert any("frame-ancestors" in message for message in messages)
