"""Time every model in every setting on the same images, all of them in turn, with OpenVINO on one thread."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from training.errors import ConfigError
from training.export.contract.spec import GraphSpec
from training.export.contract.tensors import IMAGES
from training.export.graph.export_graph import graph_contract
from training.export.graph.onnx_file import to_onnx
from training.export.proof.openvino_engine import save_openvino
from training.lab.benchmark.engines import FloatPrecision, Inputs, OpenVinoEngine, Run
from training.lab.benchmark.graphs import peer_inputs
from training.lab.benchmark.on_path import route_of_image, route_to_onnx, with_exported_router
from training.lab.pareto.candidates import Candidate, Setting
from training.models.detector import Detector
from training.models.mixture.routing import RoutingControls
from training.trainer.checkpoint import load_detector

THREADS = 1
DENSE = GraphSpec("dense", "graph")

log = logging.getLogger(__name__)


class NetworkGraphs:
    """The graphs of one checkpoint; each is traced and compiled once."""

    def __init__(self, model: Detector, folder: Path, precision: FloatPrecision) -> None:
        """Take an empty folder for the files of the graphs."""
        self._model, self._folder, self._precision = model, folder, precision
        self._engine = OpenVinoEngine(precision, THREADS)
        self._requests: dict[Path, Any] = {}

    def run_of(self, setting: Setting, canvas: NDArray[np.uint8]) -> Run:
        """Return a function that runs the network in a setting on one model input (H, W, 3).

        In a network with paths, this is the router of the paths, and the network of the input's route.
        """
        config = self._model.config
        if config.paths is not None and setting.execution == "sparse":
            route = route_of_image(self._model, canvas, setting.top_k)
            graph = self._saved(route.name, lambda: route_to_onnx(self._model, route, DENSE))
            inputs: Inputs = {IMAGES: canvas[None]}
        else:
            sparse = GraphSpec("sparse", "graph", ports=self._precision)
            spec = sparse if setting.execution == "sparse" else DENSE
            graph = self._saved(setting.execution, lambda: to_onnx(self._whole(), spec))
            controls = RoutingControls(setting.top_k, setting.weight_threshold)
            inputs = graph_contract(config, DENSE).feed([canvas], [controls])
        if graph not in self._requests:
            self._requests[graph] = self._engine.request(graph, inputs)
        return partial(_infer, self._requests[graph], inputs)

    def _whole(self) -> Detector:
        """Return the network; one with paths has the router of its routes, so that times can be compared."""
        return self._model if self._model.config.paths is None else with_exported_router(self._model)

    def _saved(self, name: str, trace: Callable[[], onnx.ModelProto]) -> Path:
        path = self._folder / f"{name}.xml"
        if not path.exists():
            onnx.save(trace(), path.with_suffix(".onnx"))
            save_openvino(path.with_suffix(".onnx"), path)
        return path


def prepare_candidate(
    candidate: Candidate,
    settings: Sequence[Setting],
    canvases: Sequence[NDArray[np.uint8]],
    folder: Path,
    precision: FloatPrecision,
) -> dict[Setting, Run]:
    """Return, for each setting, a function that runs every checkpoint of a model on every input once."""
    calls: dict[Setting, list[Run]] = {setting: [] for setting in settings}
    for index, checkpoint in enumerate(candidate.checkpoints):
        log.info(f"tracing {checkpoint}")
        model, _ = load_detector(checkpoint)
        place = folder / f"{candidate.label}-{index}"
        place.mkdir()
        graphs = NetworkGraphs(model, place, precision)
        for setting in settings:
            calls[setting] += [graphs.run_of(setting, canvas) for canvas in canvases]
    return {setting: partial(_call_all, runs) for setting, runs in calls.items()}


def prepare_peers(
    peers: Mapping[str, Path], input_hw: tuple[int, int], precision: FloatPrecision
) -> dict[str, Run]:
    """Return, for each other detector, a function that runs it once on random values.

    Args:
        input_hw: size of the images where a detector allows any.

    Raises:
        ConfigError: a file is not an ONNX model that takes images, or OpenVINO cannot run it.
    """
    engine, found = OpenVinoEngine(precision, THREADS), dict[str, Run]()
    for label, path in peers.items():
        inputs = peer_inputs(path, input_hw)
        try:
            request = engine.request(path, inputs)
            request.infer()
        except Exception as error:  # OpenVINO has types of its own, and a peer can hold anything
            said = " ".join(str(error).split())
            raise ConfigError(f"openvino cannot run the peer {label}: {said}") from error
        found[label] = request.infer
    return found


def _infer(request: Any, inputs: Inputs) -> None:
    for name, values in inputs.items():
        request.get_tensor(name).data[:] = values
    request.infer()


def _call_all(runs: Sequence[Run]) -> None:
    for run in runs:
        run()
