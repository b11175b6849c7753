"""The result of a loss, for all tasks, and the type of sums over processes."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

# Returns the sum of a tensor over all processes; the gradient is that of the process's own summand.
Total = Callable[[Tensor], Tensor]


class LossTerms(NamedTuple):
    """A loss and its terms."""

    total: Tensor  # the weighted sum times the batch size
    parts: Mapping[str, Tensor]  # terms by name, without weights; `routing` is a weighted sum
    weight: Tensor  # the batch's weight in averages over batches: the divisor of its parts


def alone(values: Tensor) -> Tensor:
    """Return the values, which are the sum over processes if there is only one process."""
    return values
