"""Runs on tables: how they begin, and what of them predicts."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from nabla.engine.data.dataset import Dataset
from nabla.engine.data.loading import open_for_training
from nabla.engine.data.preprocessing import PreprocessingConfig
from nabla.engine.data.schema import Column
from nabla.engine.errors import InvalidInput
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.records.job import Checkpointing
from nabla.engine.records.network import NetworkRecord
from nabla.engine.services.jobs import Order, check_data
from nabla.engine.training.checkpoint import load_weights, save_weights
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.devices import Cpu
from nabla.engine.training.model import Model
from nabla.engine.workers import training_protocol
from nabla.engine.workers.training_main import begin
from tests.unit.data.sample_tables import stored_table
from tests.unit.data.test_dataset import stored

COLUMNS = (
    Column("age", "number", imputation="median"),
    Column("job", "category", ("clerk", "cook", "diver")),
    Column("member", "boolean"),
)
ARCHITECTURE = Architecture(5, (Layer(4, "tanh"), Layer(1, "identity")), "quadratic")
RULE = PreprocessingConfig("standardize", "standardize")
SPEC = TrainingSpec(epochs=2, batch_size=4, learning_rate=0.1, validation_fraction=0.25)
ROWS: list[dict[str, Any]] = [
    {"age": None if number == 3 else 20.0 + number, "job": COLUMNS[1].categories[number % 3], "member": number % 2 == 0}
    for number in range(16)
]
NOW = datetime.now(UTC)


def table(folder: Path, columns: tuple[Column, ...] = COLUMNS, rows: list[dict[str, Any]] = ROWS) -> Dataset:
    dataset = stored(folder, inputs=np.zeros((len(rows), 1)), targets=np.arange(100.0, 100 + len(rows)))
    stored_table(folder / "ds", {column.name: pa.array([row[column.name] for row in rows]) for column in columns})
    return replace(dataset, inputs=sum(column.inputs for column in columns), features=columns)


def run(folder: Path, dataset: Dataset, weights: Path, rule: PreprocessingConfig = RULE) -> training_protocol.Run:
    return training_protocol.Run(
        job_id="job_1",
        attempt=1,
        architecture=ARCHITECTURE,
        preprocessing=rule,
        spec=SPEC,
        dataset=dataset,
        dataset_folder=str(folder / "ds"),
        validation=None,
        validation_folder=None,
        weights=str(weights),
        checkpoint=None,
        begin_with=None,
        folder=str(folder),
        checkpointing=Checkpointing(),
    )


def trained(folder: Path, dataset: Dataset, weights: Path | None = None, rule: PreprocessingConfig = RULE) -> Path:
    """The weights of a run that has ended."""
    start = weights or save_weights(folder / "start.safetensors", Network(ARCHITECTURE))
    trainer, preprocessor = begin(run(folder, dataset, start, rule), Cpu(1))
    for _ in trainer.run():
        pass
    return save_weights(folder / "end.safetensors", trainer.network, preprocessor)


def test_what_was_trained_on_a_table_predicts_from_rows(tmp_path: Path) -> None:
    dataset = table(tmp_path)
    network, preprocessor = load_weights(trained(tmp_path, dataset), ARCHITECTURE)
    assert preprocessor is not None
    model = Model(network, preprocessor)
    data = open_for_training(dataset, tmp_path / "ds", 1, "float32", preprocessor)
    assert data.units is not None
    expected = preprocessor.answers(network.predict(data.x))
    assert np.array_equal(model.predict(model.prepared_named(ROWS, "rows"), "rows"), expected)
    assert np.array_equal(
        model.predict(model.prepared_rows([[*row.values()] for row in ROWS], "inputs"), "inputs"), expected
    )
    assert 100 < expected.mean() < 116
    for change, field, words in (
        ({"member": None}, "rows.1.member", "has no value in the column 'member'"),
        ({"job": "pilot"}, "rows.1.job", "none of the categories learned: clerk, cook, diver"),
        ({"age": "old"}, "rows.1.age", "A finite number is expected"),
    ):
        with pytest.raises(InvalidInput, match=words) as refused:
            model.prepared_named([ROWS[0], {**ROWS[1], **change}], "rows")
        assert refused.value.problems[0][0] == field


def test_a_warm_start_keeps_to_its_categories(tmp_path: Path) -> None:
    first = trained(tmp_path / "1", table(tmp_path / "1"))
    cooks = [row for row in ROWS if row["job"] != "diver"]
    fewer = (COLUMNS[2], replace(COLUMNS[1], categories=("clerk", "cook")), COLUMNS[0])
    dataset = table(tmp_path / "2", fewer, cooks)
    with pytest.raises(InvalidInput, match=r"the dataset 4: member, job .2 categories., age"):
        dataset.check_fits(ARCHITECTURE, RULE)
    _, preprocessor = load_weights(trained(tmp_path / "2", dataset, first), ARCHITECTURE)
    _, fitted = load_weights(first, ARCHITECTURE)
    assert preprocessor is not None
    assert fitted is not None
    assert preprocessor.columns == fitted.columns == COLUMNS
    other = table(tmp_path / "3", (*COLUMNS[:2], Column("height", "number")), [{**row, "height": 1} for row in ROWS])
    with pytest.raises(InvalidInput, match="it has no column 'member'"):
        trained(tmp_path / "3", other, first)


def test_data_are_checked_when_a_job_is_submitted(tmp_path: Path) -> None:
    network = NetworkRecord("net_1", None, ARCHITECTURE, (), NOW, preprocessing=RULE)
    dataset = table(tmp_path / "1")
    _, fitted = load_weights(trained(tmp_path / "1", dataset), ARCHITECTURE)
    plain = stored(tmp_path / "2", inputs=np.zeros((4, 5)), targets=np.arange(4.0))
    check_data(Order(network, dataset, SPEC, validation=dataset), fitted)
    check_data(Order(network, plain, SPEC), None)
    for order, before, field, words in (
        (Order(network, plain, SPEC), fitted, "dataset_id", "plain numbers, and no columns"),
        (
            Order(network, dataset, SPEC, validation=plain),
            None,
            "validation.dataset_id",
            "plain numbers, and no columns",
        ),
        (
            Order(network, replace(dataset, features=COLUMNS[:2], inputs=4), SPEC),
            None,
            "dataset_id",
            r"The network has 5 inputs, the dataset 4: age, job .3 categories.\.",
        ),
    ):
        with pytest.raises(InvalidInput, match=words) as refused:
            check_data(order, before)
        assert refused.value.problems[0][0] == field
