"""Profiles and rows of datasets, and their splits."""

import io
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_wine

from tests.conftest import StartService
from tests.support import scenarios
from tests.support.datasets import content_fields, post_dataset, to_npy
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
    return post_dataset(service, files={"file": ("people.csv", PEOPLE)}, data=OPTIONS)


def test_profile_of_a_table(service: RunningService, people: dict[str, Any]) -> None:
    profile = service.get(f"/v1/datasets/{people['id']}/profile")
    columns = {column["name"]: column for column in profile["columns"]}
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
    assert (age["mean"], age["std"]) == pytest.approx((ages.mean(), ages.std()))
    assert age["histogram"] == np.histogram(ages, 20)[0].tolist()
    assert columns["job"]["top_values"] == [{"value": "smith", "rows": 2}, {"value": "clerk", "rows": 1}]
    assert (columns["member"]["mean"], columns["since"]["min"]) == (0.5, 17532)
    assert columns["twice"]["duplicate_of"] == "age"
    assert profile["classes"] is None
    assert [warning.split(":")[1].strip() for warning in profile["warnings"][:2]] == ["same.", "twice (as age)."]
    assert "age, job, twice" in profile["warnings"][2]
    assert service.get(f"/v1/datasets/{people['id']}/profile") == profile


def test_profile_of_arrays_matches_numpy(service: RunningService) -> None:
    x, y = load_wine(return_X_y=True)
    dataset = post_dataset(service, files={"inputs": ("x.npy", to_npy(x)), "labels": ("y.npy", to_npy(y))})
    profile = service.get(f"/v1/datasets/{dataset['id']}/profile")
    assert profile["classes"] == {"0": 59, "1": 71, "2": 48}
    *inputs, label = profile["columns"]
    for column, values in zip(inputs, x.T, strict=True):
        assert [column[name] for name in ("min", "max", "mean", "std")] == pytest.approx(
            [values.min(), values.max(), values.mean(), values.std()]
        )
        assert column["histogram"] == np.histogram(values, 20)[0].tolist()
        assert column["distinct"] == len(np.unique(values))
    assert (label["name"], label["role"], label["distinct"]) == ("label", "label", 3)


def profile_warnings(service: RunningService, table: dict[str, list[Any]], **options: Any) -> str:
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    dataset = post_dataset(service, json={"rows": rows, **options})
    return " ".join(service.get(f"/v1/datasets/{dataset['id']}/profile")["warnings"])


ROWS = 40
SIZES = [row * row % 37 for row in range(ROWS)]


@pytest.mark.parametrize(
    ("name", "values", "warning"),
    [
        (
            "patient id",
            list(range(100, 100 + ROWS)),
            "identify rows, so nothing can be learned from them; exclude them: ",
        ),
        ("rowNumber", list(range(1, ROWS + 1)), "identify rows"),
        ("name", [f"person {row}" for row in range(ROWS)], "identify rows"),
        ("copy", [size * 2.0 for size in SIZES], "perhaps in another unit or with other class names. Exclude them: "),
        ("fahrenheit", [size * 3.6 + 32 for size in SIZES], "perhaps in another unit"),
        ("negative", [-size for size in SIZES], "perhaps in another unit"),
        ("width", [0.1 * size * size + size for size in SIZES], None),
        ("year", [1980 + row % 30 for row in range(ROWS)], None),
        ("large", [1e9 * (row % 7) for row in range(ROWS)], None),  # scaled anyway
    ],
)
def test_columns_that_cannot_be_learned_from_are_named(
    service: RunningService, name: str, values: list[Any], warning: str | None
) -> None:
    table = {name: values, "x": [row % 11 for row in range(ROWS)], "y": [2.0 * size for size in SIZES]}
    warnings = profile_warnings(service, table, target="y")
    if warning is None:
        assert warnings == ""
    else:
        assert warning in warnings
        assert name in warnings


@pytest.mark.parametrize(
    ("values", "leaks"),
    [
        (["no", "yes", "maybe"], True),
        ([7, 3, 5], True),
        ([0, 0, 1], False),
    ],
)
def test_column_with_other_names_of_the_classes_is_reported_as_leakage(
    service: RunningService, values: list[Any], leaks: bool
) -> None:
    kinds = ["a", "b", "c"] * 15
    table = {"answer": values * 15, "x": [row * row % 11 for row in range(45)], "kind": kinds}
    warnings = profile_warnings(service, table, label="kind")
    assert ("with other class names. Exclude them: answer" in warnings) == leaks


def test_classes_without_rows_and_cleaned_cells_are_named(service: RunningService) -> None:
    table = {"size": ["1.5"] * 10 + ["wet"] + ["2.5", "?"] * 10, "kind": ["a", "b", "a"] * 10 + ["a"]}
    warnings = profile_warnings(service, table, label="kind", classes=["a", "b", "c"], cleaning="auto")
    assert "These classes have no row: c." in warnings
    assert "count as missing: 'wet' (row 11)." in warnings
    assert "'?' (10)" in warnings


def test_rows_are_those_of_the_file(service: RunningService, people: dict[str, Any]) -> None:
    path = f"/v1/datasets/{people['id']}/rows"
    page = service.get(path)
    assert [column["name"] for column in page["columns"]] == PEOPLE.decode().splitlines()[0].split(",")
    assert page["rows"] == 4
    assert page["data"][0] == [31, "clerk", True, "2020-01-02", 31, 7, 1.5, 1]
    assert page["data"][2] == [None, "smith", True, "2019-05-06", None, 7, 3, 2]
    assert service.get(f"{path}?offset=1&limit=2")["data"] == page["data"][1:3]
    assert service.get(f"{path}?offset=4")["data"] == []
    xor = scenarios.create_dataset(service)
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


def get_rows(service: RunningService, dataset: str) -> list[list[Any]]:
    return list(service.get(f"/v1/datasets/{dataset}/rows?limit=1000")["data"])


@pytest.mark.parametrize("as_table", [False, True])
def test_splits_contain_each_row_once_and_are_stratified(service: RunningService, as_table: bool) -> None:
    x, y = load_wine(return_X_y=True)
    if as_table:
        table = io.BytesIO()
        header = ",".join([*(f"x{column}" for column in range(x.shape[1])), "kind"])
        formats = ["%.18g"] * x.shape[1] + ["%d"]
        np.savetxt(table, np.column_stack([x, y]), formats, ",", header=header, comments="")
        dataset = post_dataset(service, files={"file": ("w.csv", table.getvalue())}, data={"label": "kind"})
    else:
        dataset = post_dataset(service, files={"inputs": ("x.npy", to_npy(x)), "labels": ("y.npy", to_npy(y))})
    path = f"/v1/datasets/{dataset['id']}/split"
    body = {"splits": [{"name": "train", "share": 0.75}, {"name": "test", "share": 0.25}], "seed": 3}
    train, test = service.post(path, body)["data"]
    assert (train["name"], train["rows"], test["rows"]) == ("train", 134, 44)
    assert content_fields(train) == {**content_fields(dataset), "rows": 134}
    split_rows = get_rows(service, train["id"]) + get_rows(service, test["id"])
    assert sorted(map(tuple, split_rows)) == sorted(map(tuple, get_rows(service, dataset["id"])))
    counts = service.get(f"/v1/datasets/{test['id']}/profile")["classes"]
    assert [abs(counts[name] - count / 4) < 1 for name, count in {"0": 59, "1": 71, "2": 48}.items()] == [True] * 3
    again = service.post(path, body)["data"]
    assert [split["sha256"] for split in again] == [train["sha256"], test["sha256"]]
    assert service.post(path, {**body, "seed": 4})["data"][0]["sha256"] != train["sha256"]


def test_invalid_splits_are_rejected(service: RunningService) -> None:
    path = f"/v1/datasets/{scenarios.create_dataset(service)['id']}/split"
    for splits, field in (
        ([{"name": "a", "share": 0.01}], "splits.0.share"),
        ([{"name": "a", "share": 0.7}, {"name": "b", "share": 0.7}], "body"),
        ([], "splits"),
        ([{"name": "ds_a", "share": 0.5}], "splits.0.name"),
    ):
        assert service.post(path, {"splits": splits}, 422)["errors"][0]["field"] == field


def test_ingest_is_not_blocked_by_profiling(start_service: StartService) -> None:
    service = start_service()
    request: dict[str, Any] = {"files": {"file": ("people.csv", PEOPLE)}, "data": OPTIONS}
    first, second = post_dataset(service, **request), post_dataset(service, **request)
    (ingest_pid,) = service.task_pids()
    service.get(f"/v1/datasets/{first['id']}/profile")
    (profile_pid,) = {*service.task_pids()} - {ingest_pid}
    os.kill(profile_pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        profile = pool.submit(service.get, f"/v1/datasets/{second['id']}/profile")
        try:
            assert post_dataset(service, **request)["state"] == "ready"
            assert not profile.done()
        finally:
            os.kill(profile_pid, signal.SIGCONT)
        assert profile.result()["rows"] == 4
