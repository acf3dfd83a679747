"""The pictures of README: `python -m scripts.docs_pictures` makes them anew, in docs/."""

import tempfile
from base64 import b64encode
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.dashboard import flows
from tests.dashboard.screens import THEMES, Screen, context, populate, show
from tests.support.browser import chromium
from tests.support.service import RunningService

FOLDER = Path(__file__).parents[2] / "docs"
SHOWN = ("dataset-of-images", "new-network", "network", "drawing", "comparison", "overview")
# Of the run that is shown as it goes on: large enough to be seen on its way.
LAYERS = [{"units": 2048, "activation": "relu", "dropout": 0.2}, {"units": 1024, "activation": "relu"}]
MOMENTS = (1, 8, 30)
HEIGHT = 570


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as data, RunningService(Path(data) / "data") as service, chromium() as browser:
        screens = {screen.name: screen for screen in populate(service, Path(data))}
        for theme in THEMES:
            with context(browser, theme, 1000) as used:
                page = used.new_page()
                for name in SHOWN:
                    show(page, service, screens[name])
                    if name == "drawing":
                        flows.draw(page, flows.ZERO)
                    page.screenshot(path=FOLDER / f"{name}-{theme}.png")
        service.post("/v1/jobs/people 2/cancel")  # it would keep the slot
        for theme in THEMES:
            with context(browser, theme, 700) as used:
                moments = _moments(service, used.new_page())
            (FOLDER / f"training-{theme}.png").write_bytes(_side_by_side(browser, moments))


def _moments(service: RunningService, page: Page) -> list[bytes]:
    """Pictures of a job, from its first epoch to its last."""
    outputs = {"units": 10, "activation": "softmax"}
    network = {"inputs": 64, "layers": [*LAYERS, outputs], "cost": "categorical_cross_entropy"}
    fields = {
        "network_id": service.post("/v1/networks", {**network, "initializer": "he_normal"}, 201)["id"],
        "dataset_id": service.get("/v1/jobs/digits 1")["dataset_id"],
        "name": "digits",
        "epochs": MOMENTS[-1],
        "batch_size": 64,
        "learning_rate": 0.00002,
        "optimizer": "adam",
        "validation": {"fraction": 0.2},
    }
    job = service.post("/v1/jobs", fields, 202)["id"]
    found = []
    for epoch in MOMENTS:
        service.trained(job, epoch)
        show(page, service, Screen("job", f"#/jobs/{job}"))
        found.append(page.screenshot())
    return found


def _side_by_side(browser: Browser, pictures: list[bytes]) -> bytes:
    page = browser.new_page(viewport={"width": 1500, "height": HEIGHT})
    sources = (f"data:image/png;base64,{b64encode(picture).decode()}" for picture in pictures)
    page.set_content(
        '<body style="margin:0;display:flex;gap:2px;background:gray">'
        + "".join(f'<img src="{source}" style="width:calc((100% - 4px) / 3);height:{HEIGHT}px">' for source in sources)
    )
    return page.screenshot()


if __name__ == "__main__":
    main()
