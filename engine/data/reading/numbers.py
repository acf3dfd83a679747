"""Arrow's numbers as NumPy's."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as kinds


def as_numpy(values: pa.Array) -> npt.NDArray[Any]:
    """The same numbers, without a copy where none is missing; else whole numbers become float64, and what is missing
    is not a number. Truth values are numbers too."""
    if values.null_count or kinds.is_boolean(values.type):
        return np.asarray(values.to_numpy(zero_copy_only=False))
    return np.from_dlpack(values)  # to_numpy loads pandas where there is one, which takes longer than a small file
