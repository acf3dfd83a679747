"""Storing examples, opening them for training, and matching them with networks."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from nabla.engine.data.dataset import Dataset, content_digest, store_examples
from nabla.engine.data.examples import build_examples
from nabla.engine.data.ingest_options import IngestOptions
from nabla.engine.data.loading import open_for_training
from nabla.engine.data.schema import Column
from nabla.engine.errors import Damaged, InvalidInput
from nabla.engine.literals import ActivationName, CostName, DtypeName
from nabla.engine.nn.architecture import Architecture, Layer

X = np.array([[0.1, 2], [3, 4], [5, 6]])


def store_dataset(directory: Path, **arrays: Any) -> Dataset:
    """Store the arrays, with X as the default inputs, in the directory `ds`."""
    examples = build_examples(arrays.pop("inputs", X), **arrays)
    directory.mkdir(exist_ok=True)
    return store_examples(directory / "ds", examples, id="ds", name="d", created_at=datetime.now(UTC))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_targets_are_converted_to_network_dtype(tmp_path: Path, dtype: str) -> None:
    dataset = store_dataset(tmp_path, targets=[[1.5], [2.5], [3.5]] * np.ones((3, 1)))
    for _ in range(2):
        opened = open_for_training(dataset, tmp_path / "ds", 1, dtype)
        assert {opened.x.dtype, opened.y.dtype} == {np.dtype(dtype)}
        np.testing.assert_array_equal(opened.x, X.astype(dtype))
        assert opened.y.tolist() == [[1.5], [2.5], [3.5]]
        assert not opened.x.flags.writeable
        assert (opened.codes, opened.weights) == (None, None)
    assert (dataset.rows, dataset.inputs, dataset.targets, dataset.classes) == (3, 2, 1, None)
    assert not dataset.weighted


def test_labels_become_one_hot_or_single_column(tmp_path: Path) -> None:
    dataset = store_dataset(tmp_path, labels=["no", "yes", "no"])
    assert (dataset.targets, dataset.classes) == (2, ("no", "yes"))
    opened = open_for_training(dataset, tmp_path / "ds", 2, "float32")
    assert opened.y.tolist() == [[1, 0], [0, 1], [1, 0]]
    assert open_for_training(dataset, tmp_path / "ds", 1, "float32").y.tolist() == [[0], [1], [0]]
    assert opened.codes is not None
    assert opened.codes.dtype == np.int32
    assert opened.codes.tolist() == [0, 1, 0]
    assert not opened.codes.flags.writeable


def test_blockwise_conversion_covers_all_rows(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 3000, 5000)
    codes[:3000] = np.arange(3000)
    dataset = store_dataset(tmp_path, inputs=codes.astype(float), labels=codes)
    opened = open_for_training(dataset, tmp_path / "ds", 3000, "float32")
    assert (opened.x[:, 0] == codes).all()
    assert (opened.y.shape, float(opened.y.sum())) == ((5000, 3000), 5000)
    assert (opened.y.argmax(axis=1) == codes).all()


def test_sample_weights_round_trip(tmp_path: Path) -> None:
    dataset = store_dataset(tmp_path, targets=X, weights=np.array([0.1, 0, 3]))
    opened = open_for_training(dataset, tmp_path / "ds", 2, "float32")
    assert dataset.weighted
    assert opened.weights is not None
    assert opened.weights.dtype == np.float64
    assert opened.weights.tolist() == [0.1, 0, 3]
    assert not opened.weights.flags.writeable


def test_unlabeled_dataset_can_only_be_predicted(tmp_path: Path) -> None:
    dataset = store_dataset(tmp_path, unlabeled=True)
    assert (dataset.rows, dataset.inputs, dataset.targets, dataset.classes) == (3, 2, 0, None)
    assert dataset.unlabeled
    assert {path.name.split(".")[0] for path in (tmp_path / "ds").iterdir()} == {"inputs"}
    assert msgspec.json.decode(msgspec.json.encode(dataset), type=Dataset) == dataset
    dataset.check_inputs(network(2, 5, "sigmoid", "quadratic"))
    with pytest.raises(InvalidInput, match="is unlabeled"):
        dataset.check_fits(network(2, 5, "sigmoid", "quadratic"))


def test_ingest_options_without_unlabeled_field_are_decoded() -> None:
    record = msgspec.json.decode(msgspec.json.encode(IngestOptions(target=("y",))))
    del record["unlabeled"]
    assert msgspec.json.decode(msgspec.json.encode(record), type=IngestOptions) == IngestOptions(target=("y",))


def test_dataset_record_without_weighted_field_is_decoded(tmp_path: Path) -> None:
    dataset = store_dataset(tmp_path, targets=X)
    record = msgspec.json.decode(msgspec.json.encode(dataset))
    del record["weighted"]
    assert msgspec.json.decode(msgspec.json.encode(record), type=Dataset) == dataset


def test_digest_depends_on_files_and_column_roles_alone(tmp_path: Path) -> None:
    """Digests are stored, so that they must not change with the names of fields: this is the text they are made of."""
    (tmp_path / "table.0123456789abcdef0123456789abcdef.arrow").touch()
    (tmp_path / "codes.fedcba9876543210fedcba9876543210.npy").touch()
    columns = (
        Column("job", "category", ("clerk", "cook"), missing=1, imputation="most_frequent"),
        Column("floor", "number", missing=2, imputation="constant", constant=-1.0),
        Column("age", "number"),
    )
    expected = (
        b'[["codes.fedcba9876543210fedcba9876543210.npy","table.0123456789abcdef0123456789abcdef.arrow"],'
        b'[{"name":"job","type":"category","categories":["clerk","cook"],"missing":1,"fill":"most_frequent",'
        b'"constant":null},{"name":"floor","type":"number","categories":[],"missing":2,"fill":"constant",'
        b'"constant":-1.0},{"name":"age","type":"number","categories":[],"missing":0,"fill":null,"constant":null}],'
        b'["y"],["no","yes"]]'
    )
    digest = content_digest(tmp_path, columns, ("y",), ("no", "yes"))
    assert digest == hashlib.sha256(expected).hexdigest()
    assert content_digest(tmp_path, columns[1:], ("y",), ("no", "yes")) != digest


def test_digest_of_stored_arrays_is_stable(tmp_path: Path) -> None:
    assert store_dataset(tmp_path, targets=X).sha256 == (
        "5fd0415e186e6ad391a75810a73503524233eafc97c0457f4b469a23e33b7d2a"
    )


def network(
    inputs: int, outputs: int, activation: ActivationName, cost: CostName, dtype: DtypeName = "float32"
) -> Architecture:
    return Architecture(inputs, (Layer(outputs, activation),), cost, dtype=dtype)


def test_compatible_networks_are_accepted(tmp_path: Path) -> None:
    classes = store_dataset(tmp_path / "1", labels=["a", "b", "a"])
    for outputs in (1, 2):
        classes.check_fits(network(2, outputs, "sigmoid", "binary_cross_entropy"))
    classes.check_fits(network(2, 2, "softmax", "categorical_cross_entropy"))
    store_dataset(tmp_path / "2", targets=np.array([7.0, 8, 9])).check_fits(network(2, 1, "identity", "quadratic"))


@pytest.mark.parametrize(
    ("arrays", "architecture", "message"),
    [
        ({"labels": [0, 1, 2]}, network(3, 3, "softmax", "quadratic"), "3 inputs, the dataset 2"),
        ({"labels": [0, 1, 2]}, network(2, 1, "sigmoid", "quadratic"), "1 outputs; a dataset of 3 classes needs 3"),
        ({"labels": [0, 1, 0]}, network(2, 3, "sigmoid", "quadratic"), "needs 1 or 2"),
        ({"targets": X}, network(2, 1, "identity", "quadratic"), "2 targets needs 2"),
        (
            {"targets": X[:, 1]},
            network(2, 1, "sigmoid", "binary_cross_entropy"),
            "from 0 to 1; these range from 2 to 6",
        ),
        ({"targets": -X}, network(2, 2, "softplus", "poisson"), "at least 0; the smallest is -6"),
        ({"targets": X}, network(2, 2, "softmax", "categorical_cross_entropy"), "with the sum 1"),
        ({"targets": X, "inputs": X * 1e38}, network(2, 2, "identity", "quadratic"), "beyond float32"),
    ],
)
def test_incompatible_networks_are_rejected(
    tmp_path: Path, arrays: dict[str, Any], architecture: Architecture, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as rejected:
        store_dataset(tmp_path, **arrays).check_fits(architecture)
    assert rejected.value.problems[0][0] == "dataset_id"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"labels": ["a", "b", "c"]},
            "the network are a, b; the dataset has the classes a, b, c, of which the network does not know c",
        ),
        ({"targets": X}, "the network are a, b; the dataset has numbers as targets"),
    ],
)
def test_datasets_with_other_classes_are_rejected(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    binary = network(2, 1, "sigmoid", "binary_cross_entropy")
    reordered = store_dataset(tmp_path / "same", labels=["b", "a", "b"], classes=["b", "a"])
    reordered.check_fits(binary, classes=("a", "b"))
    with pytest.raises(InvalidInput, match=message) as rejected:
        store_dataset(tmp_path / "other", **arrays).check_fits(binary, classes=("a", "b"))
    assert rejected.value.problems[0][0] == "dataset_id"


@pytest.mark.parametrize("damage", ["bit", "end", "gone"])
@pytest.mark.parametrize("file", ["inputs", "codes", "weights"])
@pytest.mark.parametrize("was_opened_before", [False, True])
def test_damaged_files_are_detected(tmp_path: Path, file: str, damage: str, was_opened_before: bool) -> None:
    """Also in a file that was intact when it was opened before."""
    dataset = store_dataset(tmp_path, inputs=X.astype(np.float32), labels=[0, 1, 0], weights=np.ones(3))
    if was_opened_before:
        open_for_training(dataset, tmp_path / "ds", 2, "float32")
    (path,) = (tmp_path / "ds").glob(f"{file}.*")
    damage_file(path, damage)
    with pytest.raises(Damaged, match=f"{file}.*(damaged|missing|cannot be read)"):
        open_for_training(dataset, tmp_path / "ds", 2, "float32")


def damage_file(path: Path, damage: str) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    match damage:
        case "bit":
            path.write_bytes(content)
        case "end":
            path.write_bytes(path.read_bytes()[:-1])
        case _:
            path.unlink()
