"""Take the pictures of the documentation, in both themes.

Run `python -m scripts.docs_pictures [DIRECTORY]`; the default is `docs/images`. It starts a service with example
data, needs Chromium, and takes several minutes.
"""

import sys
import tempfile
from base64 import b64encode
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.dashboard import flows
from tests.dashboard.screens import THEMES, Screen, new_context, open_screen, populate
from tests.support.browser import launch_chromium
from tests.support.service import RunningService

DOCS_IMAGES = Path(__file__).parents[1] / "docs" / "images"
SCREENS = ("dataset-of-images", "new-network", "network", "drawing", "comparison", "overview")
# The network of the training picture is large enough for its job to be photographed while it runs.
TRAINING_LAYERS = [{"units": 2048, "activation": "relu", "dropout": 0.2}, {"units": 1024, "activation": "relu"}]
TRAINING_EPOCHS = (1, 8, 30)
TRAINING_HEIGHT = 570


def main(directory: Path) -> None:
    """Take all pictures."""
    directory.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as data,
        RunningService(Path(data) / "data") as service,
        launch_chromium() as browser,
    ):
        screens = {screen.name: screen for screen in populate(service, Path(data))}
        for theme in THEMES:
            with new_context(browser, theme, 1000) as context:
                page = context.new_page()
                for name in SCREENS:
                    open_screen(page, service, screens[name])
                    if name == "drawing":
                        flows.draw_digit(page, flows.ZERO)
                    page.screenshot(path=directory / f"{name}-{theme}.png")
        service.post("/v1/jobs/people 2/cancel")  # frees the slot
        for theme in THEMES:
            with new_context(browser, theme, 700) as context:
                stages = _picture_training(service, context.new_page())
            (directory / f"training-{theme}.png").write_bytes(_join_pictures(browser, stages))


def _picture_training(service: RunningService, page: Page) -> list[bytes]:
    """Train a network and take a picture of its job after each of TRAINING_EPOCHS."""
    output = {"units": 10, "activation": "softmax"}
    network = {"inputs": 64, "layers": [*TRAINING_LAYERS, output], "cost": "categorical_cross_entropy"}
    fields = {
        "network_id": service.post("/v1/networks", {**network, "initializer": "he_normal"}, 201)["id"],
        "dataset_id": service.get("/v1/jobs/digits 1")["dataset_id"],
        "name": "digits",
        "epochs": TRAINING_EPOCHS[-1],
        "batch_size": 64,
        "learning_rate": 0.00002,
        "optimizer": "adam",
        "validation": {"fraction": 0.2},
    }
    job = service.post("/v1/jobs", fields, 202)["id"]
    pictures = []
    for epoch in TRAINING_EPOCHS:
        service.wait_for_epoch(job, epoch)
        open_screen(page, service, Screen("job", f"#/jobs/{job}"))
        pictures.append(page.screenshot())
    return pictures


def _join_pictures(browser: Browser, pictures: list[bytes]) -> bytes:
    """Return one picture with three side by side."""
    page = browser.new_page(viewport={"width": 1500, "height": TRAINING_HEIGHT})
    style = f"width:calc((100% - 4px) / 3);height:{TRAINING_HEIGHT}px"
    sources = (f"data:image/png;base64,{b64encode(picture).decode()}" for picture in pictures)
    images = "".join(f'<img src="{source}" style="{style}">' for source in sources)
    page.set_content(f'<body style="margin:0;display:flex;gap:2px;background:gray">{images}')
    return page.screenshot()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS_IMAGES)
