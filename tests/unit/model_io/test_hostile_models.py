"""Files that were made to do harm: each gets a sentence, in a process whose memory is bounded."""

import io
import json
import re
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.numpy

from nabla.engine.literals import ActivationName
from nabla.engine.model_io.bundle import Hints
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from tests.support.task_process import ReadingChild
from tests.unit.data.ingest.sample_files import npy, npy_claiming
from tests.unit.model_io.sample_networks import network, portable, written

MiB = 2**20


@pytest.fixture(scope="module")
def child() -> Iterator[ReadingChild]:
    started = ReadingChild()
    yield started
    started.close()


def tensors(header: Any, numbers: bytes = bytes(64), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + numbers


def claiming(shape: Any, offsets: Any = (0, 64), dtype: Any = "F32") -> bytes:
    return tensors({"0.weight": {"dtype": dtype, "shape": shape, "data_offsets": offsets}})


def archive(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return file.getvalue()


def shaped(shape: str, descr: str = "'<f8'") -> bytes:
    return npy_claiming(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}")


def with_objects() -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=True, coefs_0=np.array([[print]], object), intercepts_0=np.ones(1))
    return file.getvalue()


def encrypted() -> bytes:
    """The flag says so; the rest does not matter."""
    content = archive({"coefs_0.npy": npy(np.ones((2, 2)))}, zipfile.ZIP_STORED)
    content = content.replace(b"PK\x03\x04\x14\x00\x00\x00", b"PK\x03\x04\x14\x00\x01\x00", 1)
    return content.replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00", 1)


def length_delimited(field: int, content: bytes) -> bytes:
    """A field of a message of Protocol Buffers."""
    size, varint = len(content), b""
    while size > 127:
        varint, size = varint + bytes((size & 127 | 128,)), size >> 7
    return bytes((field << 3 | 2,)) + varint + bytes((size,)) + content


def nested_graphs(depth: int) -> bytes:
    """A node whose attribute is a graph with a node whose attribute …"""
    graph = b""
    for _ in range(depth):
        graph = length_delimited(1, length_delimited(5, length_delimited(6, graph)))
    return b"\x08\x09" + length_delimited(7, graph)


MANY = {f"a{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(20_001)}
WHOLE = portable(network(3, "relu", "identity"))
WORDS = WHOLE.words
WIDE = {**json.loads(WORDS["architecture"]), "inputs": 2**40}

HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "The file is empty"),
    "one byte": (lambda: b"\0", "neither safetensors nor npz"),
    "text": (lambda: b"hello, world\n" * 100, "neither safetensors nor npz"),
    "zeros": (lambda: bytes(MiB), "neither safetensors nor npz"),
    "a pickle": (lambda: b"\x80\x04\x95" + b"." * 20, "This is a pickle"),
    "a file of PyTorch": (lambda: archive({"net/data.pkl": b"x", "net/data/0": bytes(99)}), "This is a pickle"),
    "a header of exabytes": (lambda: tensors({}, length=2**63), "ends before its header does"),
    "a header beyond the file": (lambda: tensors({}, b"", length=100), "ends before its header does"),
    "a header that never ends": (lambda: tensors(b"{" + b" " * 100_000_000), "at most 100000000"),
    "a header that is no JSON": (lambda: tensors(b"{'a': 1}"), "header is no JSON object"),
    "a header of another encoding": (lambda: tensors(b'{"\xff\xfe": 1}'), "header is no JSON object|expected"),
    "a header without bottom": (lambda: tensors(b'{"a":' + b"[" * 10**6), "header is no JSON object"),
    "a nested entry": (lambda: tensors(b'{"a":' + b"[" * 900 + b"]" * 900 + b"}"), "cannot be read"),
    "no arrays": (lambda: tensors({}), r"has the arrays \(none\)"),
    "more arrays than any network has": (lambda: tensors(MANY), "has 20001 arrays; at most 20000"),
    "metadata that are numbers": (lambda: tensors({"__metadata__": {"architecture": 1}}), "__metadata__"),
    "metadata that are a list": (lambda: tensors({"__metadata__": []}), "__metadata__"),
    "numbers beyond the file": (lambda: claiming([16], (64, 128)), "where the file has nothing"),
    "numbers before the file": (lambda: claiming([16], (-64, 0)), "where the file has nothing"),
    "numbers back to front": (lambda: claiming([16], (64, 0)), "where the file has nothing"),
    "exabytes": (lambda: claiming([2**40, 2**40]), "1208925819614629174706176 numbers of F32 in 64 bytes"),
    "sizes beyond all numbers": (lambda: claiming([10**30]), "a dimension below 0 or above"),
    "a size below 0": (lambda: claiming([-4, -4]), "a dimension below 0"),
    "sizes that are texts": (lambda: claiming(["16"]), "dtype, shape and data_offsets are expected"),
    "an unknown type": (lambda: claiming([4, 4], (0, 64), "F4_E2M1" * 99), "accepted: float32 and float64"),
    "a network beyond all limits": (
        lambda: safetensors.numpy.save({"a": np.ones(1)}, {**WORDS, "architecture": json.dumps(WIDE)}),
        "parameters; this service takes at most 10000000",
    ),
    "half of a surrogate pair": (
        lambda: safetensors.numpy.save(WHOLE.arrays, {**WORDS, "classes": '["a", "b", "\\ud800"]'}),
        "array of names",
    ),
    "objects": (with_objects, "coefs_0 is object; accepted: float32 and float64"),
    "complex numbers": (
        lambda: archive({"coefs_0.npy": npy(np.ones((1, 1), complex)), "intercepts_0.npy": npy(np.ones(1))}),
        "coefs_0 is complex128; accepted",
    ),
    "records": (
        lambda: archive({"coefs_0.npy": shaped("(1, 1)", "[('a', '<f8')]"), "intercepts_0.npy": npy(np.ones(1))}),
        "accepted: float32 and float64",
    ),
    "an array of exabytes": (
        lambda: archive({"coefs_0.npy": shaped(f"({2**40}, {2**40})"), "intercepts_0.npy": npy(np.ones(2))}),
        "parameters; this service takes at most 10000000",
    ),
    "an array below 0": (lambda: archive({"coefs_0.npy": shaped("(-1, -5)")}), "dimension below 0"),
    "less than it says": (
        lambda: archive(
            {
                "coefs_0.npy": shaped("(1000, 1000)"),
                "intercepts_0.npy": npy(np.ones(1000)),
                "coefs_1.npy": npy(np.ones((1000, 1))),
                "intercepts_1.npy": npy(np.ones(1)),
            }
        ),
        "said to have 1000000 numbers of float64; 8000000 bytes of them are not there",
    ),
    "a word of exabytes": (
        lambda: archive({"architecture.npy": shaped(f"({2**60},)", "'|u1'")}),
        "a dimension below 0 or above",
    ),
    "a word that is no text": (lambda: archive({"architecture.npy": npy(np.full(9, 255, np.uint8))}), "no UTF-8 text"),
    "a word of numbers": (lambda: archive({"architecture.npy": npy(np.ones(9))}), "bytes of a JSON text"),
    "no array in an archive": (lambda: archive({"coefs_0.npy": b"hello"}), "not a .npy file"),
    "a header that is a program": (
        lambda: archive({"coefs_0.npy": npy_claiming("__import__('os').abort()")}),
        "not a .npy file",
    ),
    "an archive of 30,000": (
        lambda: archive({f"{number}.npy": b"" for number in range(30_000)}, zipfile.ZIP_STORED),
        "has 30000 arrays; at most 20000",
    ),
    "an archive that is cut": (lambda: archive({"coefs_0.npy": npy(np.ones((9, 9)))})[:-9], "archive is damaged"),
    "an archive with a password": (encrypted, "archive is damaged"),
    "an archive packed otherwise": (
        lambda: archive({"coefs_0.npy": npy(np.ones((2, 2)))}, zipfile.ZIP_LZMA),
        "archive is damaged, or packed",
    ),
    "graphs within graphs": (lambda: nested_graphs(3000), "neither safetensors nor npz"),
    "a field that goes on and on": (lambda: b"\x08\x09\x3a" + b"\xff" * 9, "neither safetensors nor npz"),
    "a graph longer than the file": (lambda: b"\x08\x09\x3a\xff\xff\xff\x7f", "neither safetensors nor npz"),
    "a graph of nothing": (lambda: b"\x08\x09" + length_delimited(7, b""), "neither safetensors nor npz"),
    "a node of nothing": (
        lambda: b"\x08\x09" + length_delimited(7, length_delimited(1, b"")),
        "0 inputs and 0 outputs",
    ),
    "forty million nodes": (
        lambda: b"\x08\x09" + length_delimited(7, b"\x0a\x00" * 40_000_000),
        "more memory than there is",
    ),
    "words that are not ours": (
        lambda: onnx.ModelProto(
            graph=onnx.GraphProto(node=[onnx.NodeProto()]),
            metadata_props=[onnx.StringStringEntryProto(key="architecture", value="hello")],
        ).SerializeToString(),
        "under architecture is not accepted",
    ),
}


# Of those that would be refused without, because they say nothing of them.
ACTIVATIONS: dict[str, tuple[ActivationName, ...]] = {
    **dict.fromkeys(("an unknown type", "objects", "complex numbers", "records", "an array of exabytes"), ("relu",)),
    "less than it says": ("relu", "identity"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_gets_a_sentence(child: ReadingChild, tmp_path: Path, what: str) -> None:
    make, sentence = HOSTILE[what]
    path = tmp_path / "network"
    path.write_bytes(make())
    outcome = child.read_network(path, Hints(activations=ACTIVATIONS.get(what)))
    assert outcome.kind in ("refused", "too large"), outcome
    assert re.search(sentence, outcome.sentence), outcome.sentence


def test_a_file_beyond_what_the_format_holds(child: ReadingChild, tmp_path: Path) -> None:
    """It is said before any of it is read: most of it is a hole."""
    path = tmp_path / "network"
    with path.open("wb") as file:
        file.write(b"\x08\x09")
        file.truncate(2**42)
    outcome = child.read_network(path, Hints())
    assert (outcome.kind, outcome.sentence) == (
        "refused",
        f"The file has {2**42} bytes; an ONNX file has less than 2 GiB.",
    )
    assert outcome.bytes_more < 10 * MiB


def test_a_bomb_in_an_archive_takes_no_more_than_it_says(child: ReadingChild, tmp_path: Path) -> None:
    """A gigabyte behind an array of few numbers."""
    path = tmp_path / "network"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        with packed.open("coefs_0.npy", "w", force_zip64=True) as file:
            file.write(npy(np.ones((2, 2))))
            for _ in range(256):
                file.write(bytes(4 * MiB))
        packed.writestr("intercepts_0.npy", npy(np.ones(2)))
    outcome = child.read_network(path, Hints(activations=("relu",)))
    assert outcome.kind in ("stored", "refused"), outcome
    assert outcome.bytes_more < 20 * MiB


def test_a_network_takes_little_memory_besides_itself(child: ReadingChild, tmp_path: Path) -> None:
    """The pages of a file that is mapped count as resident; they are the file's, and can be let go of."""
    large = portable(Network(Architecture(40_000, (Layer(240, "relu"), Layer(3, "identity")), "quadratic")))
    bytes_of_it = large.network.parameters.nbytes
    path = written(large, "safetensors", tmp_path)
    outcome = child.read_network(path, Hints())
    assert outcome.kind == "stored", outcome
    assert outcome.bytes_more < 2 * bytes_of_it + 20 * MiB
