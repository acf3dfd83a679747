"""Compile the engine for networks of one dtype: python -m tests.support.precompile float32.

Several of these may run at the same time, each for another dtype. Numba's cache on disk does not support that: it reads
the index, takes the next free file name and writes the index, without a lock.
"""

import fcntl
import sys
from pathlib import Path
from typing import Any, get_args

from numba.core.caching import IndexDataCacheFile

from nabla.engine.literals import DtypeName
from nabla.engine.training.devices import compile_training

_save: Any = IndexDataCacheFile.save


def _save_with_lock(file: IndexDataCacheFile, key: Any, data: Any) -> None:
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _save(file, key, data)


def main(dtype: str) -> None:
    """Compile the engine for networks of this dtype."""
    dtypes: tuple[DtypeName, ...] = get_args(DtypeName)
    IndexDataCacheFile.save = _save_with_lock  # type: ignore[method-assign]  # the only method that writes the index
    compile_training(dtypes=[name for name in dtypes if name == dtype])


if __name__ == "__main__":
    main(sys.argv[1])
