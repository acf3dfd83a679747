"""Jobs: the form that starts one, the screens that follow it, and the history of a chart."""

import json
import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.dashboard import flows
from tests.support import scenarios
from tests.support.browser import requires_chromium
from tests.support.service import RunningService

pytestmark = requires_chromium
_ADD_EPOCHS = """async () => {
    const { JobHistory } = await import("/dashboard/lib/job_history.js");
    const history = new JobHistory();
    for (let epoch = 1; epoch <= 100000; epoch++) history.add({ epoch, cost: 1 / epoch });
    return history.epochs.map(({ epoch }) => epoch);
}"""
_SYNC_TWICE = """async (id) => {
    const { JobHistory } = await import("/dashboard/lib/job_history.js");
    const job = await (await fetch(`/v1/jobs/${id}`)).json();
    const history = new JobHistory();
    const { signal } = new AbortController();
    await history.sync({ ...job, epoch: 100 }, signal);
    history.add({ epoch: job.epochs + 7, cost: 0 });
    await history.sync(job, signal);
    return history.epochs.map(({ epoch }) => epoch);
}"""


@pytest.fixture
def running_job(service: RunningService) -> Iterator[str]:
    """Run a job of more than an hour, with a time limit of ten minutes."""
    dataset = scenarios.create_2000_row_dataset(service)["id"]
    limits = {"max_seconds": 600, "checkpoints": {"seconds": 1}}
    job = scenarios.submit_endless_job(service, name="ten minutes", dataset_id=dataset, **limits)["id"]
    scenarios.wait_until_running(service, job)
    yield job
    service.http.post(f"/v1/jobs/{job}/cancel")


def test_lbfgs_form_disables_mini_batch_fields_and_its_job_shows_r2(service: RunningService, page: Page) -> None:
    sums = {"inputs": scenarios.XOR_INPUTS, "targets": [[0], [1], [1], [2]], "name": "sums"}
    dataset = service.post("/v1/datasets", sums, 201)["id"]
    layers = [{"units": 1, "activation": "identity"}]
    network = scenarios.create_network(service, layers=layers, cost="quadratic", name="sums")["id"]
    unlabeled = {"inputs": [[0, 1]], "unlabeled": True}
    for _ in range(3):
        service.post("/v1/datasets", unlabeled, 201)
    # Pages of two stand for a service with so many datasets that the trainable one is not on the first page.
    page.route(
        "**/v1/datasets?limit=100*",
        lambda route: route.continue_(url=route.request.url.replace("limit=100", "limit=2")),
    )
    page.goto(f"{service.url}/#/jobs/new?network={network}")
    expect(page.get_by_label("Dataset").locator(f"option[value={dataset}]")).to_have_count(1)
    page.get_by_label("Dataset").select_option(dataset)
    page.get_by_label("Optimizer").select_option("l-bfgs")
    expect(page.get_by_label("Learning rate schedule")).to_be_disabled()
    page.get_by_role("button", name="Start job").click()
    flows.expect_state(page, "succeeded")
    expect(page.get_by_role("heading", name="R²")).to_be_visible()
    assert float(flows.read_value(page, "R²")) > 0.7


def test_forms_have_the_proposals_of_the_selected_dataset(service: RunningService, page: Page) -> None:
    few = service.post("/v1/datasets", {"inputs": [[0], [1]] * 10, "labels": ["a", "b"] * 10, "name": "few"}, 201)
    rows = {"inputs": [[row] for row in range(100)], "targets": [[row % 7] for row in range(100)], "name": "many"}
    many = service.post("/v1/datasets", rows, 201)
    page.goto(f"{service.url}/#/networks/new?dataset={many['id']}")
    expect(page.get_by_label("Target scaling")).to_have_value("standardize")
    page.get_by_label("Dataset").select_option(few["id"])
    expect(page.get_by_label("Cost function")).to_have_value("binary_cross_entropy")
    expect(page.get_by_label("Target scaling")).to_have_value("none")
    page.get_by_label("Dataset").select_option(many["id"])
    expect(page.get_by_label("Target scaling")).to_have_value("standardize")
    page.get_by_role("button", name="Create network").click()
    flows.expect_heading(page, "New job")

    fraction, patience = page.get_by_label("Validation fraction"), page.get_by_label("Patience")
    expect(fraction).to_have_value("0.1")
    page.get_by_text("Why these values").click()
    expect(page.locator("li", has_text="Early stopping: Training stops when")).to_be_visible()
    page.get_by_label("Epochs").fill("3")
    page.get_by_label("Dataset").select_option(few["id"])
    expect(fraction).to_have_value("0")
    expect(page.get_by_label("Early stopping")).not_to_be_checked()
    patience.fill("7")
    page.get_by_label("Dataset").select_option(many["id"])
    expect(fraction).to_have_value("0.1")
    expect(patience).to_have_value("7")
    expect(page.locator(".form-summary")).to_have_text("Trains on 90 of 100 rows, for at most 3 epochs.")
    learning_rate = page.get_by_label("Learning rate η")
    page.get_by_label("Optimizer").select_option("sgd")
    expect(learning_rate).to_have_value("0.1")
    page.get_by_label("Optimizer").select_option("adam")
    expect(learning_rate).to_have_value("0.001")
    with page.expect_request("**/v1/jobs") as request:
        page.get_by_role("button", name="Start job").click()
    body = json.loads(request.value.post_data or "")
    assert body["epochs"] == 3
    # The form has no field for the weights that are restored.
    assert body["early_stopping"] == {"patience": 7, "restore_best_weights": True}
    flows.expect_state(page)


def test_screens_follow_running_job_without_replacing_elements(
    service: RunningService, running_job: str, page: Page
) -> None:
    page.goto(f"{service.url}/#/jobs/{running_job}")
    expect_change(page.locator("dl.key-values dd").first)
    assert re.fullmatch(r"(9|10) min", flows.read_value(page, "Time remaining (estimate)"))
    while not (checkpoints := service.get(f"/v1/jobs/{running_job}/checkpoints")["data"]):
        assert service.get(f"/v1/jobs/{running_job}")["state"] == "running"
    newest = checkpoints[0]["number"]
    page.evaluate("() => { const now = Date.now(); Date.now = () => now + 60_000; }")
    page.wait_for_function(
        "number => Number(document.querySelector('[aria-label=Checkpoints] tbody th')?.textContent) >= number",
        arg=newest,
    )
    page.goto(f"{service.url}/#/compare/{running_job}")
    cells = page.locator("tbody tr > *")
    link = cells.first.locator("a").element_handle()
    expect_change(cells.nth(2))
    expect_change(cells.last)
    assert link.evaluate("link => link.isConnected")


def test_queued_job_shows_its_position(service: RunningService, running_job: str, page: Page) -> None:
    first, last = (scenarios.submit_job(service)["id"] for _ in range(2))
    page.goto(f"{service.url}/#/jobs/{last}")
    expect(page.locator("p.state")).to_contain_text("1 job ahead in the queue.")
    service.post(f"/v1/jobs/{first}/cancel")
    expect(page.locator("p.state")).to_contain_text("Next in the queue.")
    service.post(f"/v1/jobs/{last}/cancel")


@pytest.mark.parametrize("screen", ["jobs", "compare"])
def test_chart_of_quick_job_has_every_epoch(service: RunningService, running_job: str, page: Page, screen: str) -> None:
    job = scenarios.submit_job(service, epochs=60)["id"]
    page.goto(f"{service.url}/#/{screen}/{job}")
    expect(page.get_by_text("queued").first).to_be_visible()
    service.post(f"/v1/jobs/{running_job}/cancel")
    expect(page.get_by_text("succeeded").first).to_be_visible()
    page.wait_for_function(
        "epochs => document.querySelector('.plot').data?.[0]?.x.join() === epochs.join()", arg=[*range(1, 61)]
    )


def test_long_history_is_downsampled_evenly_and_drops_lost_epochs(service: RunningService, page: Page) -> None:
    job = scenarios.submit_job(service, epochs=5000)["id"]
    assert service.wait_for_job(job).state == "succeeded"
    page.goto(service.url)
    epochs = page.evaluate(_ADD_EPOCHS)
    assert len(epochs) <= 1500
    assert epochs[-1] == 100_000
    assert epochs[0] == 1
    assert max(after - before for before, after in pairwise(epochs)) <= 400
    epochs = page.evaluate(_SYNC_TWICE, job)
    assert epochs == sorted(set(epochs))
    assert epochs[-1] == 5000
    assert epochs[0] == 1


def expect_change(locator: Locator) -> None:
    """Wait until the text changes."""
    expect(locator).not_to_have_text(locator.inner_text())
