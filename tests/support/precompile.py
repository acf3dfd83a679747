"""Compiles the engine for networks of one type of numbers: python -m tests.support.precompile float32

Several of these may run at the same time, each for another type. What Numba keeps on disk is not made for that: it
reads the list of what there is, takes the next free name for what is new, and writes the list, while others do.
"""

import fcntl
import sys
from pathlib import Path
from typing import Any, get_args

from numba.core.caching import IndexDataCacheFile

from nabla.engine.literals import DtypeName
from nabla.engine.training.devices import compile_training

_save: Any = IndexDataCacheFile.save


def _save_alone(file: IndexDataCacheFile, key: Any, data: Any) -> None:
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _save(file, key, data)


def main(dtype: str) -> None:
    known: tuple[DtypeName, ...] = get_args(DtypeName)
    IndexDataCacheFile.save = _save_alone  # type: ignore[method-assign]  # it is the one place where Numba writes
    compile_training(dtypes=[one for one in known if one == dtype])


if __name__ == "__main__":
    main(sys.argv[1])
