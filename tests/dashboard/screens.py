"""Every screen of the page, over a service in which there is something to see on each."""

from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.dashboard import flows
from tests.support import scenarios
from tests.support.service import RunningService

THEMES = ("light", "dark")
WIDTHS = {"desk": 1200, "phone": 360}
HOSTILE = "<img src=x onerror=alert(1)>"


@dataclass(frozen=True)
class Screen:
    """An address of the page, and what it takes until there is all to see."""

    name: str
    address: str
    press: str | None = None


def populate(service: RunningService, folder: Path) -> list[Screen]:
    """Data, networks, and jobs in all states; a table whose columns and classes are called as badly as they can be.
    Its screens."""
    digits = _upload(service, flows.digits_csv(folder), "digit")
    table = folder / "people.csv"
    rows = [f"{age},{HOSTILE if age % 3 else 'clerk'},{HOSTILE if age % 2 else 'no'}" for age in range(20, 70)]
    table.write_text("\n".join([f"age,{HOSTILE},pays", *rows]))
    people = _upload(service, table, "pays")
    layers = [{"units": 64, "activation": "relu", "dropout": 0.2}, {"units": 10, "activation": "softmax"}]
    cost = {"inputs": 64, "layers": layers, "cost": "categorical_cross_entropy"}
    reader = service.post("/v1/networks", {**cost, "name": "digits"}, 201)["id"]
    payer = scenarios.network(service, inputs=3, name="people")["id"]
    jobs = [
        {"network_id": reader, "dataset_id": digits, "epochs": 40, "optimizer": "adam", "learning_rate": rate}
        for rate in (0.003, 0.0003)
    ]
    done = [
        service.post("/v1/jobs", {**job, "validation": {"fraction": 0.2}, "name": f"digits {number}"})["id"]
        for number, job in enumerate(jobs, 1)
    ]
    last = scenarios.job(service, network_id=payer, dataset_id=people, epochs=20, name="people 1")["id"]
    for job in (*done, last):
        assert service.finished(job).state == "succeeded"
    batch = service.post(f"/v1/networks/{payer}/batch-predictions", {"dataset_id": people})
    running = scenarios.endless(service, network_id=payer, dataset_id=people, name="people 2")["id"]
    service.trained(running, 3)
    for name in ("xor 1", "xor 2"):
        scenarios.job(service, name=name)
    service.post("/v1/jobs/xor 2/pause")
    assert batch["rows"] == 50
    return [
        Screen("overview", "#/"),
        Screen("datasets", "#/datasets"),
        Screen("dataset-of-images", f"#/datasets/{digits}"),
        Screen("dataset-of-a-table", f"#/datasets/{people}"),
        Screen("networks", "#/networks"),
        Screen("new-network", f"#/networks/new?dataset={digits}"),
        Screen("network", f"#/networks/{reader}?dataset={digits}", "Evaluate"),
        Screen("network-of-a-table", f"#/networks/{payer}?dataset={people}", "Evaluate"),
        Screen("drawing", f"#/networks/{reader}/predict", "Take it"),
        Screen("predictions", f"#/networks/{payer}/predict", "Take it"),
        Screen("jobs", "#/jobs"),
        Screen("new-job", f"#/jobs/new?network={reader}&dataset={digits}"),
        Screen("job-done", f"#/jobs/{done[0]}"),
        Screen("job-running", f"#/jobs/{running}"),
        Screen("comparison", f"#/compare/{'+'.join(done)}"),
        Screen("nothing-there", "#/jobs/job_00000000000000000000000000"),
    ]


def _upload(service: RunningService, file: Path, label: str) -> str:
    answer = service.http.post("/v1/datasets", files={"file": (file.name, file.read_bytes())}, data={"label": label})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def context(browser: Browser, theme: str, width: int) -> BrowserContext:
    return browser.new_context(
        color_scheme="dark" if theme == "dark" else "light", viewport={"width": width, "height": 800}
    )


def show(page: Page, service: RunningService, screen: Screen) -> None:
    """Wait until all of it is there, charts included."""
    page.goto(f"{service.url}/{screen.address}")
    expect(page.locator("main:not([aria-busy]) h1")).to_be_visible()
    expect(page.locator("main")).not_to_contain_text("Loading …")
    if screen.press:
        page.get_by_role("button", name=screen.press, exact=True).first.click()
        done = page.locator("[aria-live] dl.facts, .answer strong")
        expect(done.first).to_be_visible()
    for plot in page.locator(".plot").all():
        expect(plot.locator(".main-svg").first).to_be_visible()
