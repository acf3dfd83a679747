"""Ingest of arrays in every format, and rejected arrays."""

import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nabla.engine.data.ingest_options import DatasetContent
from nabla.engine.errors import InvalidInput
from tests.unit.data.ingest.sample_files import (
    gzip_bytes,
    idx_bytes,
    ingest,
    ingest_sources,
    npy_bytes,
    npy_bytes_with_header,
    npz_bytes,
    write_chunks,
    zstd_bytes,
)

INPUTS = np.arange(6.0).reshape(3, 2)
IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def test_npz_with_targets_and_weights(tmp_path: Path) -> None:
    dataset = ingest(tmp_path, npz_bytes(inputs=INPUTS, targets=[1.0, 2.0, 3.0], weights=[0.5, 0.0, 2.0]))
    assert dataset.file_names == {"inputs", "targets", "weights"}
    np.testing.assert_array_equal(dataset.array("inputs"), INPUTS)
    assert dataset.array("targets").tolist() == [[1], [2], [3]]
    assert dataset.array("weights").tolist() == [0.5, 0, 2]
    size = sum(path.stat().st_size for path in dataset.directory.iterdir())
    assert dataset.content == DatasetContent(3, 2, 1, None, size, 1, 3, False, 5, True)
    assert dataset.progress[-1].rows == 3


def test_each_array_in_its_own_field(tmp_path: Path) -> None:
    dataset = ingest(tmp_path, ("inputs", npy_bytes(INPUTS)), ("labels", npy_bytes([0, 1, 1])))
    assert dataset.file_names == {"inputs", "codes"}
    assert dataset.array("codes").tolist() == [0, 1, 1]
    assert (dataset.content.classes, dataset.content.targets, dataset.content.distributions) == ((0, 1), 2, True)


def test_idx_images_are_flattened(tmp_path: Path) -> None:
    dataset = ingest(
        tmp_path, ("inputs", gzip_bytes(idx_bytes(IMAGES))), ("labels", idx_bytes(np.array([7, 3], np.uint8)))
    )
    assert dataset.array("inputs").tolist() == IMAGES.reshape(2, 12).tolist()
    assert dataset.array("inputs").dtype == np.uint8
    assert dataset.content.classes == (3, 7)


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "f4", "f8"])
def test_idx_of_each_type(tmp_path: Path, dtype: str) -> None:
    array = np.array([[1, -2], [3, 4]], dtype)
    dataset = ingest(tmp_path, ("inputs", idx_bytes(array)), ("targets", npy_bytes([1.0, 2.0])))
    assert dataset.array("inputs").dtype == np.dtype(dtype)
    assert (dataset.array("inputs") == array).all()


@pytest.mark.parametrize("pack", [bytes, gzip_bytes, zstd_bytes])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["?", "u1", "<u2", "i8", "<f2", "<f4", ">f4", ">i2", "f8"])
def test_arrays_keep_dtype_in_native_byte_order(tmp_path: Path, dtype: str, order: Any, pack: Any) -> None:
    array = np.asarray(np.arange(20).reshape(5, 4), dtype, order=order)
    dataset = ingest(tmp_path, ("inputs", pack(npy_bytes(array))), ("targets", npy_bytes(array)))
    for name in ("inputs", "targets"):
        stored = dataset.array(name)
        assert stored.dtype == (np.float32 if dtype == "<f2" else np.dtype(dtype).newbyteorder("="))
        assert stored.flags.c_contiguous
        np.testing.assert_array_equal(stored, array)
    assert not [*dataset.directory.glob(".*")]


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_several_blocks(tmp_path: Path, order: Any) -> None:
    array = np.asarray(np.random.default_rng(0).random((150_000, 10)), order=order)
    labels = np.arange(150_000) % 7
    dataset = ingest(tmp_path, npz_bytes(inputs=array, labels=labels))
    np.testing.assert_array_equal(dataset.array("inputs"), array)
    np.testing.assert_array_equal(dataset.array("codes"), labels)
    assert dataset.content.magnitude == max(1, array.max())
    assert len(dataset.progress) > 1


def test_chunks_are_read_as_one_file(tmp_path: Path) -> None:
    source = write_chunks(tmp_path, npz_bytes(inputs=INPUTS, labels=["b", "a", "b"]), 50)
    dataset = ingest_sources(tmp_path, [source])
    np.testing.assert_array_equal(dataset.array("inputs"), INPUTS)
    assert dataset.content.classes == ("a", "b")


@pytest.mark.parametrize(
    ("labels", "classes", "codes"),
    [
        (["no", "yes", "no"], ("no", "yes"), [0, 1, 0]),
        ([10, 2, 10], (2, 10), [1, 0, 1]),
        ([True, False, True], (False, True), [1, 0, 1]),
        (np.array([2.0, 0.0, 1.0]), (0, 1, 2), [2, 0, 1]),
        (np.array([b"b", b"a", b"b"]), ("a", "b"), [1, 0, 1]),
        (np.array([[3], [1], [3]], ">u2"), (1, 3), [1, 0, 1]),
    ],
)
def test_labels_become_sorted_classes(
    tmp_path: Path, labels: npt.ArrayLike, classes: tuple[str, ...], codes: list[int]
) -> None:
    dataset = ingest(tmp_path, npz_bytes(inputs=INPUTS, labels=labels))
    assert dataset.content.classes == classes
    assert dataset.array("codes").tolist() == codes


@pytest.mark.parametrize(
    ("labels", "classes", "codes"),
    [
        (["no", "yes", "no"], ("no", "yes"), [0, 1, 0]),
        ([10, 2, 10], (2, 10), [1, 0, 1]),
        ([True, False, True], (False, True), [1, 0, 1]),
        ([1, "x", True], ("1", "true", "x"), [0, 2, 1]),
    ],
)
def test_json_with_labels(tmp_path: Path, labels: list[Any], classes: tuple[str, ...], codes: list[int]) -> None:
    body = {"inputs": INPUTS.tolist(), "labels": labels, "weights": [1, 2, 3]}
    dataset = ingest(tmp_path, json.dumps(body, indent=1).encode())
    np.testing.assert_array_equal(dataset.array("inputs"), INPUTS)
    assert dataset.content.classes == classes
    assert dataset.array("codes").tolist() == codes
    assert dataset.array("weights").tolist() == [1, 2, 3]


def test_json_with_targets(tmp_path: Path) -> None:
    dataset = ingest(tmp_path, b'{"inputs": [1, 2], "targets": [[1, 0], [0.5, 0.5]]}')
    assert dataset.array("inputs").tolist() == [[1], [2]]
    assert dataset.array("targets").tolist() == [[1, 0], [0.5, 0.5]]
    assert dataset.content.distributions


def test_given_classes_keep_their_order_and_may_be_absent_from_labels(tmp_path: Path) -> None:
    dataset = ingest(tmp_path, npz_bytes(inputs=INPUTS, labels=["c", "a", "c"]), classes=("c", "b", "a"))
    assert dataset.content.classes == ("c", "b", "a")
    assert dataset.array("codes").tolist() == [0, 2, 0]


ONES = np.ones(3)


@pytest.mark.parametrize(
    ("arrays", "options", "field", "message"),
    [
        ({"inputs": INPUTS}, {}, "targets", "exactly one"),
        ({"inputs": INPUTS, "targets": ONES, "labels": [0, 1, 0]}, {}, "targets", "exactly one"),
        ({"x": INPUTS, "y": ONES}, {}, "file", "has the arrays x, y; expected inputs"),
        ({"inputs": INPUTS, "targets": np.ones(2)}, {}, "targets", "2 targets for 3 rows"),
        ({"inputs": INPUTS, "labels": ["a", "b"]}, {}, "labels", "2 labels for 3 rows"),
        ({"inputs": INPUTS, "labels": ["a", "a", "a"]}, {}, "labels", "only one class"),
        ({"inputs": INPUTS, "labels": [0.5, 1, 2]}, {}, "labels", "go into targets"),
        ({"inputs": INPUTS, "labels": [np.nan, 1, 2]}, {}, "labels", "whole numbers or text"),
        ({"inputs": INPUTS, "labels": INPUTS}, {}, "labels", "Expected one label per row"),
        ({"inputs": INPUTS, "labels": ["a", "b", "c"]}, {"classes": ("a", "b")}, "labels.2", "'c' is not one of"),
        (
            {"inputs": INPUTS, "labels": [0, 1, 7]},
            {"classes": (0, 1)},
            "labels.2",
            "'7' is not one of the classes 0, 1",
        ),
        ({"inputs": INPUTS, "labels": [0, 1, 0]}, {"classes": (0, 1, 0)}, "classes", "once"),
        ({"inputs": INPUTS, "targets": ONES}, {"classes": (0, 1)}, "classes", "go with labels"),
        (
            {"inputs": INPUTS, "targets": ONES},
            {"weight": "w"},
            "weight",
            "for arrays, send the weights as an array called weights",
        ),
        ({"inputs": INPUTS, "targets": ONES}, {"target": ("a",)}, "target", "arrays have none"),
        ({"inputs": INPUTS, "targets": ONES}, {"imputation": "mean"}, "imputation", "arrays have none"),
        ({"inputs": np.zeros((0, 2)), "targets": np.zeros(0)}, {}, "inputs", "no data"),
        ({"inputs": np.zeros((3, 0)), "targets": ONES}, {}, "inputs", "no data"),
        ({"inputs": np.zeros((3, 2, 2)), "targets": ONES}, {}, "inputs", "got 3; reshape"),
        ({"inputs": np.array(["a"]), "targets": np.ones(1)}, {}, "inputs", "Expected numbers"),
        ({"inputs": np.ones((1, 1), complex), "targets": np.ones(1)}, {}, "inputs", "complex128 are not accepted"),
        ({"inputs": [[0, 1], [2, np.nan]], "targets": np.ones(2)}, {}, "inputs.1.1", "not a number"),
        ({"inputs": [[0.0], [1.0]], "targets": [1, np.inf]}, {}, "targets.1.0", "infinite"),
        ({"inputs": INPUTS, "targets": ONES, "weights": np.ones(2)}, {}, "weights", "2 weights for 3 rows"),
        ({"inputs": INPUTS, "targets": ONES, "weights": np.ones((3, 2))}, {}, "weights", r"of shape \(3, 2\)"),
        ({"inputs": INPUTS, "targets": ONES, "weights": ["1", "1", "1"]}, {}, "weights", "Expected numbers"),
        ({"inputs": INPUTS, "targets": ONES, "weights": [1, 1, -0.5]}, {}, "weights.2", "is -0.5; .* at least 0"),
        ({"inputs": INPUTS, "targets": ONES, "weights": [1, np.nan, 1]}, {}, "weights.1", "is nan; .* finite"),
        ({"inputs": INPUTS, "targets": ONES, "weights": np.zeros(3)}, {}, "weights", "at least 1 row must count"),
        ({"inputs": INPUTS, "targets": ONES, "weights": np.full(3, 1e308)}, {}, "weights", "sum of the weights"),
        ({"inputs": np.ones((1, 1_000_001)), "targets": [1]}, {}, "inputs", "at most 1000000 are"),
    ],
)
def test_rejected_arrays(
    tmp_path: Path, arrays: dict[str, npt.ArrayLike], options: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as error:
        ingest(tmp_path, npz_bytes(**arrays), **options)
    assert error.value.problems[0][0] == field


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([("inputs", npy_bytes(INPUTS))], "got inputs"),
        ([("inputs", npy_bytes(INPUTS)), ("inputs", npy_bytes(INPUTS))], "got inputs and inputs"),
        ([("x.npy", npy_bytes(INPUTS))], "a field of its own"),
        ([("x.npz", npz_bytes(inputs=INPUTS)), ("y.csv", b"a,b\n1,2\n")], "must be the only file"),
        ([("inputs", npy_bytes(INPUTS)), ("targets", b"a,b\n1,2\n")], "got csv; tables go in the field file"),
        ([("photo.jpg", b"\xff\xd8")], r"'photo\.jpg' is of an unsupported format. Accepted: CSV"),
        ([("x.npz.gz", gzip_bytes(npz_bytes(inputs=INPUTS)))], "compressed as a whole"),
        ([("j.json", b'{"inputs": [1], "targets": [1]}'), ("y.csv", b"a,b\n1,2\n")], "Send arrays in one file"),
        ([("j.json", b'{"inputs": [[1], [2, 3]], "targets": [1, 2]}')], "all rows have the same"),
        ([("j.json", b'{"inputs": [["x"]], "targets": [1]}')], "Expected a list of numbers"),
        ([("j.json", b'{"inputs": [1], "labels": [[1]]}')], "Expected a list of whole numbers"),
    ],
)
def test_rejected_combinations_of_files(tmp_path: Path, files: list[tuple[str, bytes]], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ingest(tmp_path, *files, **({"target": ("a",)} if any("csv" in name for name, _ in files) else {}))


def _zip_with(member: bytes, stated_size: int | None = None) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inputs.npy", member)
        archive.writestr("targets.npy", npy_bytes(np.ones(1000)))
    content = file.getvalue()
    if stated_size is not None:  # in the local header and in the central directory
        content = content.replace(struct.pack("<I", len(member)), struct.pack("<I", stated_size))
    return content


def _flip_data_bit(content: bytes) -> bytes:
    """Flip one bit, which only the checksum reveals."""
    index = content.index(b"NUMPY") + 130
    return content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :]


def _uncompressed_npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, inputs=INPUTS, targets=ONES)
    return file.getvalue()


BOMB = npy_bytes_with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (16777216, 1)}", bytes(2**27))
EXABYTES = npy_bytes_with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 1000000)}")
NO_ROWS = npy_bytes_with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (0, 1000000000000000000)}")
PICKLED = npy_bytes_with_header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"cos\nsystem\n(S'true'\ntR.")
STRUCTURED = npy_bytes_with_header("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,)}", bytes(8))
SHORT = npy_bytes_with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000, 1)}", bytes(80))
BY_COLUMN = npy_bytes_with_header("{'descr': '<f8', 'fortran_order': True, 'shape': (1000, 2)}", bytes(80))
NEGATIVE = npy_bytes_with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 1)}", bytes(80))
WIDE_TEXT = npy_bytes_with_header("{'descr': '<U400000000', 'fortran_order': False, 'shape': (1,)}", bytes(80))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 and then nothing", "damaged"),
        (npz_bytes(inputs=INPUTS, targets=ONES)[:-40], "damaged"),
        (_flip_data_bit(_uncompressed_npz()), "damaged"),
        (_zip_with(b"not an array"), "not a .npy file"),
        (_zip_with(EXABYTES), "at most"),
        (_zip_with(NO_ROWS), "no data"),
        (_zip_with(PICKLED), "type object"),
        (_zip_with(STRUCTURED), "not accepted"),
        (_zip_with(SHORT), "announces 8000 bytes"),
        (_zip_with(SHORT, stated_size=10_000), "announces 8000 bytes|damaged"),
        (_zip_with(BY_COLUMN), "announces 16000 bytes, but only 80"),
        (_zip_with(NEGATIVE), "not a .npy file"),
        (_zip_with(WIDE_TEXT), "1600000000 bytes; from 1 to"),
        (_zip_with(BOMB), "at most"),
    ],
)
def test_rejected_npz(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ingest(tmp_path, content, largest=2**20)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx_bytes(IMAGES, dimensions=(2**32 - 1, 3, 4)), "bytes; at most|but only"),
        (idx_bytes(IMAGES, dimensions=(2, 2**31, 2**31)), "at most 1000000 are accepted"),
        (idx_bytes(IMAGES, dimensions=(0, 2**31)), "no data"),
        (idx_bytes(IMAGES)[:-1], "announces 24 bytes, but only 23"),
        (idx_bytes(IMAGES)[:6], "header ends early"),
        (gzip_bytes(idx_bytes(IMAGES))[:-9], "damaged, or its end is missing"),
        (b"\0\0\x08\x09" + bytes(100), "unsupported format"),
        (npy_bytes(INPUTS[:2])[:-1], "announces 32 bytes, but only 31"),
        (b"\x93NUMPY\x03\x00" + npy_bytes(INPUTS)[8:], "Version \\(3, 0\\)"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "header cannot be read"),
    ],
)
def test_rejected_npy_and_idx(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as error:
        ingest(tmp_path, ("inputs", content), ("targets", npy_bytes([1.0, 2.0])), largest=2**30)
    assert error.value.problems[0][0] == "inputs"
