"""How fast files become datasets, compared with PyArrow and NumPy reading the same files into memory.

    python -m benchmarks.ingest [--rounds 5] [--megabytes 200] [--format csv …]

Nabla reads, checks, hashes, writes and syncs. The reference is `pyarrow.csv.read_csv`, `pyarrow.parquet.read_table`,
`pyarrow.ipc.open_file(…).read_all()` or `numpy.load`, and keeps the result in memory. Both read the same files: .npy
has two, inputs and targets. They take turns, each in a process of its own, which has imported its modules and read the
files once, so that both find them in the page cache.

Nabla's time begins with the files as the service stores what it has received, synced and with their digests in their
names, and ends when everything that is stored is synced. Receiving and hashing on arrival are not timed, nor are
starting the task process and sending it the task, which take the same time for every file. Files that are already in
the stored format (.arrow, .npy) are checked and renamed, while the reference copies them into memory.

The table has medians, with half the interquartile range as a fraction; where that is large, the ratio says little.
Memory is the peak of the process (VmHWM) above what it held before. Every format comes in two sizes, to show what
grows with the file. Below are the rates of hashing, and of writing and syncing, alone.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet
from rich.console import Console
from rich.table import Table

from benchmarks.support.stats import relative_spread

COLUMNS = 20
_BYTES_PER_ROW = {"csv": 190, "parquet": 160, "arrow": 165, "npy": 160}


def main() -> None:
    """Compare all formats, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--format", action="append", choices=[*_BYTES_PER_ROW])
    options = parser.parse_args()
    table = Table("file", "MB", "rows/s", "MB/s", "reference MB/s", "ratio", "peak MB", "reference peak MB")
    with tempfile.TemporaryDirectory() as directory:
        for name in options.format or _BYTES_PER_ROW:
            for megabytes in (options.megabytes // 4, options.megabytes):
                path = Path(directory) / f"{megabytes}.{name}"
                rows = megabytes * 10**6 // _BYTES_PER_ROW[name]
                write_sample(path, name, rows)
                table.add_row(name, *compare(path, rows, options.rounds))
                path.unlink()
    Console(width=140).print(table)
    print(measure_hashing_and_writing())


def measure_hashing_and_writing() -> str:
    """Return the rates of SHA-256 on one core, and of writing and syncing, each alone."""
    content, repeats = memoryview(np.random.default_rng(0).bytes(2**23)), 25
    started = time.perf_counter()
    digest = hashlib.sha256()
    for _ in range(repeats):
        digest.update(content)
    hashing = time.perf_counter() - started
    with tempfile.TemporaryFile(buffering=0) as file:
        started = time.perf_counter()
        for _ in range(repeats):
            file.write(content)
        os.fsync(file.fileno())
        writing = time.perf_counter() - started
    megabytes = repeats * len(content) / 1e6
    return f"SHA-256 alone {megabytes / hashing:,.0f} MB/s; writing and syncing alone {megabytes / writing:,.0f} MB/s"


def write_sample(path: Path, name: str, rows: int) -> None:
    """Write numbers with few and with many digits, a category and a class; for .npy an array of floats."""
    generator = np.random.default_rng(0)
    if name == "npy":
        np.save(path, generator.random((rows, COLUMNS)))
        return
    columns: dict[str, Any] = {f"x{column}": generator.random(rows) for column in range(COLUMNS // 2 - 1)}
    columns |= {f"n{column}": generator.integers(0, 1000, rows) for column in range(COLUMNS // 2 - 1)}
    columns["kind"] = pa.array(np.array(["red", "green", "blue", "white"])[generator.integers(0, 4, rows)])
    columns["class"] = generator.integers(0, 10, rows)
    sample = pa.table(columns)
    if name == "csv":
        pa.csv.write_csv(sample, path)
    elif name == "parquet":
        pa.parquet.write_table(sample, path)
    else:
        with pa.ipc.new_file(path, sample.schema) as writer:
            writer.write_table(sample, 2**16)


def compare(path: Path, rows: int, rounds: int) -> list[str]:
    """Return the cells of a file's row."""
    megabytes = path.stat().st_size / 1e6
    seconds: dict[str, list[float]] = {"nabla": [], "reference": []}
    peaks: dict[str, list[int]] = {"nabla": [], "reference": []}
    for _ in range(rounds):
        for reader in seconds:
            command = [sys.executable, "-c", _CHILD, reader, str(path)]
            result = subprocess.run(command, check=True, capture_output=True)
            elapsed, peak = json.loads(result.stdout)
            seconds[reader].append(elapsed)
            peaks[reader].append(peak)
    nabla, reference = (statistics.median(seconds[reader]) for reader in seconds)
    return [
        f"{megabytes:,.0f}",
        f"{rows / nabla:,.0f}",
        f"{megabytes / nabla:,.0f} ± {relative_spread(seconds['nabla']):.0%}",
        f"{megabytes / reference:,.0f} ± {relative_spread(seconds['reference']):.0%}",
        f"{reference / nabla:.2f}",
        f"{statistics.median(peaks['nabla']) / 1e6:,.0f}",
        f"{statistics.median(peaks['reference']) / 1e6:,.0f}",
    ]


_CHILD = "import sys; from benchmarks.ingest import measure; measure(*sys.argv[1:])"


def measure(reader: str, name: str) -> None:
    """Read a file; print seconds, and bytes of memory at the peak, as JSON."""
    from nabla.engine.data.ingest.ingest import ingest_files
    from nabla.engine.data.ingest_options import IngestOptions, SourceFile

    path = Path(name)
    with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
        directory = Path(temporary)
        files = [_store(path, directory)]
        sources, reading = [SourceFile((files[0],), path.name)], IngestOptions(label="class")
        if path.suffix == ".npy":  # the service requires targets
            targets = directory / "targets.npy"
            np.save(targets, np.zeros(np.load(path, mmap_mode="r").shape[0]))
            files.append(_store(targets, directory))
            sources = [SourceFile((files[0],), "", "", "inputs"), SourceFile((files[1],), "", "", "targets")]
            reading = IngestOptions()
        dataset = directory / "dataset"
        dataset.mkdir()

        def read_with_nabla() -> object:
            return ingest_files(sources, reading, dataset, lambda _: None)

        def read_with_reference() -> object:
            return [_REFERENCES[path.suffix](file) for file in files]

        run: Callable[[], object] = read_with_nabla if reader == "nabla" else read_with_reference
        _reset_peak()
        before, started = _peak(), time.perf_counter()
        content = run()
        elapsed = time.perf_counter() - started
        print(json.dumps([elapsed, _peak() - before]))
        del content


def _store(path: Path, directory: Path) -> Path:
    """Return a link to a file named as the service names what it received, synced and in the page cache."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]
        os.fsync(file.fileno())
    stored = directory / f"{path.stem}.{digest}{path.suffix}"
    stored.hardlink_to(path)
    return stored


def _read_arrow(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


_REFERENCES: dict[str, Callable[[Path], object]] = {
    ".csv": pa.csv.read_csv,
    ".parquet": pa.parquet.read_table,
    ".arrow": _read_arrow,
    ".npy": np.load,
}


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
