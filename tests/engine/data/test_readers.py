"""Real files, good and hostile."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine.data.examples import Examples
from engine.data.readers import Reading, read_arrays, read_file
from engine.errors import InvalidInput

INPUTS = np.arange(6.0).reshape(3, 2)


def read(content: bytes, name: str, **reading: Any) -> Examples:
    return read_file(io.BytesIO(content), name, Reading(**reading))


def npz(**arrays: npt.ArrayLike) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **{name: np.asarray(array) for name, array in arrays.items()})
    return file.getvalue()


def npy(array: npt.ArrayLike) -> io.BytesIO:
    file = io.BytesIO()
    np.save(file, np.asarray(array), allow_pickle=False)
    return io.BytesIO(file.getvalue())


def npy_claiming(header: str, data: bytes = b"") -> bytes:
    """A .npy file whose header says what it likes."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def test_npz_with_targets() -> None:
    found = read(npz(inputs=INPUTS, targets=[1.0, 2.0, 3.0]), "data.npz")
    assert found.targets is not None
    assert (found.inputs == INPUTS).all()
    assert found.targets.tolist() == [[1], [2], [3]]


def test_npz_with_labels_in_column_order() -> None:
    found = read(npz(inputs=np.asfortranarray(INPUTS), labels=["b", "a", "b"]), "DATA.NPZ")
    assert (found.inputs == INPUTS).all()
    assert found.classes == ("a", "b")


def test_npy_files() -> None:
    found = read_arrays({"inputs": npy(INPUTS), "labels": npy([0, 1, 1])}, Reading())
    assert (found.inputs == INPUTS).all()
    assert found.classes == ("0", "1")
    assert found.weights is None


def test_weights_are_an_array_or_a_file() -> None:
    arrays: dict[str, npt.ArrayLike] = {"inputs": INPUTS, "targets": [1.0, 2.0, 3.0], "weights": [0.5, 0.0, 2.0]}
    for found in (
        read(npz(**arrays), "data.npz"),
        read_arrays({field: npy(array) for field, array in arrays.items()}, Reading()),
    ):
        assert found.targets is not None
        assert found.weights is not None
        assert found.targets.tolist() == [[1], [2], [3]]
        assert found.weights.tolist() == [0.5, 0, 2]


def test_a_column_of_weights_belongs_to_tables() -> None:
    with pytest.raises(InvalidInput, match="an array called weights") as refused:
        read(npz(inputs=INPUTS, targets=[1.0, 2.0, 3.0]), "data.npz", weight="w")
    assert refused.value.problems[0][0] == "weight"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv(delimiter: str) -> None:
    lines = ["\ufeffage,height,quality", "1,2.5,3", "", "4,-5e-1,6"]
    found = read("\r\n".join(lines).replace(",", delimiter).encode(), "wine.csv", target=("quality",))
    assert found.targets is not None
    assert found.inputs.tolist() == [[1, 2.5], [4, -0.5]]
    assert found.targets.tolist() == [[3], [6]]


def test_csv_with_several_targets_in_the_order_asked_for() -> None:
    found = read(b"a,b,c\n1,2,3\n4,5,6\n", "t.csv", target=("c", "a"))
    assert found.targets is not None
    assert found.inputs.tolist() == [[2], [5]]
    assert found.targets.tolist() == [[3, 1], [6, 4]]


def test_csv_with_labels() -> None:
    found = read(b'x,"species, latin"\n1,setosa\n2,"virginica"\n', "iris.csv", label="species, latin")
    assert found.classes == ("setosa", "virginica")
    assert read(b"x,digit\n1,10\n2,9\n", "d.csv", label="digit").classes == ("9", "10")


@pytest.mark.parametrize("reading", [{"target": ("b",)}, {"label": "b"}])
def test_csv_with_weights(reading: dict[str, Any]) -> None:
    found = read(b"w,a,b\n0.5,2,3\n0,5,6\n", "t.csv", weight="w", **reading)
    assert found.weights is not None
    assert found.inputs.tolist() == [[2], [5]]
    assert found.weights.tolist() == [0.5, 0]


@pytest.mark.parametrize(
    ("content", "reading", "words"),
    [
        (b"", {"target": ("a",)}, "no data"),
        (b"a,b\n", {"target": ("a",)}, "no data below"),
        (b"a,b\n1,2\n3\n", {"target": ("a",)}, "Line 3 has 1 cells, the header has 2"),
        (b"a,b\n1,x\n", {"target": ("a",)}, "Line 2, column 'b' holds 'x'"),
        (b"a,b\n1,\n", {"target": ("a",)}, "Line 2, column 'b' is empty"),
        (b"a,b\n1,nan\n2,3", {"target": ("a",)}, "not a number"),
        (b"a,b\n1,2\n", {}, "Name what to learn"),
        (b"a,b\n1,2\n", {"target": ("a",), "label": "b"}, "Name what to learn"),
        (b"a,b\n1,2\n", {"target": ("c",)}, "no column called 'c'. The columns are: a, b"),
        (b"a,a,b\n1,2,3\n", {"target": ("a",)}, "more than one column called 'a'"),
        (b"a\n1\n", {"target": ("a",)}, "No column is left"),
        (b"a,w\n1,1\n", {"target": ("a",), "weight": "w"}, "No column is left"),
        (b"a,b\n1,2\n", {"target": ("a",), "weight": "w"}, "no column called 'w'. The columns are: a, b"),
        (b"a,b\n1,2\n", {"label": "a", "weight": "a"}, "The column 'a' is to be learned"),
        (b"a,b,w\n1,2,x\n", {"target": ("a",), "weight": "w"}, r"column 'w' holds 'x'; a number is expected\."),
        (b"a,b,w\n1,2,-1\n", {"target": ("a",), "weight": "w"}, "The weight is -1"),
        (b"a,b\n1,\xff\n", {"target": ("a",)}, "not UTF-8"),
        (b"\x00\x01\x02,\n", {"target": ("a",)}, "not text"),
        (b"a,b\n1,2\x00\n", {"target": ("a",)}, "column 'b'"),
        (b'a,b\n1,"' + b"2" * 200_000 + b'"\n', {"target": ("a",)}, "not a CSV table"),
    ],
)
def test_csv_refused(content: bytes, reading: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        read(content, "t.csv", **reading)


def _zip_with(member: bytes, announced: int | None = None) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inputs.npy", member)
        archive.writestr("targets.npy", npy([1.0]).getvalue())
    content = file.getvalue()
    if announced is not None:  # in the local header and in the central directory
        content = content.replace(struct.pack("<I", len(member)), struct.pack("<I", announced))
    return content


BOMB = npy_claiming("{'descr': '<f8', 'fortran_order': False, 'shape': (16777216, 1)}", bytes(2**27))
EXABYTES = npy_claiming("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 1000000)}")
NO_ROWS = npy_claiming("{'descr': '<f8', 'fortran_order': False, 'shape': (0, 1000000000000000000)}")
PICKLED = npy_claiming("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"cos\nsystem\n(S'true'\ntR.")
STRUCTURED = npy_claiming("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,)}", bytes(8))
SHORT = npy_claiming("{'descr': '<f8', 'fortran_order': False, 'shape': (1000, 1)}", bytes(80))
NEGATIVE = npy_claiming("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 1)}", bytes(80))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not an .npz archive"),
        (b"a,b\n1,2\n", "not an .npz archive"),
        (b"PK\x03\x04 and then nothing", "damaged"),
        (npz(inputs=INPUTS, targets=[1.0, 2.0, 3.0])[:-40], "damaged"),
        (npz(x=INPUTS, y=[1.0]), "has the arrays x, y; expected inputs"),
        (npz(inputs=INPUTS), "exactly one"),
        (_zip_with(b"not an array"), "not a .npy file"),
        (_zip_with(EXABYTES), "at most"),
        (_zip_with(NO_ROWS), "no data"),
        (_zip_with(PICKLED), "type object"),
        (_zip_with(STRUCTURED), "not accepted"),
        (_zip_with(SHORT), "announces 8000 bytes"),
        (_zip_with(SHORT, announced=10_000), "announces 8000 bytes|damaged"),
        (_zip_with(NEGATIVE), "not a .npy file"),
        (_zip_with(BOMB), "at most"),
    ],
)
def test_npz_refused(content: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        read(content, "t.npz", largest=2**20)


def test_a_file_of_another_kind_is_told_what_would_do() -> None:
    with pytest.raises(InvalidInput, match=r"'photo\.jpg' is of no known kind. Accepted: \.npz"):
        read(b"\xff\xd8", "photo.jpg")


def test_reading_leaves_the_file_open_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n")
    with path.open("rb") as file:
        read_file(file, "t.csv", Reading(target=("a",)))
        assert file.seek(0) == 0
