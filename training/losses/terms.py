"""What a loss is made of, whatever the task; and how processes add up what each has of a batch."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

# Adds up what each process of a run has of a batch; its gradient is that of the own summand.
Total = Callable[[Tensor], Tensor]


class LossTerms(NamedTuple):
    """What is minimised, and of what it is made."""

    total: Tensor  # the weighted sum times the batch size
    parts: Mapping[str, Tensor]  # by name, before their weights; `routing` is a sum by its weights already
    weight: Tensor  # of the batch beside others: what its parts are means over


def alone(values: Tensor) -> Tensor:
    """Return the total where one process has the batch whole."""
    return values
