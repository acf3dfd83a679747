"""Rows divided so that every part has of each class its share."""

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]


def spread_classes(rows: Rows, codes: npt.NDArray[np.int32]) -> Rows:
    """The rows in an order in which any first so many have of each class its share, to within a row.

    The k-th of the n rows of a class goes to the place (k + ½) / n of the whole.
    """
    classes = codes[rows]
    place = np.empty(len(rows))
    for code in np.unique(classes):
        of_class = np.flatnonzero(classes == code)
        place[of_class] = (np.arange(len(of_class)) + 0.5) / len(of_class)
    return rows[np.argsort(place, kind="stable")]
