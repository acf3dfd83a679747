"""Ingest of uploaded files, which are read, validated and stored as the content of a dataset.

Memory holds only a few blocks of a file at a time. Nothing is ever unpickled, and every size that a file states is
checked before memory is allocated for it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nabla.engine.data.ingest.arrays import ArraySource, store_arrays
from nabla.engine.data.ingest.column_names import normalize_options
from nabla.engine.data.ingest.formats import json, npy, npz
from nabla.engine.data.ingest.formats.byte_stream import ByteStream
from nabla.engine.data.ingest.formats.decompression import ChunkedFile, open_source
from nabla.engine.data.ingest.formats.detection import detect_formats, known_encoding, label_errors, label_sources
from nabla.engine.data.ingest.formats.npy import ArrayHeader
from nabla.engine.data.ingest_options import DatasetContent, IngestOptions, Progress, ProgressTracker, SourceFile
from nabla.engine.data.schema import format_category
from nabla.engine.errors import InvalidInput, TooLarge
from nabla.engine.extras import requires_extra
from nabla.engine.literals import DataFormat
from nabla.engine.typing import AnyArray

_ARRAY_FIELDS = ({"inputs", "targets"}, {"inputs", "labels"})


def ingest_files(
    sources: Sequence[SourceFile], options: IngestOptions, directory: Path, on_progress: Callable[[Progress], None]
) -> DatasetContent:
    """Read files and store their content in `directory`, which exists and is empty.

    On failure, files that were written are left there.

    Raises:
        InvalidInput: The files, or the options for them, are not valid.
        TooLarge: The files are beyond a limit, or beyond the memory of this process.
        StorageFailed: The disk cannot be written.
    """
    options = normalize_options(options)
    tracker = ProgressTracker(sources, options.largest, on_progress)
    with suppress(MemoryError):
        if {source.field for source in sources} == {"file"}:
            return _ingest_files(sources, options, directory, tracker)
        return store_arrays(_open_array_fields(sources, options, directory, tracker), options, directory, tracker)
    # Outside the block, where the failed allocations are released: the error itself takes memory.
    raise TooLarge("file", "Reading this takes more memory than is available; send less at once.")


def _ingest_files(
    sources: Sequence[SourceFile], options: IngestOptions, directory: Path, tracker: ProgressTracker
) -> DatasetContent:
    """Ingest files of the field `file`: tables, one archive of arrays, or one JSON object of arrays."""
    detected = detect_formats(sources, options, tracker)
    formats = [format for format, _ in detected]
    if formats == ["npz"]:
        return store_arrays(_open_archive(sources[0], directory, tracker), options, directory, tracker)
    _reject_arrays(sources, formats)
    if formats == ["json"]:
        content = json.read_json(sources[0], tracker, known_encoding(sources[0], options))
        if isinstance(content, dict):
            arrays = {field: _array_in_memory(array) for field, array in content.items()}
            return store_arrays(arrays, options, directory, tracker)
    with requires_extra("file", "Tables"):
        from nabla.engine.data.ingest.table_files import store_table_files

    return store_table_files(sources, detected, options, directory, tracker)


def _reject_arrays(sources: Sequence[SourceFile], formats: Sequence[DataFormat]) -> None:
    """Raise InvalidInput if a file holds arrays that are not to be sent in this way."""
    for source, label, format in zip(sources, label_sources(sources), formats, strict=True):
        with label_errors(label):
            if format == "npz":
                raise InvalidInput(
                    source.field, "An .npz file must be the only file; tables may be sent in several files."
                )
            if format in ("npy", "idx"):
                raise InvalidInput(
                    source.field,
                    "Send each array in a field of its own: inputs, targets or labels, and weights if there are any.",
                )


def _open_array_fields(
    sources: Sequence[SourceFile], options: IngestOptions, directory: Path, tracker: ProgressTracker
) -> dict[str, ArraySource]:
    """Return the arrays of files in fields of their own."""
    fields = [source.field for source in sources]
    accepted = (*_ARRAY_FIELDS, {"inputs"}) if options.unlabeled else _ARRAY_FIELDS
    if len(set(fields)) != len(fields) or set(fields) - {"weights"} not in accepted:
        raise InvalidInput(
            "file",
            "Send tables or one .npz file in the field file; or arrays (.npy, IDX) in inputs and targets or labels, "
            "and optionally weights; or in inputs alone with unlabeled=true; "
            f"got {' and '.join(sorted(fields)) or 'no file'}.",
        )
    arrays: dict[str, ArraySource] = {}
    for source in sources:
        ((format, _),) = detect_formats([source], options, tracker)
        if format not in ("npy", "idx"):
            raise InvalidInput(
                source.field, f"Expected an array (.npy or IDX), got {format}; tables go in the field file."
            )
        read_header = npy.read_npy_header if format == "npy" else npy.read_idx_header
        array = _open_array(source.field, partial(open_source, source, tracker), read_header, directory, tracker)
        arrays[source.field] = _adopt_array(source, array, tracker) if format == "npy" else array
    return arrays


def _open_array(
    field: str,
    open_stream: Callable[[], AbstractContextManager[ByteStream]],
    read_header: Callable[[ByteStream, str], ArrayHeader],
    directory: Path,
    tracker: ProgressTracker,
) -> ArraySource:
    """Return an array whose header is validated and whose blocks are read each time they are needed."""

    def read_blocks() -> Iterator[AnyArray]:
        with open_stream() as stream:
            yield from npy.read_blocks(stream, read_header(stream, field), field, directory)
            stream.read(1)  # verifies the checksum at the end of compressed data

    with open_stream() as stream:
        header = read_header(stream, field)
    tracker.check_array_size(header.nbytes, field)
    return ArraySource(header, read_blocks)


def _adopt_array(source: SourceFile, array: ArraySource, tracker: ProgressTracker) -> ArraySource:
    """Return an array that is linked instead of copied, if its file is as it would be stored; else `array`."""
    path = source.paths[0]
    with path.open("rb") as file:
        if len(source.paths) > 1 or file.read(len(npy.MAGIC)) != npy.MAGIC:
            return array
        file.seek(0)
        npy.read_npy_header(file, source.field)
        if not npy.can_adopt(path, array.header, file.tell()):
            return array

    def read_blocks() -> Iterator[AnyArray]:
        for block in npy.map_blocks(path, source.field):
            tracker.bytes_read += block.nbytes
            yield block

    return ArraySource(array.header, read_blocks, path)


def _open_archive(source: SourceFile, directory: Path, tracker: ProgressTracker) -> dict[str, ArraySource]:
    """Return the arrays of an .npz file."""

    @contextmanager
    def open_field(field: str) -> Iterator[ByteStream]:
        with ChunkedFile(source, tracker) as file, npz.open_field(file, field) as stream:
            yield stream

    with ChunkedFile(source, tracker) as file:
        fields = npz.list_fields(file)
    return {
        field: _open_array(field, partial(open_field, field), npy.read_npy_header, directory, tracker)
        for field in fields
    }


def _array_in_memory(array: AnyArray | list[Any]) -> ArraySource:
    if isinstance(array, list):
        labels = [format_category(label) for label in array]
        has_texts = all(isinstance(label, str) for label in array)
        header = ArrayHeader(len(array), None, np.dtype(object))
        return ArraySource(header, lambda: iter((labels,)), has_typed_text=has_texts)
    return ArraySource(npy.validate_header(array.shape, array.dtype, "inputs"), lambda: iter((array,)))
