"""Preparing a run on a table: fitted preprocessing, warm starts, and predictions with the result."""

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
from nabla.engine.services.job_validation import JobRequest, validate_data
from nabla.engine.training.checkpoint import load_weights, save_weights
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.devices import CpuDevice
from nabla.engine.training.model import Model
from nabla.engine.workers import training_protocol
from nabla.engine.workers.training_main import prepare_run
from tests.unit.data.sample_tables import write_table
from tests.unit.data.test_dataset import store_dataset

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


def make_table(directory: Path, columns: tuple[Column, ...] = COLUMNS, rows: list[dict[str, Any]] = ROWS) -> Dataset:
    dataset = store_dataset(directory, inputs=np.zeros((len(rows), 1)), targets=np.arange(100.0, 100 + len(rows)))
    write_table(directory / "ds", {column.name: pa.array([row[column.name] for row in rows]) for column in columns})
    return replace(dataset, inputs=sum(column.inputs for column in columns), features=columns)


def make_input(
    output_dir: Path, dataset: Dataset, weights: Path, rule: PreprocessingConfig = RULE
) -> training_protocol.TrainingInput:
    return training_protocol.TrainingInput(
        job_id="job_1",
        attempt=1,
        architecture=ARCHITECTURE,
        preprocessing=rule,
        spec=SPEC,
        dataset=dataset,
        dataset_dir=str(output_dir / "ds"),
        validation=None,
        validation_dir=None,
        weights=str(weights),
        checkpoint=None,
        initial_checkpoint=None,
        output_dir=str(output_dir),
        checkpointing=Checkpointing(),
    )


def train(directory: Path, dataset: Dataset, weights: Path | None = None, rule: PreprocessingConfig = RULE) -> Path:
    """Train, and return the weights file."""
    start = weights or save_weights(directory / "start.safetensors", Network(ARCHITECTURE))
    run = prepare_run(make_input(directory, dataset, start, rule), CpuDevice(1))
    for _ in run.trainer.run():
        pass
    return save_weights(directory / "end.safetensors", run.trainer.network, run.preprocessor)


def test_network_trained_on_a_table_predicts_from_rows(tmp_path: Path) -> None:
    dataset = make_table(tmp_path)
    network, preprocessor = load_weights(train(tmp_path, dataset), ARCHITECTURE)
    assert preprocessor is not None
    model = Model(network, preprocessor)
    data = open_for_training(dataset, tmp_path / "ds", 1, "float32", preprocessor)
    assert data.target_scale is not None
    expected = preprocessor.inverse_transform_targets(network.predict(data.x))
    assert np.array_equal(model.predict(model.preprocess_records(ROWS, "rows"), "rows"), expected)
    assert np.array_equal(
        model.predict(model.preprocess_rows([[*row.values()] for row in ROWS], "inputs"), "inputs"), expected
    )
    assert 100 < expected.mean() < 116
    for change, field, words in (
        ({"member": None}, "rows.1.member", "has no value in the column 'member'"),
        ({"job": "pilot"}, "rows.1.job", "in the column 'job'; the categories learned are clerk, cook, diver"),
        ({"age": "old"}, "rows.1.age", "A finite number is expected"),
    ):
        with pytest.raises(InvalidInput, match=words) as refused:
            model.preprocess_records([ROWS[0], {**ROWS[1], **change}], "rows")
        assert refused.value.problems[0][0] == field


def test_warm_start_keeps_the_fitted_categories(tmp_path: Path) -> None:
    first = train(tmp_path / "1", make_table(tmp_path / "1"))
    cooks = [row for row in ROWS if row["job"] != "diver"]
    fewer = (COLUMNS[2], replace(COLUMNS[1], categories=("clerk", "cook")), COLUMNS[0])
    dataset = make_table(tmp_path / "2", fewer, cooks)
    with pytest.raises(InvalidInput, match=r"the dataset 4: member, job .2 categories., age"):
        dataset.check_fits(ARCHITECTURE, RULE)
    _, preprocessor = load_weights(train(tmp_path / "2", dataset, first), ARCHITECTURE)
    _, fitted = load_weights(first, ARCHITECTURE)
    assert preprocessor is not None
    assert fitted is not None
    assert preprocessor.columns == fitted.columns == COLUMNS
    other = make_table(
        tmp_path / "3", (*COLUMNS[:2], Column("height", "number")), [{**row, "height": 1} for row in ROWS]
    )
    with pytest.raises(InvalidInput, match="it has no column 'member'"):
        train(tmp_path / "3", other, first)


def test_data_is_checked_when_a_job_is_submitted(tmp_path: Path) -> None:
    network = NetworkRecord("net_1", None, ARCHITECTURE, (), NOW, preprocessing=RULE)
    dataset = make_table(tmp_path / "1")
    _, fitted = load_weights(train(tmp_path / "1", dataset), ARCHITECTURE)
    plain = store_dataset(tmp_path / "2", inputs=np.zeros((4, 5)), targets=np.arange(4.0))
    validate_data(JobRequest(network, dataset, SPEC, validation=dataset), fitted, None)
    validate_data(JobRequest(network, plain, SPEC), None, None)
    for order, before, field, words in (
        (JobRequest(network, plain, SPEC), fitted, "dataset_id", "plain numbers, and no columns"),
        (
            JobRequest(network, dataset, SPEC, validation=plain),
            None,
            "validation.dataset_id",
            "plain numbers, and no columns",
        ),
        (
            JobRequest(network, replace(dataset, features=COLUMNS[:2], inputs=4), SPEC),
            None,
            "dataset_id",
            r"The network has 5 inputs, the dataset 4: age, job .3 categories.\.",
        ),
    ):
        with pytest.raises(InvalidInput, match=words) as refused:
            validate_data(order, before, None)
        assert refused.value.problems[0][0] == field
