"""The type of the result of a loss, for all tasks, and the type of functions that sum over processes."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

# A function that sums a tensor over all processes; the sum's gradient goes to the process's own tensor only.
Total = Callable[[Tensor], Tensor]


class LossTerms(NamedTuple):
    """The loss of one batch, the terms of this loss, and the batch's weight in averages over batches."""

    total: Tensor  # the weighted sum times the batch size
    parts: Mapping[str, Tensor]  # terms by name, without weights; `routing` and `distill` are weighted sums
    weight: Tensor  # the divisor of the parts: the number of images, or the sum of target scores


def alone(values: Tensor) -> Tensor:
    """Return the values unchanged; this is the sum over processes if there is only one process."""
    return values
