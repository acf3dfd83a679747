"""A service on a machine that has compiled nothing: it is ready at once, and a job says that its code is compiled."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.scenarios import create_network, submit_job, training_result
from tests.support.service import RunningService


@pytest.fixture
def cold_service(tmp_path: Path) -> Iterator[RunningService]:
    with RunningService(tmp_path / "data", {"NUMBA_CACHE_DIR": str(tmp_path / "compiled")}) as running:
        running.wait_until_ready()
        yield running


def list_compiled(directory: Path) -> set[str]:
    return {path.name for path in directory.rglob("*.nbi")}


def test_job_says_that_its_code_is_compiled_and_the_next_one_needs_none(
    cold_service: RunningService, service: RunningService, tmp_path: Path
) -> None:
    submitted = submit_job(cold_service)
    states = [submitted]
    while not (states[-1]["compiling"] or states[-1]["state"] == "succeeded"):
        states.append(cold_service.get(f"/v1/jobs/{submitted['id']}"))
    assert states[-1]["compiling"]
    assert states[-1]["epoch"] == 0
    assert not cold_service.wait_for_job(submitted["id"]).compiling
    assert not cold_service.get(f"/v1/jobs/{submitted['id']}")["compiling"]

    cached = submit_job(service)
    service.wait_for_job(cached["id"])
    expected = training_result(service, cached)
    assert training_result(cold_service, submitted) == expected

    compiled = list_compiled(tmp_path)
    again = submit_job(cold_service)
    cold_service.wait_for_job(again["id"])
    assert training_result(cold_service, again) == expected
    assert list_compiled(tmp_path) == compiled
    # Of two dozen activations, costs and optimizers, only those of this job.
    assert not any("relu" in name or "adaptive" in name or "huber" in name for name in compiled)


def test_service_answers_while_the_first_prediction_compiles(cold_service: RunningService) -> None:
    network = create_network(cold_service)
    path, answers = f"/v1/networks/{network['id']}/predictions", 0
    with ThreadPoolExecutor(1) as pool:
        prediction = pool.submit(cold_service.post, path, {"inputs": [[0, 1]]})
        while not prediction.done():
            answers += cold_service.get("/health/live") == {"status": "live"}
    assert len(prediction.result()["outputs"]) == 1
    assert answers > 3  # one before the event loop would block, and one that would wait


def test_trains_where_no_compiled_code_can_be_kept() -> None:
    script = """
import numpy as np
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network

network = Network(Architecture(2, (Layer(1, "identity"),), "quadratic", dtype="float64"))
print(np.allclose(network.predict([[1, 2]]), network.layers[0][0] @ [1, 2]))
"""
    variables = {"NUMBA_CACHE_DIR": "/proc/nowhere", "NUMBA_OPT": "0"}
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout == "True\n"
