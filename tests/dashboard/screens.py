"""All screens of the dashboard, over a service with data for each of them."""

from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.dashboard import flows
from tests.support import scenarios
from tests.support.service import RunningService

THEMES = ("light", "dark")
WIDTHS = {"desktop": 1200, "phone": 360}
HOSTILE_NAME = "<img src=x onerror=alert(1)>"


@dataclass(frozen=True)
class Screen:
    """A screen: its URL hash, and the button to click before its content is complete."""

    name: str
    hash: str
    button: str | None = None


def populate(service: RunningService, directory: Path) -> list[Screen]:
    """Create datasets, networks, and jobs in all states, and return the screens that show them.

    One dataset has columns and classes whose names are HTML.
    """
    digits = _upload(service, flows.write_digits_csv(directory), "digit")
    table = directory / "people.csv"
    rows = [
        f"{age},{HOSTILE_NAME if age % 3 else 'clerk'},{HOSTILE_NAME if age % 2 else 'no'}" for age in range(20, 70)
    ]
    table.write_text("\n".join([f"age,{HOSTILE_NAME},pays", *rows]))
    people = _upload(service, table, "pays")
    layers = [{"units": 64, "activation": "relu", "dropout": 0.2}, {"units": 10, "activation": "softmax"}]
    network = {"inputs": 64, "layers": layers, "cost": "categorical_cross_entropy", "name": "digits"}
    digits_network = service.post("/v1/networks", network, 201)["id"]
    people_network = scenarios.create_network(service, inputs=3, name="people")["id"]
    job = {"network_id": digits_network, "dataset_id": digits, "epochs": 40, "validation": {"fraction": 0.2}}
    finished = [
        service.post("/v1/jobs", {**job, "optimizer": "adam", "learning_rate": rate, "name": f"digits {number}"})["id"]
        for number, rate in ((1, 0.003), (2, 0.0003))
    ]
    people_job = scenarios.submit_job(
        service, network_id=people_network, dataset_id=people, epochs=20, name="people 1"
    )["id"]
    for job_id in (*finished, people_job):
        assert service.wait_for_job(job_id).state == "succeeded"
    batch = service.post(f"/v1/networks/{people_network}/batch-predictions", {"dataset_id": people})
    assert batch["rows"] == 50
    running = scenarios.submit_endless_job(service, network_id=people_network, dataset_id=people, name="people 2")["id"]
    service.wait_for_epoch(running, 3)
    for name in ("xor 1", "xor 2"):
        scenarios.submit_job(service, name=name)
    service.post("/v1/jobs/xor 2/pause")
    return [
        Screen("overview", "#/"),
        Screen("datasets", "#/datasets"),
        Screen("dataset-of-images", f"#/datasets/{digits}"),
        Screen("dataset-of-a-table", f"#/datasets/{people}"),
        Screen("networks", "#/networks"),
        Screen("new-network", f"#/networks/new?dataset={digits}"),
        Screen("network", f"#/networks/{digits_network}?dataset={digits}", "Evaluate"),
        Screen("network-of-a-table", f"#/networks/{people_network}?dataset={people}", "Evaluate"),
        Screen("drawing", f"#/networks/{digits_network}/predict", "Load row"),
        Screen("predictions", f"#/networks/{people_network}/predict", "Load row"),
        Screen("jobs", "#/jobs"),
        Screen("new-job", f"#/jobs/new?network={digits_network}&dataset={digits}"),
        Screen("job-finished", f"#/jobs/{finished[0]}"),
        Screen("job-running", f"#/jobs/{running}"),
        Screen("comparison", f"#/compare/{'+'.join(finished)}"),
        Screen("missing-job", "#/jobs/job_00000000000000000000000000"),
    ]


def _upload(service: RunningService, file: Path, label: str) -> str:
    response = service.http.post("/v1/datasets", files={"file": (file.name, file.read_bytes())}, data={"label": label})
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def new_context(browser: Browser, theme: str, width: int) -> BrowserContext:
    """Return a browser context with a system theme and a window width."""
    return browser.new_context(
        color_scheme="dark" if theme == "dark" else "light", viewport={"width": width, "height": 800}
    )


def open_screen(page: Page, service: RunningService, screen: Screen) -> None:
    """Open a screen and wait until it is complete, including its charts."""
    page.goto(f"{service.url}/{screen.hash}")
    expect(page.locator("main:not([aria-busy]) h1")).to_be_visible()
    expect(page.locator("main")).not_to_contain_text("Loading…")
    if screen.button:
        page.get_by_role("button", name=screen.button, exact=True).first.click()
        result = page.locator("[aria-live] dl.key-values, .prediction strong")
        expect(result.first).to_be_visible()
    for plot in page.locator(".plot").all():
        expect(plot.locator(".main-svg").first).to_be_visible()
