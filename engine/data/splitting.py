"""A dataset divided by a seed into parts that are datasets of their own."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from nabla.engine import durable_files
from nabla.engine.data.arrow_io import write_batches
from nabla.engine.data.dataset import Dataset
from nabla.engine.data.ingest_options import Content, Progress, Share
from nabla.engine.data.npy_io import rows_at_once, write_array
from nabla.engine.data.preview import cut
from nabla.engine.data.schema import Column
from nabla.engine.data.stratify import Rows, spread_classes
from nabla.engine.errors import Damaged, InvalidInput

_ARRAYS = ("inputs", "targets", "codes", "weights")


def rows_of_shares(rows: int, shares: Sequence[float], seed: int, codes: npt.NDArray[np.int32] | None) -> list[Rows]:
    """Which rows each share gets, ascending; no row is in two. `codes`: of each class every part has its share.

    Raw numbers of Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) are the same in every
    version of NumPy. Raises InvalidInput if a share gets no row.
    """
    order = np.argsort(np.random.Philox(key=seed).random_raw(rows), kind="stable").astype(np.int64)
    if codes is not None:
        order = spread_classes(order, codes)
    ends = np.round(np.minimum(np.cumsum(shares), 1.0) * rows).astype(np.int64)
    found = [np.sort(order[first:last]) for first, last in zip([0, *ends[:-1]], ends, strict=True)]
    for place, part in enumerate(found):
        if not len(part):
            raise InvalidInput(f"splits.{place}.share", f"Of {rows} rows this part would get none.")
    return found


def split(
    dataset: Dataset,
    folder: Path,
    parts: Sequence[Share],
    seed: int,
    stratified: bool,
    advanced: Callable[[Progress], None],
) -> tuple[Content, ...]:
    """Store each part, its rows in the order of the dataset. Raises InvalidInput, StorageFailed."""
    for file in folder.iterdir():
        durable_files.check(file)
    files = {file.name.split(".")[0]: file for file in folder.iterdir()}
    codes = np.load(files["codes"], mmap_mode="r") if stratified and dataset.classes is not None else None
    chosen = rows_of_shares(dataset.rows, [part.share for part in parts], seed, codes)
    total = sum(map(len, chosen)) * len(files)
    done = 0

    def stored(rows: int) -> None:
        nonlocal done
        done += rows
        advanced(Progress(done, total, done // len(files)))

    return tuple(_store(dataset, files, rows, part.folder, stored) for part, rows in zip(parts, chosen, strict=True))


def _store(
    dataset: Dataset, files: dict[str, Path], rows: Rows, folder: Path, stored: Callable[[int], None]
) -> Content:
    """`stored` is told how many rows of a file were written."""
    features = dataset.features
    if features is not None:
        features = _store_table(files["table"], rows, folder, features, stored)
    for name in _ARRAYS:
        if name in files:
            _store_array(files[name], rows, folder / f"{name}.npy", stored)
    smallest, largest = dataset.smallest, dataset.largest
    if "targets" in files:
        targets = np.load(next(folder.glob("targets.*.npy")), mmap_mode="r")
        smallest, largest = float(targets.min()), float(targets.max())
    return Content(
        rows=len(rows),
        inputs=dataset.inputs,
        targets=dataset.targets,
        classes=dataset.classes,
        bytes=sum(file.stat().st_size for file in folder.iterdir()),
        smallest=smallest,
        largest=largest,
        distributions=dataset.distributions,
        magnitude=dataset.magnitude,
        weighted=dataset.weighted,
        features=features,
        target_columns=dataset.target_columns,
        weight=dataset.weight,
    )


def _store_array(file: Path, rows: Rows, path: Path, stored: Callable[[int], None]) -> None:
    array = np.load(file, mmap_mode="r")
    at_once = rows_at_once(array.shape[1] if array.ndim == 2 else 1)

    def blocks() -> Iterator[npt.NDArray[np.generic]]:
        for first in range(0, len(rows), at_once):
            block = array[rows[first : first + at_once]]
            yield block
            stored(len(block))

    write_array(path, array.dtype, (len(rows), *array.shape[1:]), blocks())


def _store_table(
    file: Path, rows: Rows, folder: Path, features: tuple[Column, ...], stored: Callable[[int], None]
) -> tuple[Column, ...]:
    """The columns, with what is missing counted anew."""
    missing = dict.fromkeys((column.name for column in features), 0)
    try:
        with pa.memory_map(str(file)) as source:
            reader = pa.ipc.open_file(source)

            def batches() -> Iterator[pa.RecordBatch]:
                first = 0
                whole = (reader.get_batch(place) for place in range(reader.num_record_batches))
                for batch in (part for each in whole for part in cut(each)):
                    low, high = np.searchsorted(rows, (first, first + len(batch)))
                    if low < high:
                        taken = batch.take(pa.array(rows[low:high] - first))
                        for name in missing:
                            missing[name] += pc.sum(pc.is_null(taken.column(name), nan_is_null=True)).as_py()
                        yield taken
                        stored(len(taken))
                    first += len(batch)

            durable_files.write_file(folder / "table.arrow", lambda sink: write_batches(sink, reader.schema, batches()))
    except (pa.ArrowException, LookupError) as problem:
        raise Damaged(f"The stored file {file.name} cannot be read.") from problem
    return tuple(replace(column, missing=missing[column.name]) for column in features)
