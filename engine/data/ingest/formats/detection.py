"""Detection of a file's format: by its first bytes, then by its content type, then by its name."""

from pathlib import PurePath

import msgspec

from nabla.engine.data.ingest.formats import arrow, npy
from nabla.engine.data.ingest_options import SourceFile
from nabla.engine.errors import InvalidInput
from nabla.engine.literals import DataFormat

SNIFF_BYTES = 4096

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
_COMPRESSED_SUFFIXES = (".gz", ".zst", ".zstd", ".bz2", ".xz", ".zip")


def detect_format(source: SourceFile, start: bytes) -> DataFormat:
    """Return the format of a source.

    Args:
        source: The source, for its content type and its name.
        start: Its first `SNIFF_BYTES` bytes, decompressed.

    Raises:
        InvalidInput: The file is empty or of an unsupported format.
    """
    if _is_spreadsheet(start):
        subject = f"{source.name!r}" if source.name else "The file"
        raise InvalidInput(source.field, f"{subject} is a spreadsheet; export the sheet as CSV and send that.")
    for magic, name in _MAGIC.items():
        if start.startswith(magic):
            return name
    if npy.is_idx(start):
        return "idx"
    content_type = source.content_type.partition(";")[0].strip().lower()
    if content_type in _CONTENT_TYPES:
        return _CONTENT_TYPES[content_type]
    suffixes = [suffix.lower() for suffix in PurePath(source.name).suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED_SUFFIXES:
        suffixes.pop()
    if suffixes and suffixes[-1] in _SUFFIXES:
        return _SUFFIXES[suffixes[-1]]
    if not start:
        raise InvalidInput(source.field, "There is no data: the file is empty.")
    if not _is_text(start):
        subject = f"{source.name!r} is" if source.name else "The file is"
        raise InvalidInput(
            source.field,
            f"{subject} of an unsupported format. Accepted: CSV, TSV, Parquet, Arrow, NDJSON, JSON, .npz with arrays "
            "inputs and targets or labels; .npy and IDX files are sent in fields of their own, inputs and targets or "
            "labels.",
        )
    return _detect_text_format(start)


def _is_spreadsheet(start: bytes) -> bool:
    """Return whether a file is from Excel (.xls or .xlsx) or LibreOffice; the latter two are zip archives."""
    if start.startswith(b"PK\x03\x04"):
        return any(mark in start for mark in (b"[Content_Types].xml", b"xl/", b"opendocument.spreadsheet"))
    return start.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")


def _detect_text_format(start: bytes) -> DataFormat:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"["):
        return "json"
    if not text.startswith(b"{"):
        return "csv"
    try:
        row = msgspec.json.decode(text.partition(b"\n")[0])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return "json"
    return "json" if any(isinstance(value, list | dict) for value in row.values()) else "ndjson"


def _is_text(start: bytes) -> bool:
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):  # byte order marks of UTF-16
        return True
    try:
        start.decode()
    except UnicodeDecodeError as error:
        is_cut = len(start) == SNIFF_BYTES and error.start > SNIFF_BYTES - 4  # within a character
        return is_cut and b"\0" not in start
    return b"\0" not in start
