"""Build the graphs of a model with paths for a target: one for the router, and one for each route."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from training.export.contract.precision import Precision
from training.export.contract.spec import GraphSpec
from training.export.graph.export_graph import graph_contract
from training.export.graph.fixed_path import Route, fixed_network, routes_of
from training.export.graph.path_router import PathGraph, router_contract, router_to_onnx
from training.export.graph.shared_weights import WEIGHTS_FILE, share_weights
from training.export.graph.sibling import SiblingTracer
from training.export.proof.census import check_ports
from training.export.proof.engine import Engine
from training.export.proof.openvino_engine import save_openvino
from training.export.proof.path_engine import PathEngine
from training.export.targets.build import Source
from training.export.targets.target import Built, Target
from training.models.network import Network
from training.progress import bar

ROUTER = "router"  # name of its graph
# Images of a path that are enough to take its value ranges from; with fewer, all images count.
CALIBRATING = 16

log = logging.getLogger(__name__)


def build_paths(target: Target, folder: Path, spec: GraphSpec, source: Source) -> Built:
    """Write the graphs of a model with paths into a folder, and return the router's graph with the routes.

    The router's graph is in float32 in every precision. The ranges of an 8-bit graph come from the images
    that take its path; if these are fewer than CALIBRATING (16), from all images. OpenVINO's graphs of the
    routes share one file of weights.

    Raises:
        ExportError: the graph of a route could not be built, or its tensors are not those of the manifest.
    """
    model, routes = source.model, routes_of(source.model)
    tracer, paths = SiblingTracer(), _paths_of(source.model, source.canvases(source.images.calibration))
    with bar(len(routes) + 1, "graph", f"build {target.name}") as progress:
        for route in routes:
            images = replace(source.images, calibration=_taking(route.path, paths, source.images.calibration))
            of_route = replace(source, model=fixed_network(model, route), images=images, tracer=tracer)
            alone = folder / route.name
            alone.mkdir()
            built = target.build_faster(alone, spec, of_route)
            check_ports(built.path, graph_contract(of_route.model.config, spec))
            for path in alone.iterdir():
                path.rename(folder / f"{route.name}{path.suffix}")
            alone.rmdir()
            progress.update()
        router = _build_router(folder / f"{ROUTER}{built.path.suffix}", model, spec)
        progress.update()
    weights, before = dict[str, Path](), _size_mb(folder)
    if router.suffix == ".xml":
        share_weights([router.with_stem(route.name) for route in routes], folder / WEIGHTS_FILE)
        weights = {route.name: folder / WEIGHTS_FILE for route in routes}
    instead = f" instead of {before:.1f} MB, as equal weights are stored once" if weights else ""
    log.info(f"{target.name}: {len(routes) + 1} graphs, {_size_mb(folder):.1f} MB{instead}")
    return Built(router, spec, skippable_experts=0, routes=tuple(routes), weights=weights)


def open_paths(
    target: Target,
    router: Path,
    routes: Iterable[Route],
    precision: Precision,
    weights: Mapping[str, Path],
) -> PathEngine:
    """Return an engine for the graphs of a model with paths.

    Args:
        target: of the artifact.
        router: the router's graph, beside which those of the routes are.
        routes: every route.
        precision: of the routes.
        weights: files with the weights of graphs, by the graphs' names; the others have their own weights.
    """

    def open_route(route: Route) -> Engine:
        return target.open(router.with_stem(route.name), precision, weights.get(route.name))

    return PathEngine(target.open(router, "f32", weights.get(ROUTER)), routes, open_route)


def _size_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6


def _build_router(path: Path, model: Network, spec: GraphSpec) -> Path:
    onnx_path = path.with_suffix(".onnx")
    onnx.save(router_to_onnx(model, spec), onnx_path)
    if path != onnx_path:
        save_openvino(onnx_path, path)
        onnx_path.unlink()
    check_ports(path, router_contract(model.config, spec))
    return path


@torch.inference_mode()
def _paths_of(model: Network, canvases: Sequence[NDArray[np.uint8]]) -> list[int]:
    """Return the path of each image."""
    router = PathGraph(model)
    return [int(router(torch.from_numpy(canvas[None])).argmax()) for canvas in canvases]


def _taking(
    path: int, paths: Sequence[int], images: Sequence[NDArray[np.uint8]]
) -> Sequence[NDArray[np.uint8]]:
    """Return the images that take a path, or all images if these are too few to calibrate on."""
    own = [image for image, taken in zip(images, paths, strict=True) if taken == path]
    return own if len(own) >= CALIBRATING else images
