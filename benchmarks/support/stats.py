"""Medians of repeated measurements, and how far they spread."""

import statistics
from collections.abc import Sequence


def half_iqr(values: Sequence[float]) -> float:
    """Return half the interquartile range; 0 of a single value."""
    if len(values) < 2:
        return 0.0
    first, _, third = statistics.quantiles(values, n=4)
    return (third - first) / 2


def relative_spread(values: Sequence[float]) -> float:
    """Return half the interquartile range as a fraction of the median."""
    return half_iqr(values) / statistics.median(values)


def median_and_spread(values: Sequence[float]) -> str:
    """Return `median ± half the interquartile range`."""
    return f"{statistics.median(values):.4g} ± {half_iqr(values):.2g}"


def median_ratio(values: Sequence[float], reference: Sequence[float]) -> float:
    """Return the ratio of two medians."""
    return statistics.median(values) / statistics.median(reference)


def percentile(sorted_values: Sequence[float], fraction: float) -> float:
    """Return the value below which a fraction of sorted values lies."""
    return sorted_values[min(len(sorted_values) - 1, int(fraction * len(sorted_values)))]
