"""Both clients: resources, waiting, errors and retries."""

import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest

import nabla
from nabla.app import client as client_package
from nabla.app.client import (
    BadRequest,
    Conflict,
    ConnectionFailed,
    ContentTooLarge,
    InvalidInput,
    JobCancelled,
    JobFailed,
    NotFound,
    ServerError,
    ServiceUnavailable,
    retries,
)
from nabla.app.client.history import CostCurve, CostPoint, render_html
from nabla.app.schemas.jobs import EpochView
from scripts import generate_sync_client
from tests.conftest import StartService
from tests.support import scenarios
from tests.support.clients import CLIENT_KINDS, open_client, unwrap
from tests.support.faulty_proxy import Fault, FaultyProxy, run_faulty_proxy
from tests.support.service import TIMEOUT_SECONDS, RunningService

XOR: dict[str, Any] = {"inputs": scenarios.XOR_INPUTS, "labels": ["no", "yes", "yes", "no"]}
NETWORK: dict[str, Any] = {
    "inputs": 2,
    "layers": [{"units": 8, "activation": "tanh"}, {"units": 1, "activation": "sigmoid"}],
    "cost": "binary_cross_entropy",
    "seed": 7,
}
JOB: dict[str, Any] = {"epochs": 500, "batch_size": 4, "learning_rate": 1.0, "seed": 7}


@pytest.fixture(params=CLIENT_KINDS)
def client(service: RunningService, request: pytest.FixtureRequest) -> Iterator[Any]:
    with open_client(request.param, service.url, timeout=TIMEOUT_SECONDS) as client:
        yield client


@pytest.fixture(scope="module")
def proxy(service: RunningService) -> Iterator[FaultyProxy]:
    with run_faulty_proxy(service.url) as proxy:
        yield proxy


@pytest.fixture(params=CLIENT_KINDS)
def proxied(proxy: FaultyProxy, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Open a client that reaches the service through the faulty proxy."""
    proxy.inject()
    with open_client(request.param, proxy.url, timeout=TIMEOUT_SECONDS) as client:
        client.get_devices()
        yield client


def test_from_data_to_predictions(client: Any, tmp_path: Path) -> None:
    dataset = client.create_dataset(name="held", **XOR)
    network = client.create_network(name="held", **NETWORK)
    job = client.create_job(network, dataset, name="held", **JOB)
    assert repr(job).startswith(f"<Job {job.id} 'held': ")
    assert job.wait().state == "succeeded"
    assert job.is_finished
    assert (job.epoch, job.view.epochs) == (500, 500)
    history = job.history()
    assert [epoch.epoch for epoch in history] == list(range(1, 501))
    assert history[-1].cost == job.cost
    assert len(job.history(points=50)) < 100
    assert job.get_network() == network
    assert network.refresh().version == 1
    assert network.evaluate(dataset).accuracy == network.evaluate("held").accuracy == 1.0
    assert network.predict(XOR["inputs"]).labels == XOR["labels"]
    probabilities = network.predict(np.array(XOR["inputs"], np.float32), probabilities=True)
    assert probabilities.shape == (4, 2)
    assert (probabilities.argmax(axis=1) == [0, 1, 1, 0]).all()
    batch = network.predict_dataset(dataset, format="csv").wait()
    assert batch.download(tmp_path / "predicted.csv").read_text().startswith('"output_1","label"')
    assert next(iter(client.list_jobs())) == client.get_job("held") == job
    assert dataset in list(client.list_datasets())
    assert network in list(client.list_networks())
    assert batch in list(client.list_batch_predictions())
    for resource in (batch, job, dataset, network):
        resource.delete()
        with pytest.raises(NotFound):
            resource.refresh()


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_predictions_and_histories_are_tables_of_the_same_library(client: Any, library: str) -> None:
    module = import_module(library)
    make = module.table if library == "pyarrow" else module.DataFrame
    rows = make({"x": [0.0, 1.0, 2.0, 3.0]})
    table = make({"x": [0.0, 1.0, 2.0, 3.0], "kind": ["a", "a", "b", "b"]})
    dataset = client.upload(table, label="kind")
    network = client.create_network(
        inputs=1, cost="binary_cross_entropy", layers=[{"units": 1, "activation": "sigmoid"}]
    )
    job = client.create_job(network, dataset, epochs=300, learning_rate=1.0).wait()
    if library == "pandas":
        rows.index = [5, 3, 9, 7]
    predicted = network.predict(rows)
    assert type(predicted) is type(table)
    if library == "pandas":
        assert list(predicted.index) == [5, 3, 9, 7]
    labels = predicted["label"]
    assert list(labels.to_pylist() if library == "pyarrow" else labels) == ["a", "a", "b", "b"]
    history = job.history()
    frame = {"pandas": history.to_pandas, "polars": history.to_polars, "pyarrow": history.to_arrow}[library]()
    assert len(frame) == 300
    assert float(frame["cost"].to_numpy()[-1]) == history.to_numpy()[-1] == history[-1].cost
    assert "validation_cost" not in history.columns()


def test_job_and_history_show_cost_curve_in_notebooks(client: Any) -> None:
    job = client.create_job(client.create_network(**NETWORK), client.create_dataset(**XOR), **JOB)
    assert "<svg" not in job._repr_html_()
    job.wait()
    html = job._repr_html_()
    assert "succeeded" in html
    assert html.count("<polyline") == 1
    assert "<script" not in html
    assert client.get_job(job.id).wait()._repr_html_().count("<polyline") == 1
    history = job.history()
    assert history._repr_html_().count("<polyline") == 1
    assert repr(history).startswith("<History: 500 epochs, cost ")


def test_notebook_html_escapes_names() -> None:
    """The service rejects such names, but a proxy may respond with anything."""
    html = render_html("Job <script>", [("error", "<b>")], [CostPoint(1, 0.5, None), CostPoint(2, 0.25, 0.5)])
    assert "<script" not in html
    assert "&lt;b&gt;" in html
    assert html.count("<polyline") == 2


def test_waiting_raises_for_cancelled_and_failed_jobs(client: Any) -> None:
    network, dataset = client.create_network(**NETWORK), client.create_dataset(**XOR)
    job = client.create_job(network, dataset, epochs=10**9, learning_rate=1e-6)
    for event in job.follow():
        if isinstance(event, EpochView):
            break
    assert job.update(learning_rate=1e-5).view.learning_rate == 1e-5
    assert job.pause().state == "paused"
    assert job.resume().state in ("queued", "running")
    assert not job.is_finished
    dependent = client.create_job(network, dataset, depends_on=[job.id])
    cancelling = threading.Thread(target=job.cancel)
    cancelling.start()
    with pytest.raises(JobCancelled, match="was cancelled") as cancelled:
        job.wait()
    cancelling.join()
    assert cancelled.value.view.state == "cancelled"
    with pytest.raises(JobFailed, match=r"failed: .+") as failed:
        dependent.wait()
    assert failed.value.view.error is not None
    assert failed.value.view.error.kind == "dependency_failed"
    with pytest.raises(Conflict):
        job.cancel()


def test_error_responses_raise_specific_errors(
    service: RunningService, client: Any, start_service: StartService
) -> None:
    with pytest.raises(NotFound, match=r"network.*nobody") as missing:
        client.get_network("nobody")
    assert (missing.value.status, missing.value.type) == (404, "/problems/unknown-network")
    with pytest.raises(InvalidInput) as invalid:
        client.create_network(**{**NETWORK, "cost": "none"})
    assert invalid.value.field == "cost"
    assert invalid.value.errors[0]["message"] in str(invalid.value)
    with pytest.raises(NotFound) as unknown:
        client.create_job("nobody", "nothing")
    assert unknown.value.field == "network_id"
    limited = start_service(max_json_bytes="1024")
    with open_client("sync", limited.url) as limited_client, pytest.raises(ContentTooLarge):
        limited_client.create_dataset(inputs=[[0.0]] * 1000, labels=["a", "b"] * 500)


@pytest.mark.parametrize("kind", CLIENT_KINDS)
def test_wrong_addresses_are_reported_at_once(kind: str, service: RunningService) -> None:
    with (
        open_client(kind, "http://127.0.0.1:1") as client,
        pytest.raises(ConnectionFailed, match=r"connect to a service at http://127\.0\.0\.1:1"),
    ):
        client.get_devices()
    with (
        open_client(kind, "localhost:8000") as client,
        pytest.raises(ConnectionFailed, match=r"localhost:8000.*http://"),
    ):
        client.get_devices()
    with (
        pytest.raises(ConnectionFailed, match="connect to a service at http://localhost:abc"),
        open_client(kind, "http://localhost:abc"),
    ):
        pass
    with open_client(kind, f"{service.url}/elsewhere") as client, pytest.raises(NotFound):
        client.get_devices()


def test_reads_are_retried(proxy: FaultyProxy, proxied: Any) -> None:
    proxy.inject("drop request", "drop response", "busy")
    assert proxied.get_devices().data[0].id == "cpu"
    assert [request.method for request in proxy.requests] == ["GET"] * 4


def test_retried_creation_happens_once(
    service: RunningService, proxy: FaultyProxy, proxied: Any, tmp_path: Path
) -> None:
    """All attempts have the same idempotency key, and the response is that of the first."""
    (tmp_path / "table.csv").write_text("x,y\n1,2\n3,4\n")

    def check_created_once(path: str, create: Callable[[], Any]) -> Any:
        before = service.get(path)["data"][:1]
        proxy.inject("drop response", "busy", "drop response")
        created = create()
        assert len({request.key for request in proxy.requests}) == 1
        assert proxy.requests[0].key
        assert len(proxy.requests) == 4
        ids = [resource["id"] for resource in service.get(path)["data"][:2]]
        assert ids == [created.id, *(resource["id"] for resource in before)]
        return created

    check_created_once("/v1/datasets", lambda: proxied.upload(tmp_path / "table.csv", target="y"))
    arrays = {"inputs": np.zeros((4, 2)), "labels": [0, 1, 1, 0]}
    dataset = check_created_once("/v1/datasets", lambda: proxied.upload_arrays(**arrays))
    network = check_created_once("/v1/networks", lambda: proxied.create_network(**NETWORK))
    check_created_once("/v1/networks", lambda: network.clone("again"))
    job = check_created_once("/v1/jobs", lambda: proxied.create_job(network, dataset, epochs=1))
    job.wait()
    check_created_once("/v1/batch-predictions", lambda: network.predict_dataset(dataset))


def test_updates_are_not_retried(proxy: FaultyProxy, proxied: Any) -> None:
    network = proxied.create_network(name="kept", **NETWORK)
    proxy.inject("drop response")
    with pytest.raises(ConnectionFailed, match="was lost"):
        network.update(name="changed")
    assert len(proxy.requests) == 1
    assert network.refresh().name == "changed"
    proxy.inject("busy")
    with pytest.raises(ServiceUnavailable):
        network.update(name="unchanged")
    assert network.refresh().name == "changed"


def test_retried_deletion_succeeds(proxy: FaultyProxy, proxied: Any) -> None:
    """The second attempt finds nothing, because the first one, whose response was lost, has deleted it."""
    dataset = proxied.create_dataset(**XOR)
    proxy.inject("drop response")
    dataset.delete()
    assert [request.method for request in proxy.requests] == ["DELETE", "DELETE"]
    with pytest.raises(NotFound):
        dataset.delete()


@pytest.mark.parametrize("kind", CLIENT_KINDS)
def test_retries_end_after_retry_timeout(proxy: FaultyProxy, kind: str) -> None:
    with open_client(kind, proxy.url, retry_timeout=0.5) as client:
        proxy.inject("busy for an hour")
        with pytest.raises(ServiceUnavailable) as unavailable:
            client.get_devices()
        assert unavailable.value.retry_after == 3600
        faults: list[Fault] = ["drop response"] * 50
        proxy.inject(*faults)
        with pytest.raises(ConnectionFailed, match="was lost"):
            client.get_devices()
        assert len(proxy.requests) > 2


def test_retry_waits_for_first_attempt_in_progress(proxy: FaultyProxy, proxied: Any, tmp_path: Path) -> None:
    """The retry arrives while the first attempt is still ingesting, which takes longer than its response waits."""
    file = tmp_path / f"{uuid4().hex}.csv"
    file.write_text("x,y\n" + "1.5,2.5\n" * 1_500_000)
    proxy.inject("disconnect during request")
    dataset = proxied.upload(file, target="y")
    assert dataset.view.rows == 1_500_000
    assert len({request.key for request in proxy.requests if request.path == "/v1/datasets"}) == 1
    assert [listed.name for listed in proxied.list_datasets()].count(file.stem) == 1


def test_redirects_and_responses_of_other_servers_are_errors(proxy: FaultyProxy, proxied: Any, tmp_path: Path) -> None:
    network = proxied.create_network(**NETWORK)
    proxy.inject("redirect", "redirect", "respond with HTML")
    with pytest.raises(BadRequest, match=r"redirects to https://elsewhere\.test/"):
        network.delete()
    with pytest.raises(BadRequest, match="redirects to"):
        network.download(tmp_path / "weights.npz")
    with pytest.raises(ServerError, match="not that of a Nabla service"):
        network.refresh()
    assert network.refresh().version == 0
    assert not list(tmp_path.iterdir())


def test_interrupted_download_starts_over(proxy: FaultyProxy, proxied: Any, tmp_path: Path) -> None:
    network = proxied.create_network(**NETWORK)
    proxy.inject("drop response", "busy")
    path = network.download(tmp_path / "start.npz")
    assert len(np.load(path).files) > 2
    with pytest.raises(NotFound):
        network.download(tmp_path / "none.npz", version=7)
    assert [file.name for file in tmp_path.iterdir()] == ["start.npz"]


@pytest.mark.parametrize("kind", CLIENT_KINDS)
def test_following_continues_when_service_restarts(start_service: StartService, kind: str) -> None:
    service = start_service(checkpoint_interval="0.05")
    with open_client(kind, service.url) as client:
        job = client.get_job(scenarios.submit_job(service, epochs=20_000)["id"])
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
        assert len(job.cost_curve.points) < 2000
        assert job.cost_curve.points[-1].epoch == 20_000


@pytest.mark.parametrize("kind", CLIENT_KINDS)
def test_large_upload_resumes_when_service_restarts(start_service: StartService, tmp_path: Path, kind: str) -> None:
    service, file = start_service(), tmp_path / "large.csv"
    rows = "1.00,2.00\n" * (35 * 2**20 // 10)
    file.write_text("x,y\n" + rows)
    with open_client(kind, service.url, timeout=TIMEOUT_SECONDS) as client:
        client.get_devices()
        datasets: list[Any] = []
        uploading = threading.Thread(target=lambda: datasets.append(client.upload(file, target="y")))
        uploading.start()
        http = httpx.Client(base_url=service.url, timeout=TIMEOUT_SECONDS)
        while not any(dataset["chunks"] for dataset in http.get("/v1/datasets").json()["data"]):
            assert uploading.is_alive()
        http.close()
        service.kill()
        service.start()
        uploading.join()
    assert (datasets[0].name, datasets[0].view.rows) == ("large", len(rows) // 10)


class _Chunks(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A response body of chunks of one size, which may end with a lost connection."""

    def __init__(self, content: bytes, size: int, *, breaks: bool) -> None:
        self._chunks = [content[start : start + size] for start in range(0, len(content), size)]
        self._breaks = breaks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        if self._breaks:
            raise httpx.ReadError("lost")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


@pytest.mark.parametrize("kind", CLIENT_KINDS)
def test_event_stream_can_be_cut_anywhere(kind: str, service: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the chunks, the client sees each event once, and resumes after the last complete one."""
    monkeypatch.setattr(retries, "_MIN_DELAY_SECONDS", 0.0)
    created = scenarios.submit_job(service, epochs=1)["id"]
    finished = service.wait_for_job(created)
    running = finished.model_copy(update={"state": "running", "finished_at": None, "device_reason": "ä"})
    epoch = service.history(created)[0]
    epoch_start, epoch_rest = epoch.model_dump_json().encode().split(b",", 1)
    first_stream = (
        b": following\n\n"
        b"id: 1\r\nevent: state\r\ndata: " + running.model_dump_json().encode() + b"\r\n\r\n"
        b": a heartbeat\n\n"
        b"event: nothing\n\n"
        b"event: unknown\ndata: {}\nid:2\n\n"
        b"event:epoch\ndata: " + epoch_start + b",\ndata:" + epoch_rest + b"\nid: 3\n\n"
        b"event: state\nid: 4\ndata: unfinished\n"
    )
    second_stream = b"event: state\nid: 4\ndata: " + finished.model_dump_json().encode() + b"\n\n"
    for size in [*range(1, 64), len(first_stream)]:
        last_event_ids: list[str] = []

        def respond(request: httpx.Request, size: int = size, last_event_ids: list[str] = last_event_ids) -> Any:
            if not request.url.path.endswith("/events"):
                return httpx.Response(200, content=running.model_dump_json())
            last_event_ids.append(request.headers["Last-Event-ID"])
            is_first = len(last_event_ids) == 1
            chunks = _Chunks(first_stream if is_first else second_stream, size, breaks=is_first)
            return httpx.Response(200, headers={"Content-Type": "text/event-stream; charset=utf-8"}, stream=chunks)

        with open_client(kind, "http://service.test") as client:
            http = httpx.Client if kind == "sync" else httpx.AsyncClient
            transport = httpx.MockTransport(respond)
            unwrap(client)._connection._http = http(base_url="http://service.test", transport=transport)
            job = client.get_job(created)
            assert list(job.follow()) == [running, epoch, finished]
        assert last_event_ids == ["0", "3"]


def test_cost_curve_is_downsampled_and_keeps_first_and_last_epoch() -> None:
    curve = CostCurve()
    for epoch in range(1, 100_001):
        curve.add(epoch, 1 / epoch, None)
    epochs = [point.epoch for point in curve.points]
    assert epochs == sorted(epochs)
    assert 500 < len(epochs) < 1100
    assert (epochs[0], epochs[-1]) == (1, 100_000)
    curve.add(70_000, 0.5, None)  # the job has restarted from a checkpoint
    assert curve.points[-1].epoch == 70_000


def test_generated_client_is_current(tmp_path: Path) -> None:
    """If this fails, run `python -m scripts.generate_sync_client`."""
    generated = tmp_path / "app" / "client" / "_sync"
    generate_sync_client.generate(generated)
    committed = generate_sync_client.TARGET
    names = sorted(file.name for file in generated.glob("*.py"))
    assert names == sorted(file.name for file in committed.glob("*.py"))
    for name in names:
        assert (generated / name).read_text() == (committed / name).read_text(), name


def test_package_exports_all_of_the_client() -> None:
    assert nabla.__all__ == client_package.__all__
    assert set(nabla.__all__) <= set(dir(nabla))
    for name in nabla.__all__:
        assert getattr(nabla, name) is getattr(client_package, name)
    with pytest.raises(AttributeError, match="nothing"):
        nabla.nothing  # noqa: B018 - the access is what is tested


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("nabla", ("httpx", "pydantic", "numpy", "nabla.app")),
        (
            "nabla.app.client",
            ("numba", "numpy", "scipy", "pyarrow", "pandas", "polars", "fastapi", "starlette", "typer"),
        ),
    ],
)
def test_import_loads_nothing_heavy(module: str, heavy: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
