"""Arrays of every format: what is stored of them, and the sentence for what cannot be."""

import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nabla.engine.data.ingest_options import Content, Source
from nabla.engine.errors import InvalidInput
from tests.unit.data.ingest.sample_files import gz, idx, npy, npy_claiming, npz, of, stored, zst

INPUTS = np.arange(6.0).reshape(3, 2)
IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def test_npz_with_targets(tmp_path: Path) -> None:
    found = stored(tmp_path, npz(inputs=INPUTS, targets=[1.0, 2.0, 3.0], weights=[0.5, 0.0, 2.0]))
    assert found.names == {"inputs", "targets", "weights"}
    np.testing.assert_array_equal(found.array("inputs"), INPUTS)
    assert found.array("targets").tolist() == [[1], [2], [3]]
    assert found.array("weights").tolist() == [0.5, 0, 2]
    size = sum(path.stat().st_size for path in found.folder.iterdir())
    assert found.content == Content(3, 2, 1, None, size, 1, 3, False, 5, True)
    assert found.told[-1].rows == 3


def test_files_in_fields_of_their_own(tmp_path: Path) -> None:
    found = stored(tmp_path, ("inputs", npy(INPUTS)), ("labels", npy([0, 1, 1])))
    assert found.names == {"inputs", "codes"}
    assert found.array("codes").tolist() == [0, 1, 1]
    assert (found.content.classes, found.content.targets, found.content.distributions) == (("0", "1"), 2, True)


def test_idx(tmp_path: Path) -> None:
    found = stored(tmp_path, ("inputs", gz(idx(IMAGES))), ("labels", idx(np.array([7, 3], np.uint8))))
    assert found.array("inputs").tolist() == IMAGES.reshape(2, 12).tolist()
    assert found.array("inputs").dtype == np.uint8
    assert found.content.classes == ("3", "7")


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "f4", "f8"])
def test_idx_of_other_numbers(tmp_path: Path, dtype: str) -> None:
    array = np.array([[1, -2], [3, 4]], dtype)
    found = stored(tmp_path, ("inputs", idx(array)), ("targets", npy([1.0, 2.0])))
    assert found.array("inputs").dtype == np.dtype(dtype)
    assert (found.array("inputs") == array).all()


@pytest.mark.parametrize("pack", [bytes, gz, zst])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["?", "u1", "<u2", "i8", "<f2", "<f4", ">f4", ">i2", "f8"])
def test_numbers_keep_their_type(tmp_path: Path, dtype: str, order: Any, pack: Any) -> None:
    array = np.asarray(np.arange(20).reshape(5, 4), dtype, order=order)
    found = stored(tmp_path, ("inputs", pack(npy(array))), ("targets", npy(array)))
    for name in ("inputs", "targets"):
        kept = found.array(name)
        assert kept.dtype == (np.float32 if dtype == "<f2" else np.dtype(dtype).newbyteorder("="))
        assert kept.flags.c_contiguous
        np.testing.assert_array_equal(kept, array)
    assert not [*found.folder.glob(".*")]


@pytest.mark.parametrize("order", ["C", "F"])
def test_more_than_a_block(tmp_path: Path, order: Any) -> None:
    array = np.asarray(np.random.default_rng(0).random((150_000, 10)), order=order)
    labels = np.arange(150_000) % 7
    found = stored(tmp_path, npz(inputs=array, labels=labels))
    np.testing.assert_array_equal(found.array("inputs"), array)
    np.testing.assert_array_equal(found.array("codes"), labels)
    assert found.content.magnitude == max(1, array.max())
    assert len(found.told) > 1


def test_pieces_are_read_as_one_file(tmp_path: Path) -> None:
    content, paths = npz(inputs=INPUTS, labels=["b", "a", "b"]), []
    for number, start in enumerate(range(0, len(content), 50)):
        paths.append(tmp_path / f"piece-{number}")
        paths[-1].write_bytes(content[start : start + 50])
    found = of(tmp_path, [Source(tuple(paths))])
    np.testing.assert_array_equal(found.array("inputs"), INPUTS)
    assert found.content.classes == ("a", "b")


@pytest.mark.parametrize(
    ("labels", "classes", "codes"),
    [
        (["no", "yes", "no"], ("no", "yes"), [0, 1, 0]),
        ([10, 2, 10], ("2", "10"), [1, 0, 1]),
        ([True, False, True], ("false", "true"), [1, 0, 1]),
        (np.array([2.0, 0.0, 1.0]), ("0", "1", "2"), [2, 0, 1]),
        (np.array([b"b", b"a", b"b"]), ("a", "b"), [1, 0, 1]),
        (np.array([[3], [1], [3]], ">u2"), ("1", "3"), [1, 0, 1]),
    ],
)
def test_labels(tmp_path: Path, labels: npt.ArrayLike, classes: tuple[str, ...], codes: list[int]) -> None:
    found = stored(tmp_path, npz(inputs=INPUTS, labels=labels))
    assert found.content.classes == classes
    assert found.array("codes").tolist() == codes


@pytest.mark.parametrize(
    ("labels", "classes", "codes"),
    [
        (["no", "yes", "no"], ("no", "yes"), [0, 1, 0]),
        ([10, 2, 10], ("2", "10"), [1, 0, 1]),
        ([True, False, True], ("false", "true"), [1, 0, 1]),
        ([1, "x", True], ("1", "true", "x"), [0, 2, 1]),
    ],
)
def test_json(tmp_path: Path, labels: list[Any], classes: tuple[str, ...], codes: list[int]) -> None:
    body = {"inputs": INPUTS.tolist(), "labels": labels, "weights": [1, 2, 3]}
    found = stored(tmp_path, json.dumps(body, indent=1).encode())
    np.testing.assert_array_equal(found.array("inputs"), INPUTS)
    assert found.content.classes == classes
    assert found.array("codes").tolist() == codes
    assert found.array("weights").tolist() == [1, 2, 3]


def test_json_with_targets(tmp_path: Path) -> None:
    found = stored(tmp_path, b'{"inputs": [1, 2], "targets": [[1, 0], [0.5, 0.5]]}')
    assert found.array("inputs").tolist() == [[1], [2]]
    assert found.array("targets").tolist() == [[1, 0], [0.5, 0.5]]
    assert found.content.distributions


def test_given_classes_keep_their_order_and_need_not_all_occur(tmp_path: Path) -> None:
    found = stored(tmp_path, npz(inputs=INPUTS, labels=["c", "a", "c"]), classes=("c", "b", "a"))
    assert found.content.classes == ("c", "b", "a")
    assert found.array("codes").tolist() == [0, 2, 0]


ONES = np.ones(3)


@pytest.mark.parametrize(
    ("arrays", "reading", "field", "words"),
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
        ({"inputs": INPUTS, "targets": ONES}, {"weight": "w"}, "weight", "an array called weights"),
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
def test_arrays_refused(
    tmp_path: Path, arrays: dict[str, npt.ArrayLike], reading: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        stored(tmp_path, npz(**arrays), **reading)
    assert refused.value.problems[0][0] == field


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([("inputs", npy(INPUTS))], "got inputs"),
        ([("inputs", npy(INPUTS)), ("inputs", npy(INPUTS))], "got inputs and inputs"),
        ([("x.npy", npy(INPUTS))], "a field of its own"),
        ([("x.npz", npz(inputs=INPUTS)), ("y.csv", b"a,b\n1,2\n")], "comes alone"),
        ([("inputs", npy(INPUTS)), ("targets", b"a,b\n1,2\n")], "got csv; tables go in the field file"),
        ([("photo.jpg", b"\xff\xd8")], r"'photo\.jpg' is of no known kind. Accepted: CSV"),
        ([("x.npz.gz", gz(npz(inputs=INPUTS)))], "packed once more"),
        ([("j.json", b'{"inputs": [1], "targets": [1]}'), ("y.csv", b"a,b\n1,2\n")], "Arrays come in one file"),
        ([("j.json", b'{"inputs": [[1], [2, 3]], "targets": [1, 2]}')], "all rows have the same"),
        ([("j.json", b'{"inputs": [["x"]], "targets": [1]}')], "Expected a list of numbers"),
        ([("j.json", b'{"inputs": [1], "labels": [[1]]}')], "Expected a list of whole numbers"),
    ],
)
def test_files_that_do_not_go_together(tmp_path: Path, files: list[tuple[str, bytes]], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        stored(tmp_path, *files, **({"target": ("a",)} if any("csv" in name for name, _ in files) else {}))


def _zip_with(member: bytes, announced: int | None = None) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inputs.npy", member)
        archive.writestr("targets.npy", npy(np.ones(1000)))
    content = file.getvalue()
    if announced is not None:  # in the local header and in the central directory
        content = content.replace(struct.pack("<I", len(member)), struct.pack("<I", announced))
    return content


def _changed(content: bytes) -> bytes:
    """One bit of the data is another, which only the checksum can tell."""
    place = content.index(b"NUMPY") + 130
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def _unpacked_npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, inputs=INPUTS, targets=ONES)
    return file.getvalue()


BOMB = npy_claiming("{'descr': '<f8', 'fortran_order': False, 'shape': (16777216, 1)}", bytes(2**27))
EXABYTES = npy_claiming("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 1000000)}")
NO_ROWS = npy_claiming("{'descr': '<f8', 'fortran_order': False, 'shape': (0, 1000000000000000000)}")
PICKLED = npy_claiming("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"cos\nsystem\n(S'true'\ntR.")
STRUCTURED = npy_claiming("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,)}", bytes(8))
SHORT = npy_claiming("{'descr': '<f8', 'fortran_order': False, 'shape': (1000, 1)}", bytes(80))
BY_COLUMN = npy_claiming("{'descr': '<f8', 'fortran_order': True, 'shape': (1000, 2)}", bytes(80))
NEGATIVE = npy_claiming("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 1)}", bytes(80))
WIDE_TEXT = npy_claiming("{'descr': '<U400000000', 'fortran_order': False, 'shape': (1,)}", bytes(80))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04 and then nothing", "damaged"),
        (npz(inputs=INPUTS, targets=ONES)[:-40], "damaged"),
        (_changed(_unpacked_npz()), "damaged"),
        (_zip_with(b"not an array"), "not a .npy file"),
        (_zip_with(EXABYTES), "at most"),
        (_zip_with(NO_ROWS), "no data"),
        (_zip_with(PICKLED), "type object"),
        (_zip_with(STRUCTURED), "not accepted"),
        (_zip_with(SHORT), "announces 8000 bytes"),
        (_zip_with(SHORT, announced=10_000), "announces 8000 bytes|damaged"),
        (_zip_with(BY_COLUMN), "announces 16000 bytes but only 80"),
        (_zip_with(NEGATIVE), "not a .npy file"),
        (_zip_with(WIDE_TEXT), "1600000000 bytes; from 1 to"),
        (_zip_with(BOMB), "at most"),
    ],
)
def test_npz_refused(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        stored(tmp_path, content, largest=2**20)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (idx(IMAGES, claiming=(2**32 - 1, 3, 4)), "bytes; at most|but only"),
        (idx(IMAGES, claiming=(2, 2**31, 2**31)), "at most 1000000 are accepted"),
        (idx(IMAGES, claiming=(0, 2**31)), "no data"),
        (idx(IMAGES)[:-1], "announces 24 bytes but only 23"),
        (idx(IMAGES)[:6], "header ends early"),
        (gz(idx(IMAGES))[:-9], "damaged, or its end is missing"),
        (b"\0\0\x08\x09" + bytes(100), "no known kind"),
        (npy(INPUTS[:2])[:-1], "announces 32 bytes but only 31"),
        (b"\x93NUMPY\x03\x00" + npy(INPUTS)[8:], "Version \\(3, 0\\)"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "header cannot be read"),
    ],
)
def test_single_arrays_refused(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        stored(tmp_path, ("inputs", content), ("targets", npy([1.0, 2.0])), largest=2**30)
    assert refused.value.problems[0][0] == "inputs"
