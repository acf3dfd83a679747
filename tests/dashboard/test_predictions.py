"""Predictions on the page use the values and the scale of the training data."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from playwright.sync_api import Page, Request, expect

from tests.dashboard import flows
from tests.support import scenarios
from tests.support.browser import requires_chromium
from tests.support.service import RunningService

pytestmark = requires_chromium


@pytest.mark.parametrize("numbers", [1, 64], ids=["one field per column", "one field for all"])
def test_loaded_row_is_sent_with_its_values(service: RunningService, page: Page, numbers: int) -> None:
    header = ",".join(["work", "since", *(f"n{index}" for index in range(numbers)), "pays"])
    values = [f"{row}" if row else "" for row in range(8)]
    rows = [
        ",".join(
            [
                " State gov" if row % 2 else " Private",
                f"2024-01-0{row + 1}",
                *[value] * numbers,
                "yes" if row % 2 else "no",
            ]
        )
        for row, value in enumerate(values)
    ]
    table = "\n".join([header, *rows])
    dataset = upload(service, table, label="pays", imputation="mean", types='{"since": "date"}')
    network = train_network(service, dataset)
    page.goto(f"{service.url}/#/networks/{network}/predict")
    # One field per column offers the categories of the network, which have no spaces at their ends.
    spaces = "" if numbers == 1 else " "
    for row, work in ((0, f"{spaces}Private"), (1, f"{spaces}State gov")):
        page.get_by_label("Or load a row").fill(str(row))
        with page.expect_request("**/predictions") as request:
            page.get_by_role("button", name="Load row").click()
        body = parse_body(request.value)
        sent = list(body["rows"][0].values()) if numbers == 1 else body["inputs"][0]
        assert sent[:2] == [work, f"2024-01-0{row + 1}"]
        assert sent[2:] == [row or None] * numbers
        expect(page.locator(".prediction strong")).to_be_visible()
        page.get_by_role("button", name="Predict", exact=True).click()
        expect(page.locator(".prediction strong")).to_be_visible()
    expect(page.get_by_role("alert").filter(has_text=".")).to_have_count(0)


def test_drawing_uses_pixel_scale_and_aborts_superseded_predictions(service: RunningService, page: Page) -> None:
    header = ",".join([*(f"p{index}" for index in range(64)), "digit"])
    rows = [",".join([str(16 * (index % 2 == row % 2)) for index in range(64)] + [f"c{row % 2}"]) for row in range(8)]
    dataset = upload(service, "\n".join([header, *rows]), label="digit")
    network = train_network(service, dataset)
    assert service.http.delete(f"/v1/datasets/{dataset['id']}").status_code == 204

    # Without the dataset, its pixel range is unknown.
    page.goto(f"{service.url}/#/networks/{network}/predict")
    draw_line(page, 40)
    white = page.get_by_label("Value of a white pixel")
    expect(page.locator(".field").filter(has=white)).to_contain_text("Enter this first")
    with page.expect_request("**/predictions") as request:
        white.fill("4")
    assert 1 < max(parse_body(request.value)["inputs"][0]) <= 4
    prediction = page.locator(".prediction strong")
    expect(prediction).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(prediction).to_have_count(0)

    page.route("**/predictions", lambda _: None, times=1)  # never answered
    with page.expect_request("**/predictions"):
        draw_line(page, 80)
    with page.expect_event("requestfailed"):  # aborted by the next one
        draw_line(page, 160)
    expect(prediction).to_be_visible()

    page.get_by_text("Enter values instead").click()
    for index in range(64):
        page.get_by_label(f"p{index}", exact=True).fill("16")
    with page.expect_request("**/predictions") as request:
        page.get_by_role("button", name="Predict", exact=True).click()
    assert parse_body(request.value)["rows"] == [{f"p{index}": 16 for index in range(64)}]


def upload(service: RunningService, table: str, **options: str) -> Mapping[str, str | int]:
    response = service.http.post("/v1/datasets", files={"file": ("table.csv", table.encode())}, data=options)
    assert response.status_code == 201, response.text
    return dict(response.json())


def train_network(service: RunningService, dataset: Mapping[str, str | int]) -> str:
    """Return a network that was trained on the dataset for a few epochs."""
    network = str(scenarios.create_network(service, inputs=dataset["inputs"])["id"])
    job = scenarios.submit_job(service, network_id=network, dataset_id=dataset["id"], epochs=5)["id"]
    assert service.wait_for_job(job).state == "succeeded"
    return network


def parse_body(request: Request) -> dict[str, Any]:
    return dict(json.loads(request.post_data or "{}"))


def draw_line(page: Page, x: float) -> None:
    """Draw a vertical line on the pad."""
    left, top = flows.locate_pad(page)
    page.mouse.move(left + x, top + 40)
    page.mouse.down()
    page.mouse.move(left + x, top + 240, steps=4)
    page.mouse.up()
