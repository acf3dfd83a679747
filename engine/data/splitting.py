"""Random split of a stored dataset into new datasets, reproducible by a seed, optionally stratified by class."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nabla.engine import durable_files
from nabla.engine.data.dataset import Dataset, find_stored_file, rows_per_block, write_npy
from nabla.engine.data.ingest_options import DatasetContent, Progress, SplitSpec
from nabla.engine.errors import InvalidInput
from nabla.engine.extras import requires_extra
from nabla.engine.typing import ClassCodes, RowIndices

_ARRAY_NAMES = ("inputs", "targets", "codes", "weights")


def split_dataset(
    dataset: Dataset,
    directory: Path,
    splits: Sequence[SplitSpec],
    seed: int,
    stratified: bool,
    on_progress: Callable[[Progress], None],
) -> tuple[DatasetContent, ...]:
    """Store the rows of each split, in the order of the dataset.

    Args:
        dataset: The dataset.
        directory: The directory in which it is stored.
        splits: Shares of the rows, which sum to at most 1, and empty directories.
        seed: Determines the rows of each split.
        stratified: Whether each split of a dataset of classes has its share of each class.
        on_progress: Called after each block.

    Raises:
        InvalidInput: A split would have no rows.
        Damaged: A stored file does not match its digest.
        StorageFailed: A file cannot be written.
    """
    for file in directory.iterdir():
        durable_files.verify(file)
    files = {file.name.split(".")[0]: file for file in directory.iterdir()}
    codes = np.load(files["codes"], mmap_mode="r") if stratified and dataset.classes is not None else None
    assignments = assign_rows(dataset.rows, [split.share for split in splits], seed, codes)
    total = sum(map(len, assignments)) * len(files)
    done = 0

    def count_written(rows: int) -> None:
        nonlocal done
        done += rows
        on_progress(Progress(done, total, done // len(files)))

    return tuple(
        _store_split(dataset, files, rows, split.directory, count_written)
        for split, rows in zip(splits, assignments, strict=True)
    )


def assign_rows(rows: int, shares: Sequence[float], seed: int, codes: ClassCodes | None) -> list[RowIndices]:
    """Assign disjoint random sets of rows to splits.

    The order comes from the raw 64-bit numbers of Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
    2011), which are the same in every version of NumPy.

    Args:
        rows: Number of rows of the dataset.
        shares: Share of each split; they sum to at most 1.
        seed: Key of the random numbers.
        codes: (rows) Classes to stratify by; None for no stratification.

    Returns:
        The rows of each split, ascending.

    Raises:
        InvalidInput: A split would have no rows.
    """
    order = np.argsort(np.random.Philox(key=seed).random_raw(rows), kind="stable").astype(np.int64)
    ends = np.round(np.minimum(np.cumsum(shares), 1.0) * rows).astype(np.int64)
    assignments = partition_rows(order, ends.tolist(), codes)
    for index, assigned in enumerate(assignments):
        if not len(assigned):
            raise InvalidInput(f"splits.{index}.share", f"This split would get none of the {rows} rows.")
    return assignments


def _store_split(
    dataset: Dataset, files: dict[str, Path], rows: RowIndices, directory: Path, count_written: Callable[[int], None]
) -> DatasetContent:
    """Store the given rows; `count_written` gets the number of rows of each block written to a file."""
    features = dataset.features
    if features is not None:
        with requires_extra("dataset_id", "Tables"):
            from nabla.engine.data.arrow_io import store_rows

        features = store_rows(files["table"], rows, directory, features, count_written)
    for name in _ARRAY_NAMES:
        if name in files:
            _store_array(files[name], rows, directory / f"{name}.npy", count_written)
    smallest, largest = dataset.smallest, dataset.largest
    if "targets" in files:
        targets = np.load(find_stored_file(directory, "targets"), mmap_mode="r")
        smallest, largest = float(targets.min()), float(targets.max())
    return DatasetContent(
        rows=len(rows),
        inputs=dataset.inputs,
        targets=dataset.targets,
        classes=dataset.classes,
        bytes=sum(file.stat().st_size for file in directory.iterdir()),
        smallest=smallest,
        largest=largest,
        distributions=dataset.distributions,
        magnitude=dataset.magnitude,
        weighted=dataset.weighted,
        features=features,
        target_columns=dataset.target_columns,
        weight=dataset.weight,
    )


def _store_array(file: Path, rows: RowIndices, path: Path, count_written: Callable[[int], None]) -> None:
    array = np.load(file, mmap_mode="r")
    block_rows = rows_per_block(array.shape[1] if array.ndim == 2 else 1)

    def iter_blocks() -> Iterator[npt.NDArray[np.generic]]:
        for first in range(0, len(rows), block_rows):
            block = array[rows[first : first + block_rows]]
            yield block
            count_written(len(block))

    write_npy(path, array.dtype, (len(rows), *array.shape[1:]), iter_blocks())


def partition_rows(order: RowIndices, ends: Sequence[int], codes: ClassCodes | None = None) -> list[RowIndices]:
    """Cut shuffled rows into splits at these positions, and sort each split.

    Args:
        order: Rows in random order.
        ends: Ascending positions in `order` at which the splits end; rows behind the last end are in no split.
        codes: Class of each row of the dataset; if not None, each split has its share of each class, to within a row.

    Returns:
        The rows of each split, ascending.
    """
    if codes is not None:
        order = _spread_classes(order, codes)
    return [np.sort(order[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _spread_classes(rows: RowIndices, codes: ClassCodes) -> RowIndices:
    """Reorder rows so that every prefix has its share of each class, to within a row.

    The k-th of the n rows of a class is placed at (k + ½) / n of the whole.
    """
    classes = codes[rows]
    position = np.empty(len(rows))
    for code in np.unique(classes):
        members = np.flatnonzero(classes == code)
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    return rows[np.argsort(position, kind="stable")]
