"""One figure of a row, over its seeds."""

from collections.abc import Sequence
from statistics import fmean, stdev


def mean_cell(values: Sequence[float], digits: int = 1) -> str:
    """The mean, with several also ± the standard deviation; empty without any."""
    if not values:
        return ""
    mean = f"{fmean(values):.{digits}f}"
    return f"{mean} ± {stdev(values):.{digits}f}" if len(values) > 1 else mean
