"""Jobs from their form on, as their screens follow them."""

import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.dashboard import flows
from tests.support import scenarios
from tests.support.browser import needs_chromium
from tests.support.service import RunningService

pytestmark = needs_chromium
_LONG = """async () => {
    const { History } = await import("/dashboard/history.js");
    const history = new History();
    for (let epoch = 1; epoch <= 100000; epoch++) history.add({ epoch, cost: 1 / epoch });
    return history.epochs.map((one) => one.epoch);
}"""
_CAUGHT_UP = """async (id) => {
    const { History } = await import("/dashboard/history.js");
    const job = await (await fetch(`/v1/jobs/${id}`)).json();
    const history = new History();
    const { signal } = new AbortController();
    await history.catchUp({ ...job, epoch: 100 }, signal);
    history.add({ epoch: job.epochs + 7, cost: 0 });
    await history.catchUp(job, signal);
    return history.epochs.map((one) => one.epoch);
}"""


@pytest.fixture
def running(service: RunningService) -> Iterator[str]:
    """A job that would take an hour at least, and may take ten minutes."""
    rows = scenarios.many_rows(service)["id"]
    limits = {"max_seconds": 600, "checkpoints": {"seconds": 1}}
    made = scenarios.endless(service, name="ten minutes", dataset_id=rows, **limits)["id"]
    scenarios.started(service, made)
    yield made
    service.post(f"/v1/jobs/{made}/cancel")


def test_a_form_asks_for_what_an_optimizer_takes(service: RunningService, page: Page) -> None:
    """And the screen of its job knows from the start what it will draw."""
    sums = {"inputs": scenarios.XOR_INPUTS, "targets": [[0], [1], [1], [2]], "name": "sums"}
    dataset = service.post("/v1/datasets", sums, 201)["id"]
    layers = [{"units": 1, "activation": "identity"}]
    network = scenarios.network(service, layers=layers, cost="quadratic", name="sums")["id"]
    rows = {"inputs": [[0, 1]], "unlabeled": True}
    for _ in range(3):
        service.post("/v1/datasets", rows, 201)
    # As of a service that has many others.
    page.route(
        "**/v1/datasets?limit=100*",
        lambda route: route.continue_(url=route.request.url.replace("limit=100", "limit=2")),
    )
    page.goto(f"{service.url}/#/jobs/new?network={network}")
    expect(page.get_by_label("Dataset").locator(f"option[value={dataset}]")).to_have_count(1)
    page.get_by_label("Dataset").select_option(dataset)
    page.get_by_label("Optimizer").select_option("l-bfgs")
    expect(page.get_by_label("Schedule of the rate")).to_be_disabled()
    page.get_by_role("button", name="Start job").click()
    flows.in_state(page, "succeeded")
    expect(page.get_by_role("heading", name="R²")).to_be_visible()
    assert float(flows.fact(page, "R²")) > 0.7


def test_screens_keep_up_with_a_job_and_leave_in_place_what_is_there(
    service: RunningService, running: str, page: Page
) -> None:
    page.goto(f"{service.url}/#/jobs/{running}")
    changes(page.locator("dl.facts dd").first)
    assert re.fullmatch(r"(9|10) min", flows.fact(page, "Still to go, about"))
    while not (saved := service.get(f"/v1/jobs/{running}/checkpoints")["data"]):
        assert service.get(f"/v1/jobs/{running}")["state"] == "running"
    newest = saved[0]["number"]
    page.evaluate("() => { const now = Date.now(); Date.now = () => now + 60_000; }")
    page.wait_for_function(
        "number => Number(document.querySelector('[aria-label=Checkpoints] tbody th')?.textContent) >= number",
        arg=newest,
    )
    page.goto(f"{service.url}/#/compare/{running}")
    cells = page.locator("tbody tr > *")
    link = cells.first.locator("a").element_handle()
    changes(cells.nth(2))
    changes(cells.last)
    assert link.evaluate("link => link.isConnected")


def test_a_job_that_waits_says_how_many_are_before_it(service: RunningService, running: str, page: Page) -> None:
    first, last = (scenarios.job(service)["id"] for _ in range(2))
    page.goto(f"{service.url}/#/jobs/{last}")
    expect(page.locator("p.state")).to_contain_text("1 job before it.")
    service.post(f"/v1/jobs/{first}/cancel")
    expect(page.locator("p.state")).to_contain_text("It is the next to run.")
    service.post(f"/v1/jobs/{last}/cancel")


def test_a_long_history_keeps_its_past_and_forgets_what_was_lost(service: RunningService, page: Page) -> None:
    done = scenarios.job(service, epochs=5000)["id"]
    assert service.finished(done).state == "succeeded"
    page.goto(service.url)
    epochs = page.evaluate(_LONG)
    assert len(epochs) <= 1500
    assert epochs[-1] == 100_000
    assert epochs[0] == 1
    assert max(after - before for before, after in pairwise(epochs)) <= 400
    epochs = page.evaluate(_CAUGHT_UP, done)
    assert epochs == sorted(set(epochs))
    assert epochs[-1] == 5000
    assert epochs[0] == 1


def changes(place: Locator) -> None:
    """Wait until something else stands there."""
    expect(place).not_to_have_text(place.inner_text())
