"""Looking at a dataset before training, and dividing it."""

import io
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_wine

from tests.conftest import StartService
from tests.integration.test_datasets import npy
from tests.integration.test_uploads import create, what_it_is
from tests.support import scenarios
from tests.support.service import RunningService

PEOPLE = b"""age,job,member,since,twice,same,pays,counts
31,clerk,true,2020-01-02,31,7,1.5,1
52,smith,false,2021-02-03,52,7,20000,1
,smith,true,2019-05-06,,7,3,2
44,,false,2018-01-01,44,7,4,1
"""
OPTIONS = {"target": "pays", "weight": "counts", "imputation": "mean", "features": "age,job,member,twice,same"}


@pytest.fixture(scope="module")
def people(service: RunningService) -> dict[str, Any]:
    return create(service, files={"file": ("people.csv", PEOPLE)}, data=OPTIONS)


def test_a_profile_says_what_is_in_each_column(service: RunningService, people: dict[str, Any]) -> None:
    found = service.get(f"/v1/datasets/{people['id']}/profile")
    columns = {column["name"]: column for column in found["columns"]}
    assert [(name, column["role"], column["type"]) for name, column in columns.items()] == [
        ("age", "feature", "number"),
        ("job", "feature", "text"),
        ("member", "feature", "boolean"),
        ("since", "unused", "date"),
        ("twice", "feature", "number"),
        ("same", "feature", "number"),
        ("pays", "target", "number"),
        ("counts", "weight", "number"),
    ]
    ages = np.array([31.0, 52, 44])
    age = columns["age"]
    assert (age["missing"], age["distinct"], age["min"], age["max"]) == (1, 3, 31, 52)
    assert (age["mean"], age["deviation"]) == pytest.approx((ages.mean(), ages.std()))
    assert age["histogram"] == np.histogram(ages, 20)[0].tolist()
    assert columns["job"]["frequent"] == [{"value": "smith", "rows": 2}, {"value": "clerk", "rows": 1}]
    assert (columns["member"]["mean"], columns["since"]["min"]) == (0.5, 17532)
    assert columns["twice"]["same_as"] == "age"
    assert found["classes"] is None
    assert [warning.split(":")[1].strip() for warning in found["warnings"][:2]] == ["same.", "twice (as age)."]
    assert "age, job, twice" in found["warnings"][2]
    assert service.get(f"/v1/datasets/{people['id']}/profile") == found


def test_a_profile_of_arrays_is_that_of_numpy(service: RunningService) -> None:
    x, y = load_wine(return_X_y=True)
    made = create(service, files={"inputs": ("x.npy", npy(x)), "labels": ("y.npy", npy(y))})
    found = service.get(f"/v1/datasets/{made['id']}/profile")
    assert found["classes"] == {"0": 59, "1": 71, "2": 48}
    *inputs, label = found["columns"]
    for column, values in zip(inputs, x.T, strict=True):
        assert [column[name] for name in ("min", "max", "mean", "deviation")] == pytest.approx(
            [values.min(), values.max(), values.mean(), values.std()]
        )
        assert column["histogram"] == np.histogram(values, 20)[0].tolist()
        assert column["distinct"] == len(np.unique(values))
    assert (label["name"], label["role"], label["distinct"]) == ("label", "label", 3)


def test_rows_are_those_that_were_handed_in(service: RunningService, people: dict[str, Any]) -> None:
    path = f"/v1/datasets/{people['id']}/rows"
    found = service.get(path)
    assert [column["name"] for column in found["columns"]] == PEOPLE.decode().splitlines()[0].split(",")
    assert found["rows"] == 4
    assert found["data"][0] == [31, "clerk", True, "2020-01-02", 31, 7, 1.5, 1]
    assert found["data"][2] == [None, "smith", True, "2019-05-06", None, 7, 3, 2]
    assert service.get(f"{path}?offset=1&limit=2")["data"] == found["data"][1:3]
    assert service.get(f"{path}?offset=4")["data"] == []
    xor = scenarios.dataset(service)
    assert service.get(f"/v1/datasets/{xor['id']}/rows?limit=2") == {
        "columns": [
            {"name": "input 1", "role": "feature"},
            {"name": "input 2", "role": "feature"},
            {"name": "label", "role": "label"},
        ],
        "data": [[0, 0, "no"], [0, 1, "yes"]],
        "offset": 0,
        "rows": 4,
    }


def rows(service: RunningService, dataset: str) -> list[list[Any]]:
    return list(service.get(f"/v1/datasets/{dataset}/rows?limit=1000")["data"])


@pytest.mark.parametrize("as_table", [False, True])
def test_parts_have_each_row_once_and_each_class_its_share(service: RunningService, as_table: bool) -> None:
    x, y = load_wine(return_X_y=True)
    if as_table:
        table = io.BytesIO()
        header = ",".join([*(f"x{column}" for column in range(x.shape[1])), "kind"])
        form = ["%.18g"] * x.shape[1] + ["%d"]
        np.savetxt(table, np.column_stack([x, y]), form, ",", header=header, comments="")
        made = create(service, files={"file": ("w.csv", table.getvalue())}, data={"label": "kind"})
    else:
        made = create(service, files={"inputs": ("x.npy", npy(x)), "labels": ("y.npy", npy(y))})
    path = f"/v1/datasets/{made['id']}/split"
    wanted = {"splits": [{"name": "train", "share": 0.75}, {"name": "test", "share": 0.25}], "seed": 3}
    train, test = service.post(path, wanted)["data"]
    assert (train["name"], train["rows"], test["rows"]) == ("train", 134, 44)
    assert what_it_is(train) == {**what_it_is(made), "rows": 134}
    together = rows(service, train["id"]) + rows(service, test["id"])
    assert sorted(map(tuple, together)) == sorted(map(tuple, rows(service, made["id"])))
    shares = service.get(f"/v1/datasets/{test['id']}/profile")["classes"]
    assert [abs(shares[name] - count / 4) < 1 for name, count in {"0": 59, "1": 71, "2": 48}.items()] == [True] * 3
    again = service.post(path, wanted)["data"]
    assert [part["sha256"] for part in again] == [train["sha256"], test["sha256"]]
    assert service.post(path, {**wanted, "seed": 4})["data"][0]["sha256"] != train["sha256"]


def test_what_cannot_be_divided(service: RunningService) -> None:
    path = f"/v1/datasets/{scenarios.dataset(service)['id']}/split"
    for parts, field in (
        ([{"name": "a", "share": 0.01}], "splits.0.share"),
        ([{"name": "a", "share": 0.7}, {"name": "b", "share": 0.7}], "body"),
        ([], "splits"),
        ([{"name": "ds_a", "share": 0.5}], "splits.0.name"),
    ):
        assert service.post(path, {"splits": parts}, 422)["errors"][0]["field"] == field


def test_files_do_not_wait_for_looks(start_service: StartService) -> None:
    service = start_service()
    request: dict[str, Any] = {"files": {"file": ("people.csv", PEOPLE)}, "data": OPTIONS}
    first, second = create(service, **request), create(service, **request)
    (reads,) = service.readers()
    service.get(f"/v1/datasets/{first['id']}/profile")
    (looks,) = {*service.readers()} - {reads}
    os.kill(looks, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as beside:
        waits = beside.submit(service.get, f"/v1/datasets/{second['id']}/profile")
        try:
            assert create(service, **request)["state"] == "ready"
            assert not waits.done()
        finally:
            os.kill(looks, signal.SIGCONT)
        assert waits.result()["rows"] == 4
