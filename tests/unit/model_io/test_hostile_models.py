"""Hostile model files are rejected with a message by a process with limited memory."""

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
from nabla.engine.model_io.bundle import ImportHints
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from tests.support.sandbox import Sandbox
from tests.unit.data.ingest.sample_files import npy_bytes, npy_bytes_with_header
from tests.unit.model_io.sample_networks import export_bundle, make_bundle, make_network

MiB = 2**20


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    started = Sandbox()
    yield started
    started.close()


def safetensors_bytes(header: Any, data: bytes = bytes(64), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor_header(shape: Any, offsets: Any = (0, 64), dtype: Any = "F32") -> bytes:
    return safetensors_bytes({"0.weight": {"dtype": dtype, "shape": shape, "data_offsets": offsets}})


def zip_bytes(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return file.getvalue()


def npy_header(shape: str, descr: str = "'<f8'") -> bytes:
    return npy_bytes_with_header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}")


def npz_with_objects() -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=True, coefs_0=np.array([[print]], object), intercepts_0=np.ones(1))
    return file.getvalue()


def encrypted_npz() -> bytes:
    """Return an archive whose flags state that it is encrypted."""
    content = zip_bytes({"coefs_0.npy": npy_bytes(np.ones((2, 2)))}, zipfile.ZIP_STORED)
    content = content.replace(b"PK\x03\x04\x14\x00\x00\x00", b"PK\x03\x04\x14\x00\x01\x00", 1)
    return content.replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00", 1)


def length_delimited(field: int, content: bytes) -> bytes:
    """Return a field of a Protocol Buffers message."""
    size, varint = len(content), b""
    while size > 127:
        varint, size = varint + bytes((size & 127 | 128,)), size >> 7
    return bytes((field << 3 | 2,)) + varint + bytes((size,)) + content


def nested_graphs(depth: int) -> bytes:
    """Return a graph in an attribute of a node of a graph, and so on."""
    graph = b""
    for _ in range(depth):
        graph = length_delimited(1, length_delimited(5, length_delimited(6, graph)))
    return b"\x08\x09" + length_delimited(7, graph)


MANY = {f"a{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(20_001)}
BUNDLE = make_bundle(make_network(3, "relu", "identity"))
METADATA = BUNDLE.metadata
WIDE = {**json.loads(METADATA["architecture"]), "inputs": 2**40}

HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty file": (lambda: b"", "The file is empty"),
    "one byte": (lambda: b"\0", "neither safetensors nor npz"),
    "text": (lambda: b"hello, world\n" * 100, "neither safetensors nor npz"),
    "zeros": (lambda: bytes(MiB), "neither safetensors nor npz"),
    "pickle": (lambda: b"\x80\x04\x95" + b"." * 20, "The file is a pickle"),
    "PyTorch file": (lambda: zip_bytes({"net/data.pkl": b"x", "net/data/0": bytes(99)}), "The file is a pickle"),
    "header of exabytes": (lambda: safetensors_bytes({}, length=2**63), "ends before its header does"),
    "header beyond the file": (lambda: safetensors_bytes({}, b"", length=100), "ends before its header does"),
    "header beyond the limit": (lambda: safetensors_bytes(b"{" + b" " * 100_000_000), "at most 100000000"),
    "header that is not JSON": (lambda: safetensors_bytes(b"{'a': 1}"), "header is not a JSON object"),
    "header in another encoding": (
        lambda: safetensors_bytes(b'{"\xff\xfe": 1}'),
        "header is not a JSON object|expected",
    ),
    "deeply nested header": (lambda: safetensors_bytes(b'{"a":' + b"[" * 10**6), "header is not a JSON object"),
    "deeply nested header entry": (
        lambda: safetensors_bytes(b'{"a":' + b"[" * 900 + b"]" * 900 + b"}"),
        "cannot be read; expected dtype",
    ),
    "no arrays": (lambda: safetensors_bytes({}), r"has the tensors \(none\)"),
    "header of 1.5 million tensors": (
        lambda: safetensors_bytes(
            b"{"
            + b",".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % n for n in range(1_500_000))
            + b"}"
        ),
        "has 1500000 tensors; at most 20000|more memory than is available",
    ),
    "too many tensors": (lambda: safetensors_bytes(MANY), "has 20001 tensors; at most 20000"),
    "metadata of numbers": (lambda: safetensors_bytes({"__metadata__": {"architecture": 1}}), "__metadata__"),
    "metadata that are a list": (lambda: safetensors_bytes({"__metadata__": []}), "__metadata__"),
    "data beyond the file": (lambda: tensor_header([16], (64, 128)), "reversed or beyond the end of the file"),
    "data before the file": (lambda: tensor_header([16], (-64, 0)), "reversed or beyond the end of the file"),
    "reversed offsets": (lambda: tensor_header([16], (64, 0)), "reversed or beyond the end of the file"),
    "tensor of exabytes": (
        lambda: tensor_header([2**40, 2**40]),
        "1208925819614629174706176 elements of F32, but its data_offsets span 64 bytes",
    ),
    "dimension beyond all integers": (lambda: tensor_header([10**30]), "a dimension below 0 or above"),
    "negative dimension": (lambda: tensor_header([-4, -4]), "a dimension below 0"),
    "dimensions that are strings": (lambda: tensor_header(["16"]), "expected dtype, shape and data_offsets"),
    "unknown dtype": (lambda: tensor_header([4, 4], (0, 64), "F4_E2M1" * 99), "accepted: float32 and float64"),
    "network beyond all limits": (
        lambda: safetensors.numpy.save({"a": np.ones(1)}, {**METADATA, "architecture": json.dumps(WIDE)}),
        "parameters; at most 10000000 are accepted",
    ),
    "half of a surrogate pair": (
        lambda: safetensors.numpy.save(BUNDLE.tensors, {**METADATA, "classes": '["a", "b", "\\ud800"]'}),
        "not a JSON array of texts",
    ),
    "objects": (npz_with_objects, "coefs_0 is object; accepted: float32 and float64"),
    "complex numbers": (
        lambda: zip_bytes(
            {"coefs_0.npy": npy_bytes(np.ones((1, 1), complex)), "intercepts_0.npy": npy_bytes(np.ones(1))}
        ),
        "coefs_0 is complex128; accepted",
    ),
    "records": (
        lambda: zip_bytes(
            {"coefs_0.npy": npy_header("(1, 1)", "[('a', '<f8')]"), "intercepts_0.npy": npy_bytes(np.ones(1))}
        ),
        "accepted: float32 and float64",
    ),
    "array of exabytes": (
        lambda: zip_bytes(
            {"coefs_0.npy": npy_header(f"({2**40}, {2**40})"), "intercepts_0.npy": npy_bytes(np.ones(2))}
        ),
        "parameters; at most 10000000 are accepted",
    ),
    "array with a negative dimension": (
        lambda: zip_bytes({"coefs_0.npy": npy_header("(-1, -5)")}),
        "dimension below 0",
    ),
    "truncated array": (
        lambda: zip_bytes(
            {
                "coefs_0.npy": npy_header("(1000, 1000)"),
                "intercepts_0.npy": npy_bytes(np.ones(1000)),
                "coefs_1.npy": npy_bytes(np.ones((1000, 1))),
                "intercepts_1.npy": npy_bytes(np.ones(1)),
            }
        ),
        "has 1000000 elements of float64, but 8000000 bytes of them are missing",
    ),
    "metadata of exabytes": (
        lambda: zip_bytes({"architecture.npy": npy_header(f"({2**60},)", "'|u1'")}),
        "a dimension below 0 or above",
    ),
    "metadata that are not text": (
        lambda: zip_bytes({"architecture.npy": npy_bytes(np.full(9, 255, np.uint8))}),
        "not UTF-8 text",
    ),
    "metadata of float64": (
        lambda: zip_bytes({"architecture.npy": npy_bytes(np.ones(9))}),
        "expected UTF-8 text as uint8",
    ),
    "archive without arrays": (lambda: zip_bytes({"coefs_0.npy": b"hello"}), "not a .npy file"),
    "header that is a program": (
        lambda: zip_bytes({"coefs_0.npy": npy_bytes_with_header("__import__('os').abort()")}),
        "not a .npy file",
    ),
    "archive of 30,000 arrays": (
        lambda: zip_bytes({f"{number}.npy": b"" for number in range(30_000)}, zipfile.ZIP_STORED),
        "has 30000 tensors; at most 20000",
    ),
    "truncated archive": (lambda: zip_bytes({"coefs_0.npy": npy_bytes(np.ones((9, 9)))})[:-9], "archive is damaged"),
    "encrypted archive": (encrypted_npz, "archive is damaged"),
    "archive compressed with LZMA": (
        lambda: zip_bytes({"coefs_0.npy": npy_bytes(np.ones((2, 2)))}, zipfile.ZIP_LZMA),
        "archive is damaged, or compressed with",
    ),
    "deeply nested graphs": (lambda: nested_graphs(3000), "neither safetensors nor npz"),
    "length that never ends": (lambda: b"\x08\x09\x3a" + b"\xff" * 9, "neither safetensors nor npz"),
    "graph longer than the file": (lambda: b"\x08\x09\x3a\xff\xff\xff\x7f", "neither safetensors nor npz"),
    "empty graph": (lambda: b"\x08\x09" + length_delimited(7, b""), "neither safetensors nor npz"),
    "empty node": (
        lambda: b"\x08\x09" + length_delimited(7, length_delimited(1, b"")),
        "0 inputs and 0 outputs",
    ),
    "forty million nodes": (
        lambda: b"\x08\x09" + length_delimited(7, b"\x0a\x00" * 40_000_000),
        "more memory than is available",
    ),
    "unreadable architecture": (
        lambda: onnx.ModelProto(
            graph=onnx.GraphProto(node=[onnx.NodeProto()]),
            metadata_props=[onnx.StringStringEntryProto(key="architecture", value="hello")],
        ).SerializeToString(),
        "entry architecture is invalid",
    ),
}


# Hints for the files that would be rejected for want of them.
ACTIVATIONS: dict[str, tuple[ActivationName, ...]] = {
    **dict.fromkeys(("unknown dtype", "objects", "complex numbers", "records", "array of exabytes"), ("relu",)),
    "truncated array": ("relu", "identity"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_model_is_rejected(sandbox: Sandbox, tmp_path: Path, case: str) -> None:
    make, message = HOSTILE[case]
    path = tmp_path / "network"
    path.write_bytes(make())
    outcome = sandbox.import_model(path, ImportHints(activations=ACTIVATIONS.get(case)))
    assert outcome.kind in ("refused", "too large"), outcome
    assert re.search(message, outcome.message), outcome.message


def test_too_large_onnx_file_is_rejected_unread(sandbox: Sandbox, tmp_path: Path) -> None:
    """The file is sparse."""
    path = tmp_path / "network"
    with path.open("wb") as file:
        file.write(b"\x08\x09")
        file.truncate(2**42)
    outcome = sandbox.import_model(path, ImportHints())
    assert (outcome.kind, outcome.message) == (
        "refused",
        f"The file has {2**42} bytes; an ONNX file has less than 2 GiB.",
    )
    assert outcome.memory_growth < 10 * MiB


def test_zip_bomb_is_read_only_as_far_as_its_header_states(sandbox: Sandbox, tmp_path: Path) -> None:
    """A gigabyte follows a small array."""
    path = tmp_path / "network"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        with packed.open("coefs_0.npy", "w", force_zip64=True) as file:
            file.write(npy_bytes(np.ones((2, 2))))
            for _ in range(256):
                file.write(bytes(4 * MiB))
        packed.writestr("intercepts_0.npy", npy_bytes(np.ones(2)))
    outcome = sandbox.import_model(path, ImportHints(activations=("relu",)))
    assert outcome.kind in ("stored", "refused"), outcome
    assert outcome.memory_growth < 20 * MiB


def test_import_needs_little_memory_beyond_the_network(sandbox: Sandbox, tmp_path: Path) -> None:
    """The pages of the mapped file count as resident, but the system can reclaim them."""
    large = make_bundle(Network(Architecture(40_000, (Layer(240, "relu"), Layer(3, "identity")), "quadratic")))
    network_bytes = large.network.parameters.nbytes
    path = export_bundle(large, "safetensors", tmp_path)
    outcome = sandbox.import_model(path, ImportHints())
    assert outcome.kind == "stored", outcome
    assert outcome.memory_growth < 2 * network_bytes + 20 * MiB
