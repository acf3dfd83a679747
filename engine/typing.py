"""Array types that packages share, named by dtype, rank or meaning, which NumPy's own types cannot express."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

AnyArray = NDArray[Any]
Float64Array = NDArray[np.float64]
FloatArray = NDArray[np.floating]
"""float32 or float64."""
Matrix = FloatArray
"""Two dimensions."""
Vector = FloatArray
"""One dimension."""
RowIndices = NDArray[np.int64]
"""Numbers of rows, counted from 0."""
ClassCodes = NDArray[np.int32]
"""The class of each row, as an index into the names of the classes."""
