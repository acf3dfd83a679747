"""Validation and conversion of examples, and the messages for those that are not accepted."""

import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from nabla.engine.data.examples import build_examples, matrix_from_rows
from nabla.engine.errors import InvalidInput

X = np.zeros((3, 2))


@pytest.mark.parametrize(
    ("labels", "classes", "codes"),
    [
        (["no", "yes", "no"], ("no", "yes"), [0, 1, 0]),
        ([10, 2, 10], (2, 10), [1, 0, 1]),
        ([True, False, True], (False, True), [1, 0, 1]),
        ([1, "x", True], ("1", "true", "x"), [0, 2, 1]),
        (np.array([2.0, 0.0, 1.0]), (0, 1, 2), [2, 0, 1]),
        (np.array([b"b", b"a", b"b"]), ("a", "b"), [1, 0, 1]),
        (["a", "a\0", "a"], ("a", "a\0"), [0, 1, 0]),
        ([2**64 - 1, 1, 1], ("1", str(2**64 - 1)), [1, 0, 0]),
        (np.array([[3], [1], [3]], np.uint8), (1, 3), [1, 0, 1]),
    ],
)
def test_labels_become_codes_into_sorted_classes(labels: Any, classes: tuple[str, ...], codes: list[int]) -> None:
    examples = build_examples(X, labels=labels)
    assert examples.classes == classes
    assert examples.codes is not None
    assert examples.codes.tolist() == codes


def test_one_long_label_does_not_widen_all_labels() -> None:
    rows = 20_000
    inputs, labels = np.zeros((rows, 1)), ["z" * 1000] + ["a"] * (rows - 1)
    tracemalloc.start()
    try:
        build_examples(inputs, labels=labels)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def test_explicit_classes_keep_order_and_may_be_absent() -> None:
    examples = build_examples(X, labels=["low", "high", "low"], classes=["low", "middle", "high"])
    assert examples.classes == ("low", "middle", "high")
    assert examples.codes is not None
    assert examples.codes.tolist() == [0, 2, 0]


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([[0, 255]], np.uint8), np.float32),
        (np.array([[1, 2**24]], np.int64), np.float32),
        (np.array([[1, 2**24 + 1]], np.int64), np.float64),
        (np.array([[0.1]], np.float32), np.float32),
        (np.array([[0.1]], np.float64), np.float64),
        (np.array([[True]]), np.float32),
        (np.array([[0.5]], np.float16), np.float32),
        (np.array([[0.1]], ">f8"), np.float64),
    ],
)
def test_inputs_are_stored_without_loss(array: np.ndarray[Any, Any], dtype: type) -> None:
    inputs = build_examples(array, targets=np.zeros(1)).inputs
    assert inputs.dtype == dtype
    assert (inputs == array).all()


@pytest.mark.parametrize(
    ("inputs", "arrays", "field", "message"),
    [
        (X, {}, "targets", "exactly one"),
        (X, {"targets": np.zeros(3), "labels": [0, 1, 0]}, "targets", "exactly one"),
        (X, {"targets": np.zeros(2)}, "targets", "2 targets for 3 rows"),
        (X, {"labels": ["a", "b"]}, "labels", "2 labels for 3 rows"),
        (X, {"labels": ["a", "a", "a"]}, "labels", "only one class"),
        (X, {"labels": np.array([0.5, 1, 2])}, "labels", "go into targets"),
        (X, {"labels": np.array([np.nan, 1, 2])}, "labels", "whole numbers or text"),
        (X, {"labels": ["a", "b", "c"], "classes": ["a", "b"]}, "labels.2", "'c' is not one of the classes a, b"),
        (X, {"labels": [0, 1, 7], "classes": ["0", "1"]}, "labels.2", "'7' is not one"),
        (X, {"labels": ["a", "b", "a"], "classes": ["a", "b", "a"]}, "classes", "once"),
        (X, {"labels": ["a", "b", "x" * 1001]}, "labels.2", "1001 characters; at most 1000"),
        (X, {"labels": ["a", "b", "a"], "classes": ["a", "b", "x" * 1001]}, "classes.2", "at most 1000"),
        (X, {"targets": np.zeros(3), "classes": ["a", "b"]}, "classes", "go with labels"),
        (np.zeros((0, 2)), {"targets": np.zeros(0)}, "inputs", "no data"),
        (np.zeros((3, 0)), {"targets": np.zeros(3)}, "inputs", "no data"),
        (np.zeros((3, 2, 2)), {"targets": np.zeros(3)}, "inputs", "3 dimensions"),
        (np.array([["a"]]), {"targets": np.zeros(1)}, "inputs", "Expected numbers"),
        (np.zeros((1, 1), complex), {"targets": np.zeros(1)}, "inputs", "Expected numbers"),
        (np.array([[0, 1], [2, np.nan]]), {"targets": np.zeros(2)}, "inputs.1.1", "not a number"),
        (np.array([[0.0], [1.0]]), {"targets": np.array([1, np.inf])}, "targets.1.0", "infinite"),
        (X, {"targets": np.ones(3), "weights": np.ones(2)}, "weights", "2 weights for 3 rows"),
        (X, {"labels": [0, 1, 0], "weights": np.ones(0)}, "weights", "0 weights for 3 rows"),
        (X, {"targets": np.ones(3), "weights": np.ones((3, 2))}, "weights", r"array of shape \(3, 2\)"),
        (X, {"targets": np.ones(3), "weights": np.array(["1", "1", "1"])}, "weights", "Expected numbers"),
        (X, {"targets": np.ones(3), "weights": np.array([1, 1, -0.5])}, "weights.2", "is -0.5; .* at least 0"),
        (X, {"targets": np.ones(3), "weights": np.array([1, np.nan, 1])}, "weights.1", "is nan; .* finite"),
        (X, {"targets": np.ones(3), "weights": np.array([np.inf, 1, 1])}, "weights.0", "is inf; .* finite"),
        (X, {"targets": np.ones(3), "weights": np.zeros(3)}, "weights", "at least 1 row must count"),
        (X, {"targets": np.ones(3), "weights": np.full(3, 1e308)}, "weights", "sum of the weights"),
    ],
)
def test_invalid_examples_are_rejected(inputs: Any, arrays: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as rejected:
        build_examples(inputs, **arrays)
    assert rejected.value.problems[0][0] == field


@pytest.mark.parametrize("weights", [np.array([0, 1, 2]), np.array([[0], [1], [2]], np.uint8), np.arange(3.0)])
def test_sample_weights_become_float64_vector(weights: np.ndarray[Any, Any]) -> None:
    vector = build_examples(X, labels=[0, 1, 0], weights=weights).weights
    assert vector is not None
    assert vector.dtype == np.float64
    assert vector.tolist() == [0, 1, 2]
    assert build_examples(X, labels=[0, 1, 0]).weights is None


@pytest.mark.parametrize("rows", [[[1.0, 2.0], [3.0]], [[1.0], [2.0, 3.0]]])
def test_first_ragged_row_is_reported(rows: Sequence[Sequence[float]]) -> None:
    with pytest.raises(InvalidInput, match="all rows have the same") as rejected:
        matrix_from_rows(rows, "inputs")
    assert rejected.value.problems[0][0] == "inputs.1"
