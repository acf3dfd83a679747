"""Previews of tables: the options in the form are those of a dataset."""

from typing import Any

import pytest

from tests.support.datasets import post_dataset
from tests.support.service import RunningService

SIZES = b"size,label\n" + b"".join(b"%d,%d\n" % (row, row % 3) for row in range(30))


@pytest.mark.parametrize(
    ("task", "expected"),
    [(None, "classification"), ("auto", "classification"), ("regression", "regression")],
)
def test_likely_target_is_learned_as_requested(service: RunningService, task: str | None, expected: str) -> None:
    view = preview(service, SIZES, **({} if task is None else {"task": task}))
    assert (view["options"]["target"], view["options"]["task"]) == ("label", expected)


@pytest.mark.parametrize("numbers", ["2", "2,3", "[2, 3]"])
def test_rows_to_leave_out_are_numbers_in_text(service: RunningService, numbers: str) -> None:
    dropped = len(numbers.split(","))
    dataset = post_dataset(service, files={"file": ("x.csv", SIZES)}, data={"target": "size", "drop_rows": numbers})
    assert dataset["rows"] == 30 - dropped
    view = preview(service, SIZES, drop_rows="two")
    assert [error["field"] for error in view["errors"]] == ["drop_rows.0"]


@pytest.mark.parametrize("options", [{"weight": "label"}, {"exclude": "label"}, {"features": '["label"]'}])
def test_likely_target_has_no_other_role(service: RunningService, options: dict[str, str]) -> None:
    assert preview(service, SIZES, **options)["options"]["target"] == "size"


@pytest.mark.parametrize(
    ("title", "lines"), [("Sales 2024;;\n", 1), ('"Sales; 2024";;\n;;\n', 2), ("Sales\n\n", 2), ("", 0)]
)
def test_title_of_a_spreadsheet_is_skipped(service: RunningService, title: str, lines: int) -> None:
    table = title + "name;price;size\nA;1,5;3\nB;;4\nC;2,5;\n"
    view = preview(service, table.encode(), cleaning="auto", target="price")
    assert (view["errors"], view["names"]) == ([], ["name", "price", "size"])
    assert view["options"]["skip_rows"] == lines
    sparse = preview(service, b"1;;\n2;3;4\n5;;\n6;7;8\n", cleaning="auto", header="false")
    assert (sparse["options"]["skip_rows"], len(sparse["rows"])) == (0, 4)


def test_arrays_have_no_columns_to_preview(service: RunningService) -> None:
    view = preview(service, b'{"inputs": [[1, 2], [3, 4]], "labels": ["a", "b"]}', name="x.json", task="auto")
    assert (view["options"]["format"], view["names"], view["errors"]) == ("json", [], [])


def preview(service: RunningService, table: bytes, name: str = "x.csv", **options: str) -> dict[str, Any]:
    response = service.http.post("/v1/datasets/preview", files={"file": (name, table)}, data=options)
    return dict(response.json())


@pytest.mark.parametrize("data", [{}, {"target": "y,k"}, {"cleaning": "auto"}])
def test_cells_that_look_like_numbers_are_previewed(service: RunningService, data: dict[str, str]) -> None:
    rows = "".join(f"{'0x1F' if row == 5 else row},{row % 3},{row}\n" for row in range(30))
    files = {"file": ("t.csv", f"x,k,y\n{rows}".encode())}
    response = service.http.post("/v1/datasets/preview", files=files, data=data)
    assert (response.status_code, response.json()["names"]) == (200, ["x", "k", "y"])


def test_lines_of_objects_are_previewed_whatever_their_name_says(service: RunningService) -> None:
    files = {"file": ("t.json", b'{"x": 1, "y": 2}\n{"x": 2, "y": 3}\n')}
    response = service.http.post("/v1/datasets/preview", files=files)
    assert (response.status_code, response.json()["names"]) == (200, ["x", "y"])
