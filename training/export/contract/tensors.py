"""The inputs and outputs of a graph as rows; the rest of the exporter loops over these rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from training.models.mixture.routing import RoutingControls

# B batch

Dtype = Literal["u8", "i32", "i64", "f16", "f32", "bool"]
Arrays = Mapping[str, NDArray[Any]]

NUMPY_DTYPES: Mapping[Dtype, type] = {
    "u8": np.uint8,
    "i32": np.int32,
    "i64": np.int64,
    "f16": np.float16,
    "f32": np.float32,
    "bool": np.bool_,
}
assert set(NUMPY_DTYPES) == set(get_args(Dtype))

IMAGES, CONTROL = "images", "control"  # roles of inputs
GATES, ROUTER_PROBS = "gates", "router_probs"  # roles of outputs, of every task with mixture layers
PATH_PROBS = "path_probs"  # role and name of an output, of models with paths


@dataclass(frozen=True)
class Tensor:
    """One input or output of a graph: its name, type, sizes and role."""

    name: str  # in the graph
    dtype: Dtype
    sizes: tuple[int, ...]  # without the batch
    role: str  # code looks tensors up by role

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Tensor":
        """Return the tensor that a row of a manifest describes."""
        return cls(row["name"], row["dtype"], tuple(row["dims"][1:]), row["role"])

    def row(self) -> dict[str, Any]:
        """Return the tensor as a row of the manifest."""
        return {"name": self.name, "dtype": self.dtype, "dims": ["B", *self.sizes], "role": self.role}


@dataclass(frozen=True)
class Input(Tensor):
    """One input of a graph, with further entries of its manifest row.

    These entries are `resize` for images, and `default` with `allowed` or `range` for a control.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """Return the input as a row of the manifest."""
        return {**super().row(), **self.facts}


@dataclass(frozen=True)
class Output(Tensor):
    """One output of a graph, with its tolerance.

    A value is allowed to differ from the checkpoint's value by at most absolute + relative × |value|.
    """

    absolute: float = 0.0
    relative: float = 0.0

    def row(self) -> dict[str, Any]:
        """Return the output as a row of the manifest."""
        return {**super().row(), "tolerance": {"absolute": self.absolute, "relative": self.relative}}


@dataclass(frozen=True)
class GraphContract:
    """The inputs and outputs of a graph, in the order of its ports."""

    batch: tuple[int, ...]  # batch sizes that one run may have
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]

    def feed(
        self, canvases: Sequence[NDArray[np.uint8]], controls: Sequence[RoutingControls]
    ) -> dict[str, NDArray[Any]]:
        """Return the arrays of one run by input name; repeat images until the smallest allowed batch is full.

        Args:
            canvases: one or more model inputs, (H, W, 3) each.
            controls: the controls of each image, as numbers. Each graph input of role control gets the value
                of the field that has the input's name.
        """
        count = max(len(canvases), self.batch[0])
        values: dict[str, NDArray[Any]] = {}
        for each in self.inputs:
            if each.role == IMAGES:
                values[each.name] = np.stack(list(islice(cycle(canvases), count)))
            else:
                numbers = [[getattr(one, each.name)] for one in islice(cycle(controls), count)]
                values[each.name] = np.array(numbers, dtype=NUMPY_DTYPES[each.dtype])
        return values

    def by_role(self, outputs: Arrays, rows: slice = slice(None)) -> dict[str, NDArray[Any]]:
        """Convert outputs by name to outputs by role; keep only the batch's images in `rows`."""
        return {each.role: outputs[each.name][rows] for each in self.outputs}
