"""The interface between tasks and the exporter: one ExportTask for each task."""

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
    """The difference of one output between two answers.

    The difference is infinite if a row has no counterpart in the other answer, and NaN if a value is not
    finite.
    """

    largest: float  # absolute
    excess: float  # largest difference beyond the relative tolerance
    compared: int  # number of rows that were compared


class GoldenAnswer(NamedTuple):
    """The answer of a correct server for the golden image, and the request parameters that lead to it."""

    arrays: Mapping[str, NDArray[Any]]
    params: Mapping[str, float]  # only those that differ from the task's defaults
    found: bool = True  # whether the model finds anything; otherwise, a replay proves little


@dataclass(frozen=True, kw_only=True)
class ExportTask:
    """The properties of a task that the exporter needs; its functions take outputs for one image, by role."""

    resize: Mapping[str, Any]  # how an image becomes the model input, for the manifest
    settings: Callable[[GraphSpec], dict[str, Any]]  # task_settings of the manifest
    output_rows: Callable[[ModelConfig, GraphSpec, Tolerance], tuple[Output, ...]]
    outputs: Callable[[Any, Any, GraphSpec], tuple[Tensor, ...]]  # of model and predictions
    differences: Callable[[Arrays, Arrays, Tolerance], Mapping[str, Difference]]  # expected, actual; finite
    # Largest allowed excess of those differences that are not of one output alone, by name.
    further_limits: Callable[[Tolerance], Mapping[str, float]] = lambda tolerance: {}
    counted: str | None = None  # role of which some rows must be compared; None: every row is compared
    golden: Callable[[Arrays, NDArray[np.uint8], tuple[int, int]], GoldenAnswer]
    nothing_found: str = ""  # message if the model finds nothing
    metric_name: str
    metric: Callable[[Answers, Sequence[str], tuple[int, int]], float]  # class names, input (H, W)


def equal_order(want: NDArray[Any], got: NDArray[Any]) -> Difference:
    """Return the difference of two arrays (1, N, …), compared element by element."""
    if want.shape != got.shape:
        return Difference(UNMATCHED, UNMATCHED, 0)
    largest = float(np.abs(want.astype(np.float64) - got).max(initial=0.0))
    return Difference(largest, largest, want.shape[1])
