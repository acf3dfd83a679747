"""Python values in requests of both clients: those of NumPy, pandas and the standard library."""

import datetime
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from nabla.app.client import InvalidArgument, InvalidInput, NablaError, UnusualRowsWarning
from tests.support.clients import CLIENT_KINDS, open_client
from tests.support.service import TIMEOUT_SECONDS, RunningService

pandas: Any = import_module("pandas")
ROW: dict[str, Any] = {"age": 1.0, "job": "clerk", "member": True, "since": "2024-02-01"}


@pytest.fixture(scope="module", params=CLIENT_KINDS)
def client(service: RunningService, request: pytest.FixtureRequest) -> Iterator[Any]:
    with open_client(request.param, service.url, timeout=TIMEOUT_SECONDS) as client:
        yield client


@pytest.fixture(scope="module")
def network(client: Any) -> Any:
    """Train a network on a table with a column of each type, all of which may be missing."""
    rows = 40
    table = {
        "age": [float(row) for row in range(rows)],
        "job": ["clerk", "smith"] * (rows // 2),
        "member": [True, False] * (rows // 2),
        "since": ["2024-01-01", "2024-02-01"] * (rows // 2),
        "y": [float(row) for row in range(rows)],
    }
    types = {"since": "date"}
    dataset = client.upload(pandas.DataFrame(table), target="y", imputation="mean", types=types)
    network = client.create_network(
        inputs=dataset.inputs,
        layers=[{"units": 1, "activation": "identity"}],
        preprocessing={"inputs": "standardize", "targets": "standardize"},
    )
    client.create_job(network, dataset, epochs=3).wait()
    return network


def predict(network: Any, rows: Any) -> float:
    """Return the output for the first row."""
    predictions = network.predict(rows)
    outputs = getattr(predictions, "outputs", predictions)
    return float(outputs.iloc[0, 0] if hasattr(outputs, "iloc") else outputs[0][0])


@pytest.mark.parametrize("as_frame", [False, True])
@pytest.mark.parametrize(
    ("column", "value", "same_as"),
    [
        ("age", np.float32(1), 1.0),
        ("age", np.int64(1), 1.0),
        ("age", Decimal("1.5"), 1.5),
        ("age", Decimal(1), 1.0),
        ("age", "1.50", 1.5),
        ("age", " 1,234 ", 1234.0),
        ("age", float("nan"), None),
        ("age", np.float64("nan"), None),
        ("age", Decimal("nan"), None),
        ("age", pandas.NA, None),
        ("age", "?", None),
        ("job", np.str_("smith"), "smith"),
        ("job", " smith ", "smith"),
        ("job", float("nan"), None),
        ("member", np.bool_(False), False),
        ("member", 0, False),
        ("member", "False", False),
        ("member", pandas.NA, None),
        ("since", pandas.Timestamp("2024-03-01"), "2024-03-01"),
        ("since", pandas.Timestamp("2024-03-01T12:00", tz="Europe/Berlin"), "2024-03-01T11:00Z"),
        ("since", np.datetime64("2024-03-01"), "2024-03-01"),
        ("since", datetime.date(2024, 3, 1), "2024-03-01"),
        ("since", datetime.datetime(2024, 3, 1, 12), "2024-03-01T12:00"),  # without a zone it is UTC
        ("since", pandas.NaT, None),
    ],
)
@pytest.mark.filterwarnings("ignore::nabla.app.client.UnusualRowsWarning")
def test_cell_of_any_type(network: Any, column: str, value: Any, same_as: Any, as_frame: bool) -> None:
    rows = [{**ROW, column: value}]
    expected = predict(network, [{**ROW, column: same_as}])
    assert predict(network, pandas.DataFrame(rows) if as_frame else rows) == expected


@pytest.mark.parametrize(
    "make_rows",
    [
        lambda: ROW,
        lambda: pandas.Series(ROW),
        lambda: pandas.Series([*ROW.values()]),
        lambda: [pandas.Series(ROW)],
        lambda: [[*ROW.values()]],
        lambda: (row for row in [ROW]),
        lambda: np.array([[*ROW.values()]], object),
        lambda: np.array([(*ROW.values(),)], [(name, object) for name in ROW]),
        lambda: pandas.DataFrame([ROW]).iloc[0],
        lambda: pandas.DataFrame([ROW]).to_numpy(),
        lambda: pandas.DataFrame([ROW]),
        lambda: import_module("polars").DataFrame([ROW]),
    ],
)
def test_rows_in_every_form(network: Any, make_rows: Callable[[], Any]) -> None:
    predictions = network.predict(make_rows())
    expected = network.predict([ROW]).outputs
    if type(predictions).__module__.startswith("polars"):
        assert predictions.rows() == [tuple(expected[0])]
    else:
        assert np.asarray(getattr(predictions, "outputs", predictions)).tolist() == expected


def test_column_that_the_network_does_not_have_is_reported(network: Any) -> None:
    expected = network.predict([ROW]).outputs
    predictions = network.predict({"id": 5, **ROW, "y": 3.0})
    assert predictions.outputs == expected
    sentence = "The columns 'id', 'y' are not used: the network was trained without them."
    assert predictions.warnings == [sentence]
    with pytest.warns(UnusualRowsWarning, match="The column 'id' is not used"):
        frame = network.predict(pandas.DataFrame([{"id": 5, **ROW}]))
    assert frame.to_numpy().tolist() == expected


def test_every_missing_column_is_named(network: Any) -> None:
    for rows in ({"age": 1.0, "member": True}, pandas.DataFrame([{"age": 1.0, "member": True}])):
        with pytest.raises(InvalidInput) as raised:
            network.predict(rows)
        text = " ".join(f"{error['field']} {error['message']}" for error in raised.value.errors)
        assert "job" in text
        assert "since" in text


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({**ROW, "age": float("inf")}, "rows.0.age: Only finite numbers"),
        ({**ROW, "job": {"clerk"}}, "rows.0.job: A set is not accepted"),
        (5, "rows: A int is not accepted"),
        ("age", "rows: A str is not accepted"),
        (pandas.DataFrame([{**ROW, "age": 1 + 2j}]), "age"),
    ],
)
def test_value_that_cannot_be_sent_is_named(network: Any, rows: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        network.predict(rows)


def test_options_take_numpy_numbers_and_reject_nan(client: Any, network: Any) -> None:
    dataset = client.get_job(network.get_version().job_id).view.dataset_id
    job = client.create_job(network, dataset, epochs=np.int64(2), learning_rate=np.float32(0.25))
    assert job.wait().view.epoch == 2
    assert job.view.learning_rate == 0.25
    with pytest.raises(InvalidArgument, match="learning_rate: nan is not accepted"):
        client.create_job(network, dataset, epochs=2, learning_rate=float("nan"))


def test_datasets_from_numpy_and_pandas_values(client: Any) -> None:
    assert client.create_dataset(inputs=np.eye(2), labels=np.array([3, 5])).classes == [3, 5]
    dataset = client.create_dataset(
        rows=[
            {"a": np.float32(1.5), "since": pandas.Timestamp("2024-03-01"), "y": Fraction(1, 2)},
            {"a": np.nan, "since": pandas.NaT, "y": 2},
        ],
        target="y",
        types={"since": "date"},
        imputation="mean",
    )
    assert [column.missing for column in dataset.view.columns] == [1, 1]
    assert dataset.get_rows().data[0] == [1.5, "2024-03-01T00:00:00", 0.5]


def test_pandas_columns_that_arrow_does_not_convert(client: Any) -> None:
    frame = pandas.DataFrame(
        {
            "mixed": np.array([1, "a", np.nan, True], object),
            "numbers": np.array([1, 2.5, np.nan, Decimal(4)], object),
            "sparse": pandas.arrays.SparseArray([0, 1, 0, 0]),
            "y": [1.0, 2.0, 3.0, 4.0],
        }
    )
    columns = client.upload(frame, target="y", imputation="most_frequent").view.columns
    assert [(column.name, column.type, column.missing) for column in columns] == [
        ("mixed", "category", 1),
        ("numbers", "number", 1),
        ("sparse", "number", 0),
    ]
    assert columns[0].categories == ["1", "a", "true"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ma.masked_values(np.array([[1.0, -9999.0], [2.0, 3.0]]), -9999.0), "inputs: 1 of the values are masked"),
        (np.array([[1.0, None], [2.0, 3.0]], object), "inputs: 1 of the values are missing"),
        (np.array([[1.0, "a"], [2.0, 3.0]], object), "this one contains float, str"),
    ],
)
def test_missing_values_of_arrays_are_not_lost(client: Any, values: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message) as raised:
        client.upload_arrays(inputs=values, targets=np.arange(2.0))
    assert isinstance(raised.value, NablaError)
    assert "Upload a table instead" in str(raised.value)


def test_object_arrays_of_numbers_and_text(client: Any) -> None:
    inputs = np.array([[1, 2.5], [Decimal(3), np.float32(4)]], object)
    dataset = client.upload_arrays(inputs=inputs, labels=np.array([1, 2], object))
    assert (dataset.inputs, dataset.classes) == (2, [1, 2])
    assert client.upload_arrays(inputs=inputs, labels=pandas.Series(["a", "b"])).classes == ["a", "b"]
