"""The seam between tasks and everything that exports: one value each."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from training.config import ModelConfig
from training.data.sample import Sample
from training.export.contract.precision import Tolerance
from training.export.contract.spec import GraphSpec
from training.export.contract.tensors import Arrays, Output

UNMATCHED = float("inf")
Answers = Iterable[tuple[Sample, Arrays]]  # images of a data set, and a graph's outputs for each


class Difference(NamedTuple):
    """How far an output is off: infinite where something has no partner, NaN where it is no number."""

    largest: float  # absolute
    excess: float  # largest beyond the relative allowance
    compared: int  # rows that said enough to be compared


class GoldenAnswer(NamedTuple):
    """What a correct server answers for the golden image, and under which parameters."""

    arrays: Mapping[str, NDArray[Any]]
    params: Mapping[str, float]  # where they are not the task's defaults


@dataclass(frozen=True, kw_only=True)
class ExportTask:
    """What an export must know of a task. Outputs are those of one image, by role."""

    resize: Mapping[str, Any]  # how an image is put on the canvas, for the manifest
    settings: Callable[[GraphSpec], dict[str, Any]]  # task_settings of the manifest
    output_rows: Callable[[ModelConfig, GraphSpec, Tolerance], tuple[Output, ...]]
    outputs: Callable[[Any, Any, GraphSpec], tuple[Tensor, ...]]  # of predictions, as the rows say
    differences: Callable[[Arrays, Arrays, Tolerance], Mapping[str, Difference]]  # wanted, got: all finite
    counted: str | None = None  # role of which rows must have been compared; None: every row always is
    golden: Callable[[Arrays, NDArray[np.uint8], tuple[int, int]], GoldenAnswer | None]  # None: nothing found
    nothing_found: str = ""  # what to say then
    metric_name: str
    metric: Callable[[Answers, Sequence[str], tuple[int, int]], float]  # class names, size of the canvas


def equal_order(want: NDArray[Any], got: NDArray[Any]) -> Difference:
    """Compare arrays (1, N, …) number by number."""
    if want.shape != got.shape:
        return Difference(UNMATCHED, UNMATCHED, 0)
    largest = float(np.abs(want.astype(np.float64) - got).max(initial=0.0))
    return Difference(largest, largest, want.shape[1])
