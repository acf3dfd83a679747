"""What a person does with the page, step by step, and with nothing else."""

import csv
import math
from pathlib import Path

from playwright.sync_api import Page, expect
from sklearn.datasets import load_digits

Strokes = list[list[tuple[float, float]]]
"""Of a pad of 280 × 280."""

ZERO: Strokes = [
    [
        (140 + 60 * math.sin(turn / 20 * 2 * math.pi), 140 - 100 * math.cos(turn / 20 * 2 * math.pi))
        for turn in range(21)
    ]
]
FOUR: Strokes = [[(160, 40), (70, 160), (210, 160)], [(160, 100), (160, 240)]]
SEVEN: Strokes = [[(70, 50), (210, 50), (120, 240)], [(90, 140), (190, 140)]]


def digits_csv(folder: Path) -> Path:
    """scikit-learn's 1,797 digits of 8 × 8 pixels, as a table with names."""
    digits = load_digits()
    file = folder / "digits.csv"
    with file.open("w", newline="") as text:
        writer = csv.writer(text)
        writer.writerow([*digits.feature_names, "digit"])
        for image, digit in zip(digits.data, digits.target, strict=True):
            writer.writerow([*map(int, image), int(digit)])
    return file


def heading(page: Page, text: str) -> None:
    """Wait for a screen."""
    expect(page.locator("h1")).to_have_text(text)


def make_dataset(page: Page, file: Path) -> None:
    page.get_by_role("link", name="Datasets", exact=True).click()
    heading(page, "Datasets")
    page.get_by_label("Drop a file here").set_input_files(file)
    expect(page.get_by_label("In the column")).not_to_have_value("")
    page.get_by_role("button", name="Create dataset").click()
    heading(page, file.stem)


def create_network(page: Page) -> None:
    """As it is proposed for the dataset that is shown."""
    page.get_by_role("link", name="Create a network for it").click()
    heading(page, "New network")
    page.get_by_role("button", name="Create network").click()
    heading(page, "New job")


def start_job(page: Page, **fields: str) -> None:
    """As it is proposed, but for these fields."""
    for label, value in fields.items():
        page.get_by_label(label.replace("_", " ").capitalize(), exact=True).fill(value)
    page.get_by_role("button", name="Start job").click()
    in_state(page)


def in_state(page: Page, state: str = "") -> None:
    """Wait for the job that is shown to be in a state, or in any."""
    expect(page.locator(f"p.state .badge{'.' if state else ''}{state}")).to_be_visible()


def fact(page: Page, name: str) -> str:
    """What stands under a name."""
    return page.locator("dl.facts div").filter(has=page.get_by_text(name, exact=True)).first.locator("dd").inner_text()


def draw(page: Page, strokes: Strokes) -> str:
    """Draw on the pad, and see what the network takes it for."""
    page.get_by_role("button", name="Clear").click()
    pad = page.locator("canvas.pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box is not None
    for stroke in strokes:
        (first_x, first_y), *others = stroke
        page.mouse.move(box["x"] + first_x, box["y"] + first_y)
        page.mouse.down()
        for x, y in others:
            page.mouse.move(box["x"] + x, box["y"] + y, steps=4)
        with page.expect_response("**/predictions") as answer:
            page.mouse.up()
        answer.value.finished()
    return page.locator(".answer strong").inner_text()


def errors_of(page: Page) -> list[str]:
    """What goes wrong in the page, as it does."""
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    return found
