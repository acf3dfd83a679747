"""Datasets with weights, in every form in which data come in; and their end."""

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tests.support import scenarios
from tests.support.service import RunningService

INPUTS = [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(array), allow_pickle=False)
    return file.getvalue()


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    ("files", "options"),
    [
        ({"file": ("w.npz", npz(inputs=INPUTS, targets=[1, 2, 3], weights=[1, 0, 2.5]))}, {}),
        ({"file": ("w.csv", b"a,b,y,w\n0,1,1,1\n1,0,2,0\n1,1,3,2.5\n")}, {"target": "y", "weight": "w"}),
        ({"inputs": npy(INPUTS), "targets": npy([1, 2, 3]), "weights": npy([1, 0, 2.5])}, {}),
    ],
)
def test_files_with_weights(service: RunningService, files: dict[str, Any], options: dict[str, str]) -> None:
    answer = service.http.post("/v1/datasets", files=files, data=options)
    assert answer.status_code == 201, answer.text
    dataset = answer.json()
    assert (dataset["rows"], dataset["inputs"], dataset["targets"]) == (3, 2, 1)
    assert dataset["weighted"]
    assert service.get(f"/v1/datasets/{dataset['id']}") == dataset


def test_json_with_and_without_weights(service: RunningService) -> None:
    assert scenarios.dataset(service, weights=[1, 0, 2, 0.5])["weighted"]
    assert not scenarios.dataset(service)["weighted"]


def test_a_job_on_weighted_data_succeeds(service: RunningService) -> None:
    dataset = scenarios.dataset(service, weights=[1, 1, 1, 1])
    job = scenarios.job(service, dataset_id=dataset["id"])
    assert service.finished(job["id"]).state == "succeeded"


def test_weights_alone_are_no_dataset(service: RunningService) -> None:
    answer = service.http.post("/v1/datasets", files={"inputs": npy(INPUTS), "weights": npy([1, 1, 1])})
    assert answer.status_code == 422
    assert "got inputs and weights" in answer.json()["errors"][0]["message"]


def test_of_those_who_delete_a_dataset_at_once_one_does(service: RunningService) -> None:
    for _ in range(20):
        id = scenarios.dataset(service)["id"]
        with ThreadPoolExecutor(8) as pool:
            codes = list(pool.map(lambda path: service.http.delete(path).status_code, [f"/v1/datasets/{id}"] * 8))
        assert sorted(codes) == [204, *[404] * 7]
