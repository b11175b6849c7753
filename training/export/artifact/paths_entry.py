"""Build the entry `paths` of a manifest: the router, and the routes with graphs, experts and costs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.sample import Sample
from training.export.contract.tensors import PATH_PROBS, Arrays
from training.export.graph.fixed_path import Route
from training.export.targets.paths import ROUTER
from training.models.cost import Cost

# P paths · L mixture layers · E experts of the widest layer


class PathCount:
    """Counts the images of each of P paths."""

    def __init__(self, paths: int) -> None:
        self._images = np.zeros(paths, dtype=np.int64)

    def noted(self, answers: Iterable[tuple[Sample, Arrays]]) -> Iterator[tuple[Sample, Arrays]]:
        """Yield answers by role, and count the path that each of their images took."""
        for sample, outputs in answers:
            self._images[int(outputs[PATH_PROBS][0].argmax())] += 1
            yield sample, outputs

    @property
    def share(self) -> list[float] | None:
        """Return the share of images of each path; None if no image was counted."""
        total = int(self._images.sum())
        return [round(float(each), 6) for each in self._images / total] if total else None


def paths_entry(routes: Sequence[Route], cost: Cost, share: Sequence[float] | None) -> dict[str, Any]:
    """Return the entry of a manifest.

    Args:
        routes: all routes, path by path, in ascending order of top_k.
        cost: of the model with paths.
        share: share of the measured images of each path; None if none were measured.
    """
    paths = routes[-1].path + 1
    return {
        "router": ROUTER,
        "router_output": {"name": PATH_PROBS, "dtype": "float32", "dims": ["B", paths]},
        "routes": [
            {
                "path": route.path,
                "top_k": route.top_k,
                "graph": route.name,
                "gates": route.gates.tolist(),
                "probs": route.probs.tolist(),
                "gflops": route_gflops(route, cost),
            }
            for route in routes
        ],
        "share": None if share is None else list(share),
    }


def route_gflops(route: Route, cost: Cost) -> float:
    """Return the GFLOPs that an image on a route takes, with those of the router."""
    rows = zip(route.gates, cost.experts.values(), strict=True)
    return cost.fixed + sum(sum(np.array(each)[row[: len(each)] > 0].tolist()) for row, each in rows)


def routes_of_entry(entry: Mapping[str, Any]) -> list[Route]:
    """Return the routes of a manifest's entry."""

    def rows(values: Sequence[Sequence[float]]) -> NDArray[np.float32]:
        return np.array(values, dtype=np.float32)

    return [
        Route(each["path"], each["top_k"], rows(each["gates"]), rows(each["probs"]))
        for each in entry["routes"]
    ]
