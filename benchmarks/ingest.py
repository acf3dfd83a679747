"""How fast files become stored datasets, beside PyArrow and NumPy reading the same files into memory.

    python -m benchmarks.ingest [--rounds 5] [--megabytes 200] [--format csv …]

Ours reads, checks, hashes, writes and syncs; theirs is `pyarrow.csv.read_csv`, `pyarrow.parquet.read_table`,
`pyarrow.ipc.open_file(…).read_all()` or `numpy.load`, and keeps the result in memory. Both read the same files: of .npy
there are two, inputs and targets. They take turns, each in a process of its own, which has loaded its modules and has
read the files once, so that both find them in the page cache.

What is timed of ours begins with the files as the service keeps what it has received, synced and with their digests in
their names, and ends when all that is stored of them is synced. Receiving, and hashing what comes meanwhile, is not
timed, nor are starting the process and handing it the errand, which take the same time for every file. Files that are
as they would be stored (.arrow, .npy) are looked at and get another name; theirs copies them into memory.

The table has medians, with the share by which the middle half of the rounds spreads; where that is large, the ratio
says little, and ours alone is to be compared. Memory is the peak of the process
(VmHWM) above what it held before. Every format comes in two sizes, to show what of it grows with the file. Below are
the rates of what nothing that is stored can do without.
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

COLUMNS = 20
_BYTES_PER_ROW = {"csv": 190, "parquet": 160, "arrow": 165, "npy": 160}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--format", action="append", choices=[*_BYTES_PER_ROW])
    asked = parser.parse_args()
    table = Table("file", "MB", "rows/s", "MB/s", "theirs MB/s", "ours / theirs", "peak MB", "theirs peak MB")
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.format or _BYTES_PER_ROW:
            for megabytes in (asked.megabytes // 4, asked.megabytes):
                path = Path(folder) / f"{megabytes}.{name}"
                rows = write(path, name, megabytes * 10**6 // _BYTES_PER_ROW[name])
                table.add_row(name, *compare(path, rows, asked.rounds))
                path.unlink()
    Console(width=140).print(table)
    print(floor())


def floor() -> str:
    """SHA-256 of a file's bytes on one core, and writing and syncing them, each alone."""
    content, times = memoryview(np.random.default_rng(0).bytes(2**23)), 25
    began = time.perf_counter()
    hashed = hashlib.sha256()
    for _ in range(times):
        hashed.update(content)
    hashing = time.perf_counter() - began
    with tempfile.TemporaryFile(buffering=0) as file:
        began = time.perf_counter()
        for _ in range(times):
            file.write(content)
        os.fsync(file.fileno())
        writing = time.perf_counter() - began
    megabytes = times * len(content) / 1e6
    return f"SHA-256 alone {megabytes / hashing:,.0f} MB/s; writing and syncing alone {megabytes / writing:,.0f} MB/s"


def write(path: Path, name: str, rows: int) -> int:
    """Numbers with few and with many digits, a category, and a class; an array of floats for .npy."""
    generator = np.random.default_rng(0)
    if name == "npy":
        np.save(path, generator.random((rows, COLUMNS)))
        return rows
    columns: dict[str, Any] = {f"x{column}": generator.random(rows) for column in range(COLUMNS // 2 - 1)}
    columns |= {f"n{column}": generator.integers(0, 1000, rows) for column in range(COLUMNS // 2 - 1)}
    columns["kind"] = pa.array(np.array(["red", "green", "blue", "white"])[generator.integers(0, 4, rows)])
    columns["class"] = generator.integers(0, 10, rows)
    made = pa.table(columns)
    if name == "csv":
        pa.csv.write_csv(made, path)
    elif name == "parquet":
        pa.parquet.write_table(made, path)
    else:
        with pa.ipc.new_file(path, made.schema) as writer:
            writer.write_table(made, 2**16)
    return rows


def compare(path: Path, rows: int, rounds: int) -> list[str]:
    megabytes = path.stat().st_size / 1e6
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    peaks: dict[str, list[int]] = {"ours": [], "theirs": []}
    for _ in range(rounds):
        for who in seconds:
            answer = subprocess.run([sys.executable, "-c", _CHILD, who, str(path)], check=True, capture_output=True)
            took, peak = json.loads(answer.stdout)
            seconds[who].append(took)
            peaks[who].append(peak)
    ours, theirs = (statistics.median(seconds[who]) for who in seconds)
    return [
        f"{megabytes:,.0f}",
        f"{rows / ours:,.0f}",
        f"{megabytes / ours:,.0f} ± {_spread(seconds['ours']):.0%}",
        f"{megabytes / theirs:,.0f} ± {_spread(seconds['theirs']):.0%}",
        f"{theirs / ours:.2f}",
        f"{statistics.median(peaks['ours']) / 1e6:,.0f}",
        f"{statistics.median(peaks['theirs']) / 1e6:,.0f}",
    ]


def _spread(seconds: list[float]) -> float:
    """Half the distance between the quartiles, of the median."""
    low, middle, high = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else seconds * 3
    return (high - low) / 2 / middle


_CHILD = "import sys; from benchmarks.ingest import measure; measure(*sys.argv[1:])"


def measure(who: str, name: str) -> None:
    """Seconds, and bytes of memory at the peak, as JSON on standard output."""
    from nabla.engine.data.ingest.ingest import read
    from nabla.engine.data.ingest_options import Reading, Source

    path = Path(name)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        place = Path(folder)
        given = [_kept(path, place)]
        sources, reading = [Source((given[0],), path.name)], Reading(label="class")
        if path.suffix == ".npy":  # with targets, which the service wants
            targets = place / "targets.npy"
            np.save(targets, np.zeros(np.load(path, mmap_mode="r").shape[0]))
            given.append(_kept(targets, place))
            sources = [Source((given[0],), "", "", "inputs"), Source((given[1],), "", "", "targets")]
            reading = Reading()
        stored = place / "stored"
        stored.mkdir()

        def ours() -> object:
            return read(sources, reading, stored, lambda _: None)

        def theirs() -> object:
            return [_THEIRS[path.suffix](each) for each in given]

        run: Callable[[], object] = ours if who == "ours" else theirs
        _reset_peak()
        before, began = _peak(), time.perf_counter()
        held = run()
        took = time.perf_counter() - began
        print(json.dumps([took, _peak() - before]))
        del held


def _kept(path: Path, folder: Path) -> Path:
    """As the service keeps what it has received, with the digest that it made on the way, and in the page cache."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]
        os.fsync(file.fileno())
    kept = folder / f"{path.stem}.{digest}{path.suffix}"
    kept.hardlink_to(path)
    return kept


def _read_all(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


_THEIRS: dict[str, Callable[[Path], object]] = {
    ".csv": pa.csv.read_csv,
    ".parquet": pa.parquet.read_table,
    ".arrow": _read_all,
    ".npy": np.load,
}


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
