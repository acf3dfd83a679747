"""User flows on the dashboard, from a dropped file to a drawn digit."""

import csv
import math
from pathlib import Path

from playwright.sync_api import Locator, Page, expect
from sklearn.datasets import load_digits

Strokes = list[list[tuple[float, float]]]
"""Strokes on a pad of 280 × 280."""

ZERO: Strokes = [
    [
        (140 + 60 * math.sin(angle / 20 * 2 * math.pi), 140 - 100 * math.cos(angle / 20 * 2 * math.pi))
        for angle in range(21)
    ]
]
FOUR: Strokes = [[(160, 40), (70, 160), (210, 160)], [(160, 100), (160, 240)]]
SEVEN: Strokes = [[(70, 50), (210, 50), (120, 240)], [(90, 140), (190, 140)]]


def write_digits_csv(directory: Path) -> Path:
    """Write scikit-learn's 1,797 digits of 8 × 8 pixels as a CSV file with a header."""
    digits = load_digits()
    file = directory / "digits.csv"
    with file.open("w", newline="") as text:
        writer = csv.writer(text)
        writer.writerow([*digits.feature_names, "digit"])
        for image, digit in zip(digits.data, digits.target, strict=True):
            writer.writerow([*map(int, image), int(digit)])
    return file


def expect_heading(page: Page, text: str) -> None:
    """Wait for the screen with this heading."""
    expect(page.locator("h1")).to_have_text(text)


def expect_state(page: Page, state: str = "") -> None:
    """Wait until the displayed job has this state, or any."""
    expect(page.locator(f"p.state .badge{'.' if state else ''}{state}")).to_be_visible()


def find_value(page: Page, key: str) -> Locator:
    """Find the value of a key in a key-value list."""
    return page.locator("dl.key-values div").filter(has=page.get_by_text(key, exact=True)).first.locator("dd")


def read_value(page: Page, key: str) -> str:
    """Return the value of a key in a key-value list."""
    return find_value(page, key).inner_text()


def create_dataset(page: Page, file: Path) -> None:
    """Upload a file, with the target column that the page suggests."""
    page.get_by_role("link", name="Datasets", exact=True).click()
    expect_heading(page, "Datasets")
    page.get_by_label("Drop a file here").set_input_files(file)
    expect(page.get_by_label("Target column")).not_to_have_value("")
    page.get_by_role("button", name="Create dataset").click()
    expect_heading(page, file.stem)


def create_network(page: Page) -> None:
    """Create the network that is proposed for the displayed dataset."""
    page.get_by_role("link", name="Create a network").click()
    expect_heading(page, "New network")
    page.get_by_role("button", name="Create network").click()
    expect_heading(page, "New job")


def start_job(page: Page, **fields: str) -> None:
    """Start the proposed job, with other values for these fields."""
    for label, value in fields.items():
        page.get_by_label(label.replace("_", " ").capitalize(), exact=True).fill(value)
    page.get_by_role("button", name="Start job").click()
    expect_state(page)


def locate_pad(page: Page) -> tuple[float, float]:
    """Scroll to the drawing pad and return its left upper corner."""
    pad = page.locator("canvas.drawing-pad")
    expect(pad).to_be_visible()
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box is not None
    return box["x"], box["y"]


def draw_digit(page: Page, strokes: Strokes) -> str:
    """Draw on the pad and return the predicted class."""
    page.get_by_role("button", name="Clear").click()
    left, top = locate_pad(page)
    for (first_x, first_y), *points in strokes:
        page.mouse.move(left + first_x, top + first_y)
        page.mouse.down()
        for x, y in points:
            page.mouse.move(left + x, top + y, steps=4)
        with page.expect_response("**/predictions") as response:
            page.mouse.up()
        response.value.finished()
    return page.locator(".prediction strong").inner_text()


def collect_errors(page: Page) -> list[str]:
    """Return a list that exceptions and console errors of the page are added to."""
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    return errors
