"""Both clients: what they hold, how they wait, what they raise, and what they send again."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest

from nabla.app.client import (
    BadRequest,
    Conflict,
    ConnectionLost,
    Invalid,
    JobCancelled,
    JobFailed,
    NotFound,
    ServiceFailed,
    TooLarge,
    Unavailable,
)
from nabla.app.client.history import Curve, page, sparkline
from nabla.app.client.sse import Event, Parser
from nabla.app.schemas.jobs import EpochView
from scripts import generate_sync_client
from tests.conftest import StartService
from tests.support import scenarios
from tests.support.clients import BOTH, client_of
from tests.support.malformed_requests import Breaking, Fate, breaking
from tests.support.service import PATIENCE, RunningService

XOR: dict[str, Any] = {"inputs": scenarios.XOR_INPUTS, "labels": ["no", "yes", "yes", "no"]}
NETWORK: dict[str, Any] = {
    "inputs": 2,
    "layers": [{"units": 8, "activation": "tanh"}, {"units": 1, "activation": "sigmoid"}],
    "cost": "binary_cross_entropy",
    "seed": 7,
}
JOB: dict[str, Any] = {"epochs": 500, "batch_size": 4, "learning_rate": 1.0, "seed": 7}


@pytest.fixture(params=BOTH)
def client(service: RunningService, request: pytest.FixtureRequest) -> Iterator[Any]:
    with client_of(request.param, service.url, timeout=PATIENCE) as client:
        yield client


@pytest.fixture(scope="module")
def between(service: RunningService) -> Iterator[Breaking]:
    with breaking(service.url) as between:
        yield between


@pytest.fixture(params=BOTH)
def shaken(between: Breaking, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A client whose connections break."""
    between.expect()
    with client_of(request.param, between.url, timeout=PATIENCE) as client:
        client.devices()
        yield client


def test_from_data_to_predictions(client: Any, tmp_path: Path) -> None:
    dataset = client.create_dataset(name="held", **XOR)
    network = client.create_network(name="held", **NETWORK)
    job = client.create_job(network, dataset, name="held", **JOB)
    assert repr(job).startswith(f"<Job {job.id} 'held': ")
    assert job.wait().state == "succeeded"
    assert (job.epoch, job.view.epochs) == (500, 500)
    history = job.history()
    assert [epoch.epoch for epoch in history] == list(range(1, 501))
    assert history[-1].cost == job.cost
    assert len(job.history_in_brief(50)) < 100
    assert job.network() == network
    assert network.refresh().version == 1
    assert network.evaluate(dataset).accuracy == network.evaluate("held").accuracy == 1.0
    assert network.predict(XOR["inputs"]).labels == XOR["labels"]
    found = network.predict(np.array(XOR["inputs"], np.float32), probabilities=True)
    assert found.shape == (4, 2)
    assert (found.argmax(axis=1) == [0, 1, 1, 0]).all()
    batch = network.predict_dataset(dataset, format="csv").wait()
    assert batch.download(tmp_path / "predicted.csv").read_text().startswith('"output_1","label"')
    assert next(iter(client.jobs())) == client.job("held") == job
    assert dataset in list(client.datasets())
    assert network in list(client.networks())
    assert batch in list(client.batch_predictions())
    for one in (batch, job, dataset, network):
        one.delete()
        with pytest.raises(NotFound):
            one.refresh()


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_tables_in_and_out(client: Any, library: str) -> None:
    of = import_module(library)
    make = of.table if library == "pyarrow" else of.DataFrame
    rows = make({"x": [0.0, 1.0, 2.0, 3.0]})
    table = make({"x": [0.0, 1.0, 2.0, 3.0], "kind": ["a", "a", "b", "b"]})
    dataset = client.upload(table, label="kind")
    network = client.create_network(
        inputs=1, cost="binary_cross_entropy", layers=[{"units": 1, "activation": "sigmoid"}]
    )
    job = client.create_job(network, dataset, epochs=300, learning_rate=1.0).wait()
    if library == "pandas":
        rows.index = [5, 3, 9, 7]
    found = network.predict(rows)
    assert type(found) is type(table)
    if library == "pandas":
        assert list(found.index) == [5, 3, 9, 7]
    assert list(found["label"].to_pylist() if library == "pyarrow" else found["label"]) == ["a", "a", "b", "b"]
    history = job.history()
    made = {"pandas": history.to_pandas, "polars": history.to_polars, "pyarrow": history.to_arrow}[library]()
    assert len(made) == 300
    assert float(made["cost"].to_numpy()[-1]) == history.to_numpy()[-1] == history[-1].cost
    assert "validation_cost" not in history.columns()


def test_a_job_in_a_notebook(client: Any) -> None:
    job = client.create_job(client.create_network(**NETWORK), client.create_dataset(**XOR), **JOB)
    assert "<svg" not in job._repr_html_()
    job.wait()
    shown = job._repr_html_()
    assert "succeeded" in shown
    assert shown.count("<polyline") == 1
    assert "<script" not in shown
    assert client.job(job.id).wait()._repr_html_().count("<polyline") == 1
    history = job.history()
    assert history._repr_html_().count("<polyline") == 1
    assert repr(history).startswith("<History: 500 epochs, cost ")


def test_names_are_escaped() -> None:
    """No service takes such a name; but what stands between may say anything."""
    shown = page("Job <script>", [("error", "<b>")], [(1, 0.5, None), (2, 0.25, 0.5)])
    assert "<script" not in shown
    assert "&lt;b&gt;" in shown
    assert shown.count("<polyline") == 2


def test_jobs_that_do_not_succeed(client: Any) -> None:
    network, dataset = client.create_network(**NETWORK), client.create_dataset(**XOR)
    job = client.create_job(network, dataset, epochs=10**9, learning_rate=1e-6)
    for event in job.follow():
        if isinstance(event, EpochView):
            break
    assert job.change(learning_rate=1e-5).view.learning_rate == 1e-5
    assert job.pause().state == "paused"
    assert job.resume().state in ("queued", "running")
    after = client.create_job(network, dataset, depends_on=[job.id])
    waiting = threading.Thread(target=job.cancel)
    waiting.start()
    with pytest.raises(JobCancelled, match="is cancelled") as cancelled:
        job.wait()
    waiting.join()
    assert cancelled.value.view.state == "cancelled"
    with pytest.raises(JobFailed, match=r"is failed: .+") as failed:
        after.wait()
    assert failed.value.view.error is not None
    assert failed.value.view.error.kind == "dependency_failed"
    with pytest.raises(Conflict):
        job.cancel()


def test_refusals_are_of_a_kind_each(service: RunningService, client: Any, start_service: StartService) -> None:
    with pytest.raises(NotFound, match="There is no network") as gone:
        client.network("nobody")
    assert (gone.value.status, gone.value.type) == (404, "/problems/unknown-network")
    with pytest.raises(Invalid) as wrong:
        client.create_network(**{**NETWORK, "cost": "none"})
    assert wrong.value.field == "cost"
    assert wrong.value.errors[0]["message"] in str(wrong.value)
    with pytest.raises(NotFound) as unknown:
        client.create_job("nobody", "nothing")
    assert unknown.value.field == "network_id"
    small = start_service(max_json_bytes="1024")
    with client_of("sync", small.url) as other, pytest.raises(TooLarge):
        other.create_dataset(inputs=[[0.0]] * 1000, labels=["a", "b"] * 500)


@pytest.mark.parametrize("kind", BOTH)
def test_where_there_is_no_service(kind: str, service: RunningService) -> None:
    with (
        client_of(kind, "http://127.0.0.1:1") as nowhere,
        pytest.raises(ConnectionLost, match="There is no service at"),
    ):
        nowhere.devices()
    with client_of(kind, "localhost:8000") as nowhere, pytest.raises(ConnectionLost, match="begins with http://"):
        nowhere.devices()
    with pytest.raises(ConnectionLost, match="no way to a service at"), client_of(kind, "http://localhost:abc"):
        pass
    with client_of(kind, f"{service.url}/elsewhere") as lost, pytest.raises(NotFound):
        lost.devices()


def test_what_is_asked_is_asked_again(between: Breaking, shaken: Any) -> None:
    between.expect("lose the request", "lose the answer", "busy")
    assert shaken.devices().data[0].id == "cpu"
    assert [asked.method for asked in between.asked] == ["GET"] * 4


def test_what_creates_is_carried_out_once(
    service: RunningService, between: Breaking, shaken: Any, tmp_path: Path
) -> None:
    """Each is sent again with the key that it had, and the answer is that of the first."""
    (tmp_path / "table.csv").write_text("x,y\n1,2\n3,4\n")

    def created(path: str, make: Any) -> Any:
        before = service.get(path)["data"][:1]
        between.expect("lose the answer", "busy", "lose the answer")
        made = make()
        assert len({asked.key for asked in between.asked}) == 1
        assert between.asked[0].key
        assert len(between.asked) == 4
        assert [one["id"] for one in service.get(path)["data"][:2]] == [made.id, *(one["id"] for one in before)]
        return made

    created("/v1/datasets", lambda: shaken.upload(tmp_path / "table.csv", target="y"))
    arrays = {"inputs": np.zeros((4, 2)), "labels": [0, 1, 1, 0]}
    dataset = created("/v1/datasets", lambda: shaken.upload_arrays(**arrays))
    network = created("/v1/networks", lambda: shaken.create_network(**NETWORK))
    created("/v1/networks", lambda: network.clone("again"))
    job = created("/v1/jobs", lambda: shaken.create_job(network, dataset, epochs=1))
    job.wait()
    created("/v1/batch-predictions", lambda: network.predict_dataset(dataset))


def test_what_changes_is_not_sent_again(between: Breaking, shaken: Any) -> None:
    network = shaken.create_network(name="kept", **NETWORK)
    between.expect("lose the answer")
    with pytest.raises(ConnectionLost, match="broke"):
        network.change(name="changed")
    assert len(between.asked) == 1
    assert network.refresh().name == "changed"
    between.expect("busy")
    with pytest.raises(Unavailable):
        network.change(name="unchanged")
    assert network.refresh().name == "changed"


def test_what_was_deleted_by_the_lost_request_is_deleted(between: Breaking, shaken: Any) -> None:
    dataset = shaken.create_dataset(**XOR)
    between.expect("lose the answer")
    dataset.delete()
    assert [asked.method for asked in between.asked] == ["DELETE", "DELETE"]
    with pytest.raises(NotFound):
        dataset.delete()


@pytest.mark.parametrize("kind", BOTH)
def test_patience_has_an_end(between: Breaking, kind: str) -> None:
    with client_of(kind, between.url, patience=0.5) as client:
        between.expect("busy for long")
        with pytest.raises(Unavailable) as busy:
            client.devices()
        assert busy.value.retry_after == 3600
        lost: list[Fate] = ["lose the answer"] * 50
        between.expect(*lost)
        with pytest.raises(ConnectionLost, match="broke"):
            client.devices()
        assert len(between.asked) > 2


def test_what_is_still_at_work_is_waited_for(between: Breaking, shaken: Any, tmp_path: Path) -> None:
    """The second request meets the first, whose reading takes longer than it waits."""
    file = tmp_path / f"{uuid4().hex}.csv"
    file.write_text("x,y\n" + "1.5,2.5\n" * 1_500_000)
    between.expect("leave it at work")
    found = shaken.upload(file, target="y")
    assert found.view.rows == 1_500_000
    assert len({asked.key for asked in between.asked if asked.path == "/v1/datasets"}) == 1
    assert [one.name for one in shaken.datasets()].count(file.stem) == 1


def test_what_is_no_service(between: Breaking, shaken: Any, tmp_path: Path) -> None:
    """An address that only leads to another one, and one where others answer."""
    network = shaken.create_network(**NETWORK)
    between.expect("lead elsewhere", "lead elsewhere", "answer as others")
    with pytest.raises(BadRequest, match=r"only leads to https://elsewhere\.test/: give the address there"):
        network.delete()
    with pytest.raises(BadRequest, match="only leads to"):
        network.download(tmp_path / "weights.npz")
    with pytest.raises(ServiceFailed, match="is no Nabla service"):
        network.refresh()
    assert network.refresh().version == 0
    assert not list(tmp_path.iterdir())


def test_a_download_that_breaks_off_is_begun_anew(between: Breaking, shaken: Any, tmp_path: Path) -> None:
    network = shaken.create_network(**NETWORK)
    between.expect("lose the answer", "busy")
    path = network.download(tmp_path / "start.npz")
    assert len(np.load(path).files) > 2
    with pytest.raises(NotFound):
        network.download(tmp_path / "none.npz", version=7)
    assert [file.name for file in tmp_path.iterdir()] == ["start.npz"]


@pytest.mark.parametrize("kind", BOTH)
def test_waiting_goes_on_when_the_service_is_back(start_service: StartService, kind: str) -> None:
    service = start_service(checkpoint_seconds="0.05")
    with client_of(kind, service.url) as client:
        job = client.job(scenarios.job(service, epochs=20_000)["id"])
        epochs = []
        for event in job.follow():
            if isinstance(event, EpochView):
                epochs.append(event.epoch)
                if len(epochs) == 500:
                    service.kill()
                    service.start()
        assert (job.state, job.view.attempts) == ("succeeded", 2)
        assert epochs[-1] == 20_000
        assert set(epochs) == set(range(1, 20_001))
        assert len(job.curve.points) < 2000
        assert job.curve.points[-1].epoch == 20_000


@pytest.mark.parametrize("kind", BOTH)
def test_a_large_file_arrives_whole_whatever_happens(start_service: StartService, tmp_path: Path, kind: str) -> None:
    """It goes in parts, and the service is killed between them."""
    service, file = start_service(), tmp_path / "large.csv"
    rows = "1.00,2.00\n" * (35 * 2**20 // 10)
    file.write_text("x,y\n" + rows)
    with client_of(kind, service.url, timeout=PATIENCE) as client:
        client.devices()
        found: list[Any] = []
        sending = threading.Thread(target=lambda: found.append(client.upload(file, target="y")))
        sending.start()
        http = httpx.Client(base_url=service.url, timeout=PATIENCE)
        while not any(one["chunks"] for one in http.get("/v1/datasets").json()["data"]):
            assert sending.is_alive()
        http.close()
        service.kill()
        service.start()
        sending.join()
    assert (found[0].name, found[0].view.rows) == ("large", len(rows) // 10)


def test_events_are_parsed_however_they_are_cut() -> None:
    stream = (
        b": following\n\nid: 1\r\nevent: state\r\ndata: {}\r\n\r\nevent: nothing\n\n"
        b"data: a\ndata:b\nid:2\n\ndata: \xc3\xa4\n\ndata: unfinished\n"
    )
    expected = [Event("state", "1", "{}"), Event("message", "2", "a\nb"), Event("message", "2", "ä")]
    for size in range(1, len(stream)):
        parser = Parser()
        parts = [stream[first : first + size] for first in range(0, len(stream), size)]
        assert [event for part in parts for event in parser.feed(part)] == expected


def test_a_curve_stays_small_and_keeps_its_ends() -> None:
    curve = Curve()
    for epoch in range(1, 100_001):
        curve.add(epoch, 1 / epoch, None)
    epochs = [point.epoch for point in curve.points]
    assert epochs == sorted(epochs)
    assert 500 < len(epochs) < 1100
    assert (epochs[0], epochs[-1]) == (1, 100_000)
    curve.add(70_000, 0.5, None)  # gone back to a checkpoint
    assert curve.points[-1].epoch == 70_000
    assert sparkline([4, 3, 2, 1], 4) == "█▅▃▁"
    assert sparkline([float("nan")], 4) == ""
    assert len(sparkline(range(1, 1001), 30)) == 30


def test_the_generated_client_is_that_of_the_written_one(tmp_path: Path) -> None:
    """If not: python -m scripts.generate_sync_client."""
    made = tmp_path / "app" / "client" / "_sync"
    generate_sync_client.generate(made)
    there = generate_sync_client.GENERATED
    names = sorted(file.name for file in made.glob("*.py"))
    assert names == sorted(file.name for file in there.glob("*.py"))
    for name in names:
        assert (made / name).read_text() == (there / name).read_text(), name


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = ("numba", "numpy", "scipy", "pyarrow", "pandas", "polars", "fastapi", "starlette", "typer")
    code = f"import sys, nabla.app.client; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
