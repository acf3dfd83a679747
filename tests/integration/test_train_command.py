"""`nabla train` on untidy tables, and `nabla evaluate` and `nabla predict` on the same files."""

import csv
import datetime
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from nabla.app.client import Client, NotFound
from tests.support.service import RunningService
from tests.support.table_uploads import FILE_FORMATS, write_table
from tests.support.terminal import run_nabla

ROWS = 240
WITHOUT_TARGET = [row for row in range(ROWS) if row % 40 == 7]
NOTES = (
    "The target 'paid' has two different numbers, which are learned as classes.",
    "In the column 'income' these texts count as missing values: '?' (22).",
    "6 rows without a target are left out.",
    "'PassengerId' (an identifier",
    "'name' (nearly every row has another text)",
    "'country' (it has the same value in all rows)",
    "The date 'since' becomes days, and its positions in the year, the week.",
    "'age' (26: median)",
    "'job' (",
)


def make_table() -> dict[str, list[Any]]:
    """Return a table with all that is to be cleaned; `paid` depends on `age` and `income`."""
    chance = random.Random(0)
    ages = [round(chance.uniform(18, 80), 1) for _ in range(ROWS)]
    incomes = [round(chance.gauss(40, 12), 2) for _ in range(ROWS)]
    paid: list[int | None] = [
        int(age / 80 + income / 60 + chance.gauss(0, 0.1) > 1.3) for age, income in zip(ages, incomes, strict=True)
    ]
    first_day = datetime.date(2024, 1, 1)
    return {
        "PassengerId": [1000 + row * 7 % ROWS for row in range(ROWS)],
        "name": [f"Miller, {row}" for row in range(ROWS)],
        "age": [None if row % 9 == 0 else age for row, age in enumerate(ages)],
        "income": ["?" if row % 11 == 0 else str(income) for row, income in enumerate(incomes)],
        "job": [(None, "clerk", " clerk ", "smith")[chance.randrange(4)] for _ in range(ROWS)],
        "since": [first_day + datetime.timedelta(days=row) for row in range(ROWS)],
        "country": ["NZ"] * ROWS,
        "paid": [None if row in WITHOUT_TARGET else value for row, value in enumerate(paid)],
    }


TABLE = make_table()


def write(directory: Path, upload_format: str, **changed: list[Any]) -> Path:
    """Write the table to a file whose name, and so that of the network, is unique."""
    table = {**TABLE, **changed}
    if "json" in upload_format:
        table["since"] = [day.isoformat() for day in table["since"]]
    path = write_table(directory, upload_format, table)
    return path.rename(path.with_stem(f"people-{uuid4().hex}"))


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


@pytest.fixture(scope="module")
def trained(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train on the untidy table as CSV, and return the file, of which the network has the name."""
    path = write(tmp_path_factory.mktemp("people"), "csv")
    done = run_nabla("train", str(path), "--target", "paid", "--epochs", "20", NABLA_URL=service.url)
    assert done.returncode == 0, done.stderr
    return path


def run_train(service: RunningService, path: Path, *options: str) -> dict[str, Any]:
    """Train for two epochs, and return the JSON of the command with its notes as `notes`."""
    done = run_nabla("train", str(path), *options, "--epochs", "2", "--json", NABLA_URL=service.url)
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "notes": done.stderr}


def column_names(client: Client, result: dict[str, Any]) -> list[str]:
    columns = client.get_dataset(result["job"]["dataset_id"]).view.columns or ()
    return [column.name for column in columns]


@pytest.mark.parametrize("upload_format", FILE_FORMATS)
def test_untidy_table_is_trained_on_at_the_first_try(
    service: RunningService, tmp_path: Path, upload_format: str
) -> None:
    path = write(tmp_path, upload_format)
    done = run_nabla("train", str(path), "--target", "paid", "--epochs", "20", NABLA_URL=service.url)
    assert done.returncode == 0, done.stderr
    for note in NOTES:
        assert note in done.stderr, done.stderr
        assert note not in done.stdout
    accuracy = re.search(r"Accuracy on 47 test rows: (0\.\d+)\.", done.stdout)
    compared = re.search(r"For comparison: the most frequent class (0\.\d+), a linear model (0\.\d+)\.", done.stdout)
    assert accuracy, done.stdout
    assert compared, done.stdout
    assert float(accuracy[1]) > float(compared[1])
    assert float(compared[2]) > float(compared[1])


def test_numbers_are_compared_with_the_mean(service: RunningService, tmp_path: Path) -> None:
    path = write(tmp_path, "csv")
    options = ("--target", "income", "--features", "age, paid", "--epochs", "2")
    done = run_nabla("train", str(path), *options, NABLA_URL=service.url)
    assert done.returncode == 0, done.stderr
    assert "The target 'income' is learned as numbers." in done.stderr
    assert "22 rows without a target are left out." in done.stderr
    assert re.search(r"R² on 44 test rows: -?\d+\.\d+; mean absolute error", done.stdout), done.stdout
    assert re.search(r"For comparison: the mean 0\.0000, a linear model -?\d+\.\d+\.", done.stdout), done.stdout


@pytest.mark.parametrize("upload_format", ["csv", "ndjson", "parquet"])
def test_strict_reports_all_problems_at_once_and_leaves_nothing(
    service: RunningService, tmp_path: Path, upload_format: str
) -> None:
    path = write(tmp_path, upload_format)
    before = service.get("/v1/datasets"), service.get("/v1/networks")
    done = run_nabla("train", str(path), "--target", "paid", "--strict", NABLA_URL=service.url)
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert all(line.startswith("nabla: The column ") for line in lines), lines
    named = [re.findall(r"column '(\w+)'", line)[0] for line in lines]
    assert sorted(named) == ["age", "income", "job", "paid", "since"]
    assert "in rows 8, 48, 88, 128, 168 and 1 more" in done.stderr
    assert """types={"since": "date"}""" in done.stderr
    assert "no value ('?') in rows 1, 12, 23, 34, 45 and 17 more" in done.stderr
    assert (service.get("/v1/datasets"), service.get("/v1/networks")) == before


def test_strict_accepts_a_tidy_table(service: RunningService, client: Client, tmp_path: Path) -> None:
    path = write_table(tmp_path, "csv", {"id": range(60), "x": [row % 7 for row in range(60)], "y": [0, 1] * 30})
    result = run_train(service, path, "--target", "y", "--strict", "--name", uuid4().hex)
    assert column_names(client, result) == ["id", "x"]
    assert "left out" not in result["notes"]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("--exclude", "since,job"), ["age", "income"]),
        (("--exclude", "since", "--exclude", "job"), ["age", "income"]),
        (("--features", "age,income"), ["age", "income"]),
        (("--features", "income, age"), ["income", "age"]),
        (("--features", "age", "--features", "PassengerId,country"), ["age", "PassengerId", "country"]),
        (("--types", "country=category", "--types", "since=date"), ["age", "income", "job", "since", "country"]),
    ],
)
def test_features_are_named_by_options(
    service: RunningService, client: Client, tmp_path: Path, options: tuple[str, ...], names: list[str]
) -> None:
    result = run_train(service, write(tmp_path, "csv"), "--target", "paid", *options)
    assert column_names(client, result) == names


def test_types_are_named_by_options(service: RunningService, client: Client, tmp_path: Path) -> None:
    options = ("--features", "paid,PassengerId,since", "--types", "PassengerId=category", "--types", "since=date")
    result = run_train(service, write(tmp_path, "csv"), "--target", "age", *options)
    columns = client.get_dataset(result["job"]["dataset_id"]).view.columns or ()
    assert {column.name: column.type for column in columns} == {
        "paid": "number",
        "PassengerId": "category",
        "since": "date",
    }


def test_names_with_commas_are_named_by_options(service: RunningService, client: Client, tmp_path: Path) -> None:
    columns = {"height, cm": [row % 7 for row in range(60)], "age": [row % 5 for row in range(60)], "y": [0, 1] * 30}
    path = write_table(tmp_path, "csv", {**columns, "id, old": [row % 3 for row in range(60)]})
    for options, names in (
        (("--features", 'age,"height, cm"'), ["age", "height, cm"]),
        (("--features", "height, cm"), ["height, cm"]),
        (("--exclude", "id, old"), ["height, cm", "age"]),
    ):
        result = run_train(service, path, "--target", "y", *options, "--name", uuid4().hex)
        assert column_names(client, result) == names


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--target", "paid", "--label", "job"), 2, "--target COLUMN, or --label"),
        ((), 2, "--target COLUMN, or --label"),
        (("--target", "paid", "--types", "age"), 2, "COLUMN=TYPE"),
        (("--target", "paid", "--features", "age,nothing"), 1, "--features: There is no column 'nothing'"),
        (("--target", "paid", "--types", "since=number"), 1, "--types: The column 'since' holds dates"),
        (("--target", "name"), 1, "--target: The column 'name' holds text with 240 different values"),
        (("--target", "since"), 1, "--target: The column 'since' holds"),
    ],
)
def test_options_that_do_not_fit_are_named(
    service: RunningService, tmp_path: Path, options: tuple[str, ...], code: int, message: str
) -> None:
    done = run_nabla("train", str(write(tmp_path, "csv")), *options, NABLA_URL=service.url)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in " ".join(done.stderr.replace("│", " ").split())


def test_datasets_of_the_command_are_deleted_with_the_job(
    service: RunningService, client: Client, tmp_path: Path
) -> None:
    path = write(tmp_path, "csv")
    result = run_train(service, path, "--target", "paid")
    whole = client.get_dataset(path.stem)
    parts = [client.get_dataset(f"{path.stem}-{part}") for part in ("train", "test")]
    assert [part.view.rows for part in parts] == [187, 47]
    assert set(result["job"]["owned_datasets"]) == {dataset.id for dataset in (whole, *parts)}
    # The linear model of the comparison and its job are gone.
    assert "linear-baseline" not in {network.view.name for network in client.list_networks()}
    client.get_job(result["job"]["id"]).delete()
    for dataset in (whole, *parts):
        with pytest.raises(NotFound):
            client.get_dataset(dataset.id)


@pytest.mark.parametrize("upload_format", ["csv", "json", "arrow"])
def test_files_with_blanks_are_evaluated(
    service: RunningService, trained: Path, tmp_path: Path, upload_format: str
) -> None:
    path = trained if upload_format == "csv" else write(tmp_path, upload_format)
    before = service.get("/v1/datasets?limit=1000")
    done = run_nabla("evaluate", trained.stem, str(path), NABLA_URL=service.url)
    assert done.returncode == 0, done.stderr
    assert re.match(r"Accuracy on 66 rows: 0\.\d+\. Cost 0\.\d+\.", done.stdout), done.stdout
    assert "Only the 66 of 234 rows that the network was not trained on are used." in done.stderr
    assert "6 rows without a target are left out." in done.stderr
    assert service.get("/v1/datasets?limit=1000") == before


def test_files_with_blanks_are_predicted_row_by_row(service: RunningService, trained: Path, tmp_path: Path) -> None:
    done = run_nabla("predict", trained.stem, str(trained), NABLA_URL=service.url)
    assert done.returncode == 0, done.stderr
    expected = list(csv.DictReader(done.stdout.splitlines()))
    assert len(expected) == ROWS  # rows without a target too
    assert {row["label"] for row in expected} == {"0", "1"}
    truth = [(row["label"], str(paid)) for row, paid in zip(expected, TABLE["paid"], strict=True) if paid is not None]
    assert sum(label == paid for label, paid in truth) / len(truth) > 0.8
    for upload_format in ("json", "parquet"):
        path = write(tmp_path, upload_format, PassengerId=list(range(ROWS)))
        done = run_nabla("predict", trained.stem, str(path), NABLA_URL=service.url)
        assert list(csv.DictReader(done.stdout.splitlines())) == expected
