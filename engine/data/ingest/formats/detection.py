"""What a file is: by its first bytes, else by what its sender says, else by its name."""

from pathlib import PurePath

import msgspec

from nabla.engine.data.ingest.formats import arrow, npy
from nabla.engine.data.ingest_options import Source
from nabla.engine.errors import InvalidInput
from nabla.engine.literals import DataFormat

START = 4096

_MAGIC: dict[bytes, DataFormat] = {
    b"PAR1": "parquet",
    arrow.FILE_MAGIC: "arrow",
    b"\xff\xff\xff\xff": "arrow",
    npy.MAGIC: "npy",
    b"PK\x03\x04": "npz",
    b"PK\x05\x06": "npz",
}
_CONTENT_TYPES: dict[str, DataFormat] = {
    "text/csv": "csv",
    "text/tab-separated-values": "tsv",
    "application/vnd.apache.parquet": "parquet",
    "application/vnd.apache.arrow.file": "arrow",
    "application/vnd.apache.arrow.stream": "arrow",
    "application/x-ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/json": "json",
}
_SUFFIXES: dict[str, DataFormat] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "json",
    ".npy": "npy",
    ".npz": "npz",
}
_PACKED_SUFFIXES = (".gz", ".zst", ".zstd")


def format_of(source: Source, start: bytes) -> DataFormat:
    """`start`: the first bytes, unpacked. Raises InvalidInput."""
    if _is_spreadsheet(start):
        called = f"{source.name!r}" if source.name else "The file"
        raise InvalidInput(source.field, f"{called} is a spreadsheet; export the sheet as CSV, and hand in that.")
    for magic, name in _MAGIC.items():
        if start.startswith(magic):
            return name
    if npy.is_idx(start):
        return "idx"
    content_type = source.content_type.partition(";")[0].strip().lower()
    if content_type in _CONTENT_TYPES:
        return _CONTENT_TYPES[content_type]
    suffixes = [suffix.lower() for suffix in PurePath(source.name).suffixes]
    if suffixes and suffixes[-1] in _PACKED_SUFFIXES:
        suffixes.pop()
    if suffixes and suffixes[-1] in _SUFFIXES:
        return _SUFFIXES[suffixes[-1]]
    if not start:
        raise InvalidInput(source.field, "There is no data: the file is empty.")
    if not _is_text(start):
        called = f"{source.name!r} is" if source.name else "The file is"
        raise InvalidInput(
            source.field,
            f"{called} of no known kind. Accepted: CSV, TSV, Parquet, Arrow, NDJSON, JSON, .npz with arrays inputs and "
            "targets or labels; .npy and IDX files come in fields of their own, inputs and targets or labels.",
        )
    return _of_text(start)


def _is_spreadsheet(start: bytes) -> bool:
    """Of Excel, old and new, or of LibreOffice: the latter two are zip archives that begin with what they are."""
    if start.startswith(b"PK\x03\x04"):
        return any(mark in start for mark in (b"[Content_Types].xml", b"xl/", b"opendocument.spreadsheet"))
    return start.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")


def _of_text(start: bytes) -> DataFormat:
    begin = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if begin.startswith(b"["):
        return "json"
    if not begin.startswith(b"{"):
        return "csv"
    try:
        row = msgspec.json.decode(begin.partition(b"\n")[0])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return "json"
    return "json" if any(isinstance(value, list | dict) for value in row.values()) else "ndjson"


def _is_text(start: bytes) -> bool:
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return True
    try:
        start.decode()
    except UnicodeDecodeError as problem:
        cut = len(start) == START and problem.start > START - 4  # a letter may be in two parts
        return cut and b"\0" not in start
    return b"\0" not in start
