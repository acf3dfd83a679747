"""Datasets with weights from files and JSON, and concurrent deletion."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support import scenarios
from tests.support.datasets import to_npy, to_npz
from tests.support.service import RunningService

INPUTS = [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]


@pytest.mark.parametrize(
    ("files", "options"),
    [
        ({"file": ("w.npz", to_npz(inputs=INPUTS, targets=[1, 2, 3], weights=[1, 0, 2.5]))}, {}),
        ({"file": ("w.csv", b"a,b,y,w\n0,1,1,1\n1,0,2,0\n1,1,3,2.5\n")}, {"target": "y", "weight": "w"}),
        ({"inputs": to_npy(INPUTS), "targets": to_npy([1, 2, 3]), "weights": to_npy([1, 0, 2.5])}, {}),
    ],
)
def test_weights_in_files(service: RunningService, files: dict[str, Any], options: dict[str, str]) -> None:
    response = service.http.post("/v1/datasets", files=files, data=options)
    assert response.status_code == 201, response.text
    dataset = response.json()
    assert (dataset["rows"], dataset["inputs"], dataset["targets"]) == (3, 2, 1)
    assert dataset["weighted"]
    assert service.get(f"/v1/datasets/{dataset['id']}") == dataset


def test_weights_in_json(service: RunningService) -> None:
    assert scenarios.create_dataset(service, weights=[1, 0, 2, 0.5])["weighted"]
    assert not scenarios.create_dataset(service)["weighted"]


def test_job_on_weighted_dataset_succeeds(service: RunningService) -> None:
    dataset = scenarios.create_dataset(service, weights=[1, 1, 1, 1])
    job = scenarios.submit_job(service, dataset_id=dataset["id"])
    assert service.wait_for_job(job["id"]).state == "succeeded"


def test_weights_without_targets_are_rejected(service: RunningService) -> None:
    response = service.http.post("/v1/datasets", files={"inputs": to_npy(INPUTS), "weights": to_npy([1, 1, 1])})
    assert response.status_code == 422
    assert "got inputs and weights" in response.json()["errors"][0]["message"]


def test_one_of_concurrent_deletions_succeeds(service: RunningService) -> None:
    for _ in range(20):
        id = scenarios.create_dataset(service)["id"]
        with ThreadPoolExecutor(8) as pool:
            codes = list(pool.map(lambda path: service.http.delete(path).status_code, [f"/v1/datasets/{id}"] * 8))
        assert sorted(codes) == [204, *[404] * 7]
