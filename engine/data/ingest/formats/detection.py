"""Detection of the formats of files: by their first bytes, then by their content type, then by their name."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import PurePath

import msgspec

from nabla.engine.data.ingest.formats import npy
from nabla.engine.data.ingest.formats.byte_stream import read_exactly
from nabla.engine.data.ingest.formats.decompression import ChunkedFile, open_source
from nabla.engine.data.ingest_options import IngestOptions, ProgressTracker, SourceFile
from nabla.engine.data.text_formats import is_text_encoding
from nabla.engine.errors import InvalidInput, quote
from nabla.engine.literals import DataFormat

_SNIFF_BYTES = 4096
ARROW_MAGIC = b"ARROW1"
"""The beginning of an Arrow IPC file; streams have none of their own."""

_MAGIC: dict[bytes, DataFormat] = {
    b"PAR1": "parquet",
    ARROW_MAGIC: "arrow",
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
_CHARSET = re.compile(r"charset=\"?([A-Za-z0-9._:-]+)", re.IGNORECASE)
_COMPRESSED_SUFFIXES = (".gz", ".zst", ".zstd", ".bz2", ".xz", ".zip")


DetectedFormat = tuple[DataFormat, bytes]
"""The format of a source, and its first `_SNIFF_BYTES` bytes, decompressed."""


def detect_formats(
    sources: Sequence[SourceFile], options: IngestOptions, tracker: ProgressTracker
) -> list[DetectedFormat]:
    """Return the format of each source, and its first bytes, decompressed. Raises InvalidInput."""
    detected = []
    for source, label in zip(sources, label_sources(sources), strict=True):
        with label_errors(label):
            detected.append(_detect(source, options, tracker))
    return detected


def label_sources(sources: Sequence[SourceFile]) -> list[str]:
    """Return the prefix of errors about each file; an empty one for a single file."""
    if len(sources) == 1:
        return [""]
    names = (f" ({quote(source.name)})" if source.name else "" for source in sources)
    return [f"File {number} of {len(sources)}{name}: " for number, name in enumerate(names, start=1)]


@contextmanager
def label_errors(label: str) -> Iterator[None]:
    """Prepend the label of a file to the messages of errors about it."""
    try:
        yield
    except InvalidInput as error:
        if not label:
            raise
        (field, message), *others = error.problems
        raise type(error)(field, label + message, *others) from error


def known_encoding(source: SourceFile, options: IngestOptions) -> str | None:
    """Return the encoding that is requested, or that the media type of the source states."""
    match = _CHARSET.search(source.content_type)
    return options.encoding or (match[1] if match and is_text_encoding(match[1]) else None)


def _detect(source: SourceFile, options: IngestOptions, tracker: ProgressTracker) -> DetectedFormat:
    """Return the format of a source, and its first bytes, decompressed."""
    with open_source(source, tracker) as stream:
        start = read_exactly(stream, _SNIFF_BYTES)
        encoding = known_encoding(source, options)
        if encoding is not None:
            with suppress(UnicodeError):  # reported when the file is read
                start = start.decode(encoding, "replace").encode()
        format = options.format or _detect_format(source, start)
        if not start:
            raise InvalidInput(source.field, "There is no data: the file is empty.")
        if format in ("parquet", "arrow", "npz") and not isinstance(stream, ChunkedFile):
            raise InvalidInput(source.field, f"The {format} file is compressed as a whole; send it as it is.")
    return format, start


def _detect_format(source: SourceFile, start: bytes) -> DataFormat:
    """Return the format of a source.

    Args:
        source: The source, for its content type and its name.
        start: Its first `_SNIFF_BYTES` bytes, decompressed.

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
        is_cut = len(start) == _SNIFF_BYTES and error.start > _SNIFF_BYTES - 4  # within a character
        return is_cut and b"\0" not in start
    return b"\0" not in start
