"""Define the manifest's `paths`: a router graph, and for each path and top_k a graph with fixed experts.

The router chooses a path for each image, before anything else runs. A path and a top_k determine which
experts run in every mixture layer, and with which weights. So experts and weights are in the manifest, and
the graphs do not return them.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import product
from math import isclose
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from service.artifact.task_settings import Share
from service.artifact.tensors import ControlInput, NotNegative, Part, Positive

# P paths · L mixture layers · E experts of the widest layer

TOP_K = "top_k"  # the only control of a model with paths
_ROUNDING = 1e-3  # by which shares and weights may miss a sum of 1

Name = Annotated[str, Field(min_length=1)]
Table = Annotated[tuple[tuple[Share, ...], ...], Field(min_length=1)]  # (L, E)


class RouterOutput(Part):
    """The output of the router graph, (B, P): the probability of each path."""

    name: Name
    dtype: Literal["float32"]
    dims: tuple[Literal["B"], Positive]


class PathRoute(Part):
    """One path at one top_k: its graph, and the experts that the graph computes for every image."""

    path: Annotated[int, Field(ge=0)]
    top_k: Annotated[int, Field(ge=0)]
    graph: Name
    gates: Table  # weights of the experts, rows as in `mixture`; 0: not in the graph
    probs: Table  # softmax of the path's scores
    gflops: NotNegative  # for one image

    def check_layers(self, num_experts: Sequence[int]) -> None:
        """Check gates and probs; `num_experts` has the number of experts of each row.

        Raises:
            ValueError: a table has another size, or a row is no distribution over the layer's experts.
        """
        for name, table in (("gates", self.gates), ("probs", self.probs)):
            sizes = {len(row) for row in table}
            if len(table) != len(num_experts) or sizes != {max(num_experts)}:
                found = f"{len(table)} rows of {', '.join(map(str, sorted(sizes)))}"
                raise ValueError(
                    f"{self._where}: {name} needs {len(num_experts)} rows of {max(num_experts)}, not {found}"
                )
            for row, (values, experts) in enumerate(zip(table, num_experts, strict=True)):
                if any(values[experts:]):
                    raise ValueError(
                        f"{self._where}: {name} row {row} has values after its {experts} experts"
                    )
                wanted = 0.0 if name == "gates" and self.top_k == 0 else 1.0
                if not isclose(sum(values), wanted, abs_tol=_ROUNDING):
                    raise ValueError(
                        f"{self._where}: {name} row {row} sums to {sum(values):.4g}, not {wanted:g}"
                    )
        for row, values in enumerate(self.gates):
            if (chosen := sum(value > 0 for value in values)) > self.top_k:
                raise ValueError(f"{self._where}: gates row {row} chooses {chosen} experts")

    @property
    def key(self) -> tuple[int, int]:
        """Return the path and the top_k."""
        return self.path, self.top_k

    @property
    def where(self) -> str:
        """Return the route's name for messages."""
        return f"path {self.path} at top_k {self.top_k}"

    @property
    def _where(self) -> str:
        return f"paths: {self.where}"


class Paths(Part):
    """The paths of a model: the router graph, and the routes, one for each path and top_k."""

    router: Name  # name of a graph
    router_output: RouterOutput
    routes: Annotated[tuple[PathRoute, ...], Field(min_length=1)]  # by path, then by top_k
    share: tuple[Share, ...] | None  # of the baseline's images that take each path; None: not measured

    @property
    def count(self) -> int:
        """Return the number of paths."""
        return self.router_output.dims[1]

    @cached_property
    def top_ks(self) -> tuple[int, ...]:
        """Return the values of top_k for which each path has a graph, ascending."""
        return tuple(sorted({route.top_k for route in self.routes}))

    def route(self, path: int, top_k: int) -> PathRoute:
        """Return the route of a path at one of `top_ks`."""
        return self.routes[path * len(self.top_ks) + self.top_ks.index(top_k)]

    @model_validator(mode="after")
    def _every_route_once(self) -> Self:
        if self.count < 2:
            raise ValueError(f"router_output: a model with paths has at least 2, not {self.count}")
        wanted = list(product(range(self.count), self.top_ks))
        found = [(route.path, route.top_k) for route in self.routes]
        if found != wanted:
            missing = [pair for pair in wanted if pair not in found]
            what = "path {} at top_k {} is missing".format(*missing[0]) if missing else "wrong order"
            raise ValueError(
                f"routes: {what}; each of {self.count} paths needs each top_k of {list(self.top_ks)} once,"
                " all of a path together, ascending"
            )
        if self.share is not None:
            if len(self.share) != self.count:
                raise ValueError(f"share: has {len(self.share)} entries for {self.count} paths")
            if not isclose(sum(self.share), 1.0, abs_tol=_ROUNDING):
                raise ValueError(f"share: sums to {sum(self.share):.4g}, not 1")
        return self

    def check_graphs(self, names: Sequence[str]) -> None:
        """Check that the router and each route have a graph of their own, and that no other graph exists.

        Raises:
            ValueError: a graph is missing, used twice or unused.
        """
        used = [self.router, *(route.graph for route in self.routes)]
        for name in used:
            if name not in names:
                raise ValueError(f"paths: there is no graph {name!r} in graphs")
            if used.count(name) > 1:
                raise ValueError(f"paths: graph {name!r} is used twice")
        for name in names:
            if name not in used:
                raise ValueError(f"graphs: no route uses the graph {name!r}")

    def check_controls(self, controls: Sequence[ControlInput]) -> None:
        """Check that top_k is the only control, and allows exactly the values that have graphs.

        Raises:
            ValueError: there is another control, or top_k allows other values.
        """
        if [row.name for row in controls] != [TOP_K]:
            found = ", ".join(row.name for row in controls) or "none"
            raise ValueError(f"inputs: the only control of a model with paths is {TOP_K}, not {found}")
        allowed = controls[0].allowed
        if allowed is None or tuple(sorted(allowed)) != self.top_ks:
            raise ValueError(
                f"inputs: {TOP_K} must allow {list(self.top_ks)}, for which paths.routes has graphs,"
                f" not {None if allowed is None else list(allowed)}"
            )
