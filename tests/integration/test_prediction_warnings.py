"""Warnings about rows that a network knows nothing about, in every kind of prediction."""

import io
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from nabla.app.client import Client, UnusualRowsWarning
from tests.support.service import RunningService

_TABLE = pd.DataFrame(
    {
        "age": [20.0, 30.0, 40.0, 50.0] * 5,
        "größe": ["S", "M"] * 10,
        "pay": [1.0, 2.0, 3.0, 4.0] * 5,
    }
)
_ROWS = [{"age": 45, "größe": "S"}, {"age": 900, "größe": "XL"}, {"age": -60, "größe": "XXL"}]
_SENTENCES = [
    "In the column 'größe', 2 rows (first: row 2) have a category that did not occur in training; its inputs are 0.",
    "In the column 'age', 2 rows (first: row 2) have a value far outside those of training (20 to 50), such as 900.",
]


@pytest.fixture(scope="module")
def network(service: RunningService) -> str:
    """Train a network on a table that ignores unknown categories; return its id."""
    with Client(service.url) as client:
        dataset = client.upload(_TABLE, target="pay")
        created = client.create_network(
            inputs=dataset.inputs,
            layers=[{"units": 1, "activation": "identity"}],
            cost="quadratic",
            preprocessing={"inputs": "standardize", "handle_unknown": "ignore"},
        )
        client.create_job(created, dataset, epochs=2, batch_size=4, learning_rate=0.01).wait()
        return created.id


def test_json(service: RunningService, network: str) -> None:
    answer = service.post(f"/v1/networks/{network}/predictions", {"rows": _ROWS}, 200)
    assert answer["warnings"] == _SENTENCES
    assert service.post(f"/v1/networks/{network}/predictions", {"rows": _ROWS[:1]}, 200)["warnings"] == []


def test_arrow(service: RunningService, network: str) -> None:
    response = predict_arrow(service, network, _ROWS)
    assert response.headers["Nabla-Warnings"].count('%"') == 2
    assert [unquote(text) for text in response.headers["Nabla-Warnings"][2:-1].split('", %"')] == _SENTENCES
    assert "Nabla-Warnings" not in predict_arrow(service, network, _ROWS[:1]).headers


def predict_arrow(service: RunningService, network: str, rows: list[dict[str, Any]]) -> Any:
    table = pa.Table.from_pylist(rows)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    media_type = "application/vnd.apache.arrow.stream"
    headers = {"Content-Type": media_type, "Accept": media_type}
    response = service.http.post(f"/v1/networks/{network}/predictions", content=sink.getvalue(), headers=headers)
    assert response.status_code == 200
    return response


def test_npy(service: RunningService) -> None:
    x = np.linspace(-1, 1, 20).reshape(-1, 1)
    with Client(service.url) as client:
        dataset = client.upload_arrays(inputs=x, targets=x)
        created = client.create_network(
            inputs=1,
            layers=[{"units": 1, "activation": "identity"}],
            cost="quadratic",
            preprocessing={"inputs": "standardize"},
        )
        client.create_job(created, dataset, epochs=2, batch_size=4, learning_rate=0.01).wait()
        with pytest.warns(UnusualRowsWarning, match=r"In input 1, row 2 has .* \(-1 to 1\), such as 10\."):
            assert created.predict(np.array([[0.0], [10.0]])).shape == (2, 1)


def test_client_warns_about_frames(service: RunningService, network: str) -> None:
    with Client(service.url) as client, pytest.warns(UnusualRowsWarning) as issued:
        client.get_network(network).predict(pd.DataFrame(_ROWS))
    assert [str(warning.message) for warning in issued] == _SENTENCES
    assert issued[0].filename == __file__


def test_batch_prediction_and_evaluation(service: RunningService, network: str) -> None:
    with Client(service.url) as client:
        dataset = client.upload(pd.DataFrame(_ROWS).assign(pay=1.0), target="pay")
        trained = client.get_network(network)
        batch = trained.predict_dataset(dataset).wait()
        assert batch.view.warnings == _SENTENCES
        assert trained.evaluate(dataset).warnings == _SENTENCES
