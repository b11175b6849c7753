"""Assemble the outputs of a model with paths from its router, its routes and its manifest."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.artifact.manifest import Manifest
from service.artifact.paths import TOP_K, PathRoute, Paths
from service.artifact.tensors import TensorRow
from service.backends.route_choice import Inputs
from service.errors import BackendFailed
from service.types import RawOutputs

# B images of a batch · P paths · L mixture layers · E experts of the widest layer

FILLED = ("gates", "router_probs", "path_probs")  # roles of the outputs that no graph of a path returns

Rows = dict[tuple[int, int], list[int]]
"""The rows of a batch by their route, which is a path and a top_k."""


@dataclass(frozen=True)
class GraphTensors:
    """The tensors of one of the graphs; see `service.backends.contract.Tensors`."""

    inputs: tuple[TensorRow, ...]
    outputs: tuple[TensorRow, ...]
    batch: tuple[int, ...]

    @classmethod
    def of_router(cls, manifest: Manifest, paths: Paths) -> "GraphTensors":
        """Return the tensors of the router."""
        row = TensorRow(name=paths.router_output.name, dtype="f32", dims=paths.router_output.dims)
        return cls((manifest.images,), (row,), manifest.batch)

    @classmethod
    def of_path(cls, manifest: Manifest) -> "GraphTensors":
        """Return the tensors of the graph of every route."""
        outputs = tuple(row for row in manifest.outputs if row.role not in FILLED)
        return cls((manifest.images,), outputs, manifest.batch)


class PathOutputs:
    """The outputs of one batch. For each route in `rows`, the caller runs its graph, and calls `fill`."""

    def __init__(self, manifest: Manifest, inputs: Inputs) -> None:
        """Choose the route of each image.

        Args:
            manifest: of a model with paths.
            inputs: of the batch, with the router's probabilities; see `RouteChoice.routed`.

        Raises:
            BackendFailed: a top_k has no graph.
        """
        assert manifest.paths is not None
        probabilities = inputs[manifest.paths.router_output.name]  # (B, P)
        self.rows: Rows = {}
        top_ks = inputs[TOP_K][:, 0].tolist()
        for row, path in enumerate(probabilities.argmax(axis=1).tolist()):
            if top_ks[row] not in manifest.paths.top_ks:
                raise BackendFailed(f"model {manifest.name!r} has no graph for top_k {top_ks[row]}")
            self.rows.setdefault((path, top_ks[row]), []).append(row)
        batch = len(probabilities)
        self.arrays: RawOutputs = {
            row.name: np.empty(row.shape(batch), row.numpy_dtype) for row in manifest.outputs
        }
        self._manifest = manifest
        manifest.read(self.arrays, "path_probs")[:] = probabilities

    def fill(self, route: PathRoute, rows: Sequence[int], outputs: RawOutputs) -> None:
        """Write the rows of a route: the outputs of its graph, and its fixed experts; ignore padding rows."""
        for name, array in outputs.items():
            self.arrays[name][rows] = array[: len(rows)]
        self._manifest.read(self.arrays, "gates")[rows] = route.gates
        self._manifest.read(self.arrays, "router_probs")[rows] = route.probs
