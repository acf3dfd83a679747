"""Networks and jobs that the service proposes for a dataset."""

from typing import Any

import pytest

from tests.support import scenarios
from tests.support.datasets import post_dataset
from tests.support.service import RunningService


@pytest.mark.parametrize(
    ("pixels", "brightest", "scaling"),
    [(64, 16, "none"), (64, 17, "min_max"), (784, 255, "min_max"), (4, 16, "standardize")],
)
@pytest.mark.parametrize("has_columns", [False, True], ids=["array", "table"])
def test_pixels_are_scaled_together(
    service: RunningService, pixels: int, brightest: int, scaling: str, has_columns: bool
) -> None:
    images = [[brightest * (row % 2)] * (pixels - 1) + [0] for row in range(60)]  # the last pixel is always black
    labels = [row % 2 for row in range(60)]
    if has_columns:
        header = ",".join([*(f"p{number}" for number in range(pixels)), "digit"])
        rows = [",".join(map(str, [*image, label])) for image, label in zip(images, labels, strict=True)]
        table = "\n".join([header, *rows]).encode()
        cleaning = "auto" if pixels != 4 else "none"
        dataset = post_dataset(service, files={"file": ("x.csv", table)}, data={"label": "digit", "cleaning": cleaning})
    else:
        dataset = scenarios.create_dataset(service, inputs=images, labels=labels)
    assert dataset["inputs"] == pixels
    proposal = service.post(f"/v1/datasets/{dataset['id']}/proposal", {})
    network, reasons = proposal["network"], {reason["setting"] for reason in proposal["reasons"]}
    *hidden, _ = network["layers"]
    assert network["preprocessing"]["inputs"] == scaling
    assert {layer.get("batch_norm", False) for layer in hidden} == {pixels != 4}
    assert {layer["dropout"] for layer in hidden} == {0.2}
    assert "network.preprocessing.inputs" in reasons
    assert ("network.layers.0.batch_norm" in reasons) == (pixels != 4)
    created = service.post("/v1/networks", network, 201)
    job: dict[str, Any] = {**proposal["job"], "network_id": created["id"], "dataset_id": dataset["id"], "epochs": 1}
    assert service.wait_for_job(service.post("/v1/jobs", job, 202)["id"]).state == "succeeded"
