"""What is asked of a network on its screen is what was learned: the same values, of the same scale."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from playwright.sync_api import Page, Request, expect

from tests.support import scenarios
from tests.support.browser import needs_chromium
from tests.support.service import RunningService

pytestmark = needs_chromium


@pytest.mark.parametrize("numbers", [1, 64])
def test_a_row_is_predicted_as_it_was_learned(service: RunningService, page: Page, numbers: int) -> None:
    """In fields, and all in one."""
    head = ",".join(["work", "since", *(f"n{place}" for place in range(numbers)), "pays"])
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
    dataset = upload(service, "\n".join([head, *rows]), label="pays", imputation="mean", types='{"since": "date"}')
    network = trained(service, dataset)
    page.goto(f"{service.url}/#/networks/{network}/predict")
    for row, work in ((0, " Private"), (1, " State gov")):
        page.get_by_label("Or take a row").fill(str(row))
        with page.expect_request("**/predictions") as sent:
            page.get_by_role("button", name="Take it").click()
        asked = body(sent.value)
        (given,) = asked["rows"] if numbers == 1 else asked["inputs"]
        given = list(given.values()) if numbers == 1 else given
        assert given[:2] == [work, f"2024-01-0{row + 1}"]
        assert given[2:] == [row or None] * numbers
        expect(page.locator(".answer strong")).to_be_visible()
        page.get_by_role("button", name="Predict", exact=True).click()
        expect(page.locator(".answer strong")).to_be_visible()
    expect(page.get_by_role("alert").filter(has_text=".")).to_have_count(0)


def test_a_drawing_is_of_the_scale_that_was_learned(service: RunningService, page: Page) -> None:
    """Where the data are gone, somebody has to say it."""
    head = ",".join([*(f"p{place}" for place in range(64)), "digit"])
    rows = [",".join([str(16 * (place % 2 == row % 2)) for place in range(64)] + [f"c{row % 2}"]) for row in range(8)]
    dataset = upload(service, "\n".join([head, *rows]), label="digit")
    network = trained(service, dataset)
    assert service.http.delete(f"/v1/datasets/{dataset['id']}").status_code == 204
    page.goto(f"{service.url}/#/networks/{network}/predict")
    stroke(page, 40)
    white = page.get_by_label("A white pixel is")
    expect(page.locator(".field").filter(has=white)).to_contain_text("Say this first")
    with page.expect_request("**/predictions") as sent:
        white.fill("4")
    assert 1 < max(body(sent.value)["inputs"][0]) <= 4
    answer = page.locator(".answer strong")
    expect(answer).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(answer).to_have_count(0)
    page.route("**/predictions", lambda _: None, times=1)  # it takes its time
    with page.expect_request("**/predictions"):
        stroke(page, 80)
    with page.expect_event("requestfailed"):  # nobody waits for its answer any more
        stroke(page, 160)
    expect(answer).to_be_visible()
    page.get_by_text("Or fill in the columns").click()
    for place in range(64):
        page.get_by_label(f"p{place}", exact=True).fill("16")
    with page.expect_request("**/predictions") as sent:
        page.get_by_role("button", name="Predict", exact=True).click()
    assert body(sent.value)["rows"] == [{f"p{place}": 16 for place in range(64)}]


def upload(service: RunningService, table: str, **options: str) -> Mapping[str, str | int]:
    answer = service.http.post("/v1/datasets", files={"file": ("table.csv", table.encode())}, data=options)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def trained(service: RunningService, dataset: Mapping[str, str | int]) -> str:
    """A network that has learned a little of it."""
    network = str(scenarios.network(service, inputs=dataset["inputs"])["id"])
    job = scenarios.job(service, network_id=network, dataset_id=dataset["id"], epochs=5)["id"]
    assert service.finished(job).state == "succeeded"
    return network


def body(sent: Request) -> dict[str, Any]:
    return dict(json.loads(sent.post_data or "{}"))


def stroke(page: Page, x: float) -> None:
    """From the top of the pad to its bottom."""
    pad = page.locator("canvas.pad")
    expect(pad).to_be_visible()
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + x, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + x, box["y"] + 240, steps=4)
    page.mouse.up()
