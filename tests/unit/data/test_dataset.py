"""Storing examples and opening them for training; which networks they fit."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from nabla.engine.data.dataset import Dataset, store
from nabla.engine.data.examples import examples
from nabla.engine.data.ingest_options import Reading
from nabla.engine.data.loading import open_for_training
from nabla.engine.errors import Damaged, InvalidInput
from nabla.engine.literals import ActivationName, CostName, DtypeName
from nabla.engine.nn.architecture import Architecture, Layer

X = np.array([[0.1, 2], [3, 4], [5, 6]])


def stored(folder: Path, **answers: Any) -> Dataset:
    found = examples(answers.pop("inputs", X), **answers)
    return store(folder / "ds", found, id="ds", name="d", created_at=datetime.now(UTC))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_targets_come_back_in_the_networks_precision(tmp_path: Path, dtype: str) -> None:
    dataset = stored(tmp_path, targets=[[1.5], [2.5], [3.5]] * np.ones((3, 1)))
    for _ in range(2):
        opened = open_for_training(dataset, tmp_path / "ds", 1, dtype)
        assert {opened.x.dtype, opened.y.dtype} == {np.dtype(dtype)}
        np.testing.assert_array_equal(opened.x, X.astype(dtype))
        assert opened.y.tolist() == [[1.5], [2.5], [3.5]]
        assert not opened.x.flags.writeable
        assert (opened.codes, opened.weights) == (None, None)
    assert (dataset.rows, dataset.inputs, dataset.targets, dataset.classes) == (3, 2, 1, None)
    assert not dataset.weighted


def test_labels_become_one_hot_or_a_single_column(tmp_path: Path) -> None:
    dataset = stored(tmp_path, labels=["no", "yes", "no"])
    assert (dataset.targets, dataset.classes) == (2, ("no", "yes"))
    opened = open_for_training(dataset, tmp_path / "ds", 2, "float32")
    assert opened.y.tolist() == [[1, 0], [0, 1], [1, 0]]
    assert open_for_training(dataset, tmp_path / "ds", 1, "float32").y.tolist() == [[0], [1], [0]]
    assert opened.codes is not None
    assert opened.codes.dtype == np.int32
    assert opened.codes.tolist() == [0, 1, 0]
    assert not opened.codes.flags.writeable


def test_what_is_converted_in_parts_is_whole(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 3000, 5000)
    codes[:3000] = np.arange(3000)
    dataset = stored(tmp_path, inputs=codes.astype(float), labels=codes)
    opened = open_for_training(dataset, tmp_path / "ds", 3000, "float32")
    assert (opened.x[:, 0] == codes).all()
    assert (opened.y.shape, float(opened.y.sum())) == ((5000, 3000), 5000)
    assert (opened.y.argmax(axis=1) == codes).all()


def test_weights_come_back_as_they_are(tmp_path: Path) -> None:
    dataset = stored(tmp_path, targets=X, weights=np.array([0.1, 0, 3]))
    opened = open_for_training(dataset, tmp_path / "ds", 2, "float32")
    assert dataset.weighted
    assert opened.weights is not None
    assert opened.weights.dtype == np.float64
    assert opened.weights.tolist() == [0.1, 0, 3]
    assert not opened.weights.flags.writeable


def test_rows_without_answers(tmp_path: Path) -> None:
    dataset = stored(tmp_path, unlabeled=True)
    assert (dataset.rows, dataset.inputs, dataset.targets, dataset.classes) == (3, 2, 0, None)
    assert dataset.unlabeled
    assert {path.name.split(".")[0] for path in (tmp_path / "ds").iterdir()} == {"inputs"}
    assert msgspec.json.decode(msgspec.json.encode(dataset), type=Dataset) == dataset
    dataset.check_inputs(network(2, 5, "sigmoid", "quadratic"))
    with pytest.raises(InvalidInput, match="is unlabeled"):
        dataset.check_fits(network(2, 5, "sigmoid", "quadratic"))


def test_options_from_before_there_were_rows_without_answers_are_read() -> None:
    record = msgspec.json.decode(msgspec.json.encode(Reading(target=("y",))))
    del record["unlabeled"]
    assert msgspec.json.decode(msgspec.json.encode(record), type=Reading) == Reading(target=("y",))


def test_a_record_from_before_there_were_weights_is_read(tmp_path: Path) -> None:
    dataset = stored(tmp_path, targets=X)
    record = msgspec.json.decode(msgspec.json.encode(dataset))
    del record["weighted"]
    assert msgspec.json.decode(msgspec.json.encode(record), type=Dataset) == dataset


def network(
    inputs: int, outputs: int, activation: ActivationName, cost: CostName, dtype: DtypeName = "float32"
) -> Architecture:
    return Architecture(inputs, (Layer(outputs, activation),), cost, dtype=dtype)


def test_networks_that_fit(tmp_path: Path) -> None:
    classes = stored(tmp_path / "1", labels=["a", "b", "a"])
    for outputs in (1, 2):
        classes.check_fits(network(2, outputs, "sigmoid", "binary_cross_entropy"))
    classes.check_fits(network(2, 2, "softmax", "categorical_cross_entropy"))
    stored(tmp_path / "2", targets=np.array([7.0, 8, 9])).check_fits(network(2, 1, "identity", "quadratic"))


@pytest.mark.parametrize(
    ("answers", "architecture", "words"),
    [
        ({"labels": [0, 1, 2]}, network(3, 3, "softmax", "quadratic"), "3 inputs, the dataset 2"),
        ({"labels": [0, 1, 2]}, network(2, 1, "sigmoid", "quadratic"), "1 outputs; a dataset of 3 classes needs 3"),
        ({"labels": [0, 1, 0]}, network(2, 3, "sigmoid", "quadratic"), "needs 1 or 2"),
        ({"targets": X}, network(2, 1, "identity", "quadratic"), "2 targets needs 2"),
        (
            {"targets": X[:, 1]},
            network(2, 1, "sigmoid", "binary_cross_entropy"),
            "from 0 to 1; these reach from 2 to 6",
        ),
        ({"targets": -X}, network(2, 2, "softplus", "poisson"), "at least 0; these begin at -6"),
        ({"targets": X}, network(2, 2, "softmax", "categorical_cross_entropy"), "with the sum 1"),
        ({"targets": X, "inputs": X * 1e38}, network(2, 2, "identity", "quadratic"), "beyond float32"),
    ],
)
def test_networks_that_do_not_fit(
    tmp_path: Path, answers: dict[str, Any], architecture: Architecture, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        stored(tmp_path, **answers).check_fits(architecture)
    assert refused.value.problems[0][0] == "dataset_id"


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"labels": ["a", "b", "c"]}, "trained to tell apart a, b; .* This one has the classes a, b, c"),
        ({"labels": ["b", "a", "b"], "classes": ["b", "a"]}, "This one has the classes b, a"),
        ({"targets": X}, "This one has numbers as targets"),
    ],
)
def test_other_classes(tmp_path: Path, answers: dict[str, Any], words: str) -> None:
    stored(tmp_path / "same", labels=["a", "b", "a"]).check_classes(("a", "b"))
    with pytest.raises(InvalidInput, match=words) as refused:
        stored(tmp_path / "other", **answers).check_classes(("a", "b"))
    assert refused.value.problems[0][0] == "dataset_id"


@pytest.mark.parametrize("damage", ["bit", "end", "gone"])
@pytest.mark.parametrize("file", ["inputs", "codes", "weights"])
@pytest.mark.parametrize("opened_before", [False, True])
def test_damage_is_found(tmp_path: Path, file: str, damage: str, opened_before: bool) -> None:
    """Every file that is used, and also where it was sound before."""
    dataset = stored(tmp_path, inputs=X.astype(np.float32), labels=[0, 1, 0], weights=np.ones(3))
    if opened_before:
        open_for_training(dataset, tmp_path / "ds", 2, "float32")
    (path,) = (tmp_path / "ds").glob(f"{file}.*")
    harm(path, damage)
    with pytest.raises(Damaged, match=f"{file}.*(damaged|missing|cannot be read)"):
        open_for_training(dataset, tmp_path / "ds", 2, "float32")


def harm(path: Path, damage: str) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    match damage:
        case "bit":
            path.write_bytes(content)
        case "end":
            path.write_bytes(path.read_bytes()[:-1])
        case _:
            path.unlink()
