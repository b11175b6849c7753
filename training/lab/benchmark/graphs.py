"""Trace models into a folder as the graph files that engines run; trace each file only once."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import nn

from training.errors import ConfigError
from training.export.contract.spec import Execution, GraphSpec
from training.export.contract.tensors import IMAGES
from training.export.graph.branch_weights import move_weights_into_branches
from training.export.graph.export_graph import ExportGraph, fold_batch_norm, graph_contract
from training.export.graph.fixed_path import Route
from training.export.graph.onnx_file import quick_top_ks, to_onnx
from training.export.proof.openvino_engine import save_openvino
from training.lab.benchmark.eight_bit import quantize, quantize_peer, quantize_route
from training.lab.benchmark.engines import ON_TORCH, BenchmarkPrecision, EngineName, Inputs, Source
from training.lab.benchmark.on_path import RouteGraph, route_of_image, route_to_onnx, with_exported_router
from training.lab.benchmark.subjects import Form, Subject, benchmark_canvas, bound_of
from training.models.detector import Detector
from training.models.mixture.dynamic import mixes_kernels
from training.models.mixture.routing import RoutingControls

log = logging.getLogger(__name__)

# Input types of peers for which random values can be made: NumPy type and largest value.
_RANGES: Mapping[int, tuple[type, float]] = {
    onnx.TensorProto.UINT8: (np.uint8, 255),
    onnx.TensorProto.FLOAT: (np.float32, 1),
    onnx.TensorProto.FLOAT16: (np.float16, 1),
}


class Graphs:
    """The graphs to benchmark.

    They are our models' graphs, for each form and engine, and other projects' ONNX files, called peers.
    """

    def __init__(self, folder: Path, subjects: Mapping[str, Subject], peers: Mapping[str, Path]) -> None:
        self._folder, self._subjects, self._peers = folder, subjects, peers
        self._sources: dict[tuple[object, ...], Source] = {}

    def source(self, form: Form, engine: EngineName, precision: BenchmarkPrecision) -> Source:
        """Return the graph for a form (such as dense or sparse) and an engine; the first call builds it."""
        if precision == "int8":
            return self._in_8_bits(form)
        if form.kind == "peer":
            return self._peers[form.label]
        return self._source(form, engine, self._spec(form, engine, precision))

    def body(self, form: Form, precision: BenchmarkPrecision) -> Source:
        """Return the branch of a sparse OpenVINO graph that runs if a request has the top_k of `form`.

        A sparse graph has several branches, and chooses one of them by top_k.
        """
        spec = self._spec(form, "openvino", precision)
        if self._on_path(form) or precision == "int8":
            return self.source(form, "openvino", precision)  # it does not choose by top_k
        quick = form.top_k in quick_top_ks(self._model(form))
        inside = replace(spec, exactly=form.top_k) if quick else replace(spec, branches="per_expert")
        return self._source(form, "openvino", inside)

    def _source(self, form: Form, engine: EngineName, spec: GraphSpec) -> Source:
        eager = engine in ON_TORCH
        on_path = self._on_path(form)
        key = (form.label, form.top_k if form.kind == "bound" or on_path else None, on_path, spec, eager)
        if key not in self._sources:
            self._sources[key] = self._eager(form, spec) if eager else self._traced(form, spec)
        source = self._sources[key]
        return _for_engine(source, engine) if isinstance(source, Path) else source

    def _in_8_bits(self, form: Form) -> Source:
        """Return the 8-bit OpenVINO graph for a form; the first call quantises it."""
        on_path = self._on_path(form)
        kind = "dense" if form.kind == "twin" else form.kind
        key = (form.label, form.top_k if kind == "bound" or on_path else None, kind, form.batch, "int8")
        if key not in self._sources:
            folder = self._folder / f"{len(self._sources)}-int8"
            log.info(f"{form.label}: quantising, {kind}{f' K={key[1]}' if key[1] is not None else ''}")
            if form.kind == "peer":
                path = quantize_peer(self._peers[form.label], self.inputs(form), folder)
            elif on_path:
                path = quantize_route(self._model(form), self._route(form), folder, form.batch)
            else:
                execution: Execution = "sparse" if kind == "sparse" else "dense"
                path = quantize(self._model(form), execution, folder, form.batch)
            self._sources[key] = path
        return self._sources[key]

    def inputs(self, form: Form) -> Inputs:
        """Return the inputs of a graph: the benchmark's image and the controls.

        A peer, which is another project's model, gets random values in the shapes of its inputs instead.
        """
        if form.kind == "peer":
            first = next(iter(self._subjects.values()))
            return peer_inputs(self._peers[form.label], first.model.config.input_hw)
        config = self._subjects[form.label].model.config
        if self._on_path(form):
            return {IMAGES: np.stack([benchmark_canvas(config.input_hw)] * form.batch)}
        top_k = config.top_k if form.top_k is None else form.top_k
        contract = graph_contract(config, GraphSpec("dense", "graph", max_batch=form.batch))
        image = benchmark_canvas(config.input_hw)
        return contract.feed([image] * form.batch, [RoutingControls(top_k)] * form.batch)

    def _spec(self, form: Form, engine: EngineName, precision: BenchmarkPrecision) -> GraphSpec:
        if form.kind != "sparse" or self._on_path(form):
            return GraphSpec("dense", "graph", max_batch=form.batch)
        if engine == "openvino":
            return GraphSpec("sparse", "graph", ports="bf16" if precision == "bf16" else "f32")
        return GraphSpec("sparse", "graph", branches="per_expert")

    def _on_path(self, form: Form) -> bool:
        """Return whether the form is the route of a network with paths, which needs no branches.

        If such a network averages its experts, its routes are its only form.
        """
        if form.kind == "peer":
            return False
        config = self._subjects[form.label].model.config
        return config.paths is not None and (form.kind == "sparse" or mixes_kernels(config))

    def _eager(self, form: Form, spec: GraphSpec) -> nn.Module:
        if self._on_path(form):
            return RouteGraph(self._model(form), self._route(form), spec).eval()
        return ExportGraph(fold_batch_norm(self._model(form)), spec).eval()

    def _traced(self, form: Form, spec: GraphSpec) -> Path:
        path = self._folder / f"{len(self._sources)}.onnx"
        if self._on_path(form):
            log.info(f"{form.label}: tracing, the route of its image")
            onnx.save(route_to_onnx(self._model(form), self._route(form), spec), path)
            return path
        what = f"with only the experts of K={form.top_k}" if form.kind == "bound" else spec.execution
        if spec.branches == "per_expert":
            what += ", without a switch"
        if spec.exactly is not None:
            what += f" at K={spec.exactly}"
        log.info(f"{form.label}: tracing, {what}")
        onnx.save(to_onnx(self._model(form), spec), path)
        return path

    def _route(self, form: Form) -> Route:
        """Return the route of the benchmark's image at the form's top_k, or else at the default."""
        model = self._model(form)
        top_k = model.config.top_k if form.top_k is None else form.top_k
        return route_of_image(model, benchmark_canvas(model.config.input_hw), top_k)

    def _model(self, form: Form) -> Detector:
        subject = self._subjects[form.label]
        model = subject.model
        if form.kind == "bound":
            assert form.top_k is not None
            model = bound_of(subject, form.top_k)
        if model.config.paths is None or self._on_path(form):
            return model
        return with_exported_router(model)


def _for_engine(path: Path, engine: EngineName) -> Path:
    """Return the file of the graph for an engine; write the file if it does not exist.

    For OpenVINO, the graph is converted to OpenVINO's format. For ONNX Runtime, the weights are moved into
    the branches.
    """
    made = path.with_suffix(".xml") if engine == "openvino" else path.with_name(f"{path.stem}-moved.onnx")
    if made.exists():
        return made
    if engine == "openvino":
        save_openvino(path, made)
    else:
        proto = onnx.load(path)
        move_weights_into_branches(proto)
        onnx.save(proto, made)
    return made


def peer_inputs(path: Path, input_hw: tuple[int, int]) -> Inputs:
    """Return random values for every input of an ONNX model; fill in dynamic sizes as for one image.

    Raises:
        ConfigError: the file is not an ONNX model, or an input has a type that images do not have.
    """
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # the errors of protobuf have no common type, and the file can hold anything
        raise ConfigError(f"{path} is no ONNX model: {error}") from error
    weights = {weight.name for weight in graph.initializer}
    random = np.random.default_rng(0)
    values: dict[str, NDArray[Any]] = {}
    for value in graph.input:
        if value.name in weights:
            continue
        tensor = value.type.tensor_type
        if tensor.elem_type not in _RANGES:
            kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
            raise ConfigError(f"{path}: input {value.name} is {kind}; a peer must take images")
        shape = [size.dim_value for size in tensor.shape.dim]
        dtype, top = _RANGES[tensor.elem_type]
        values[value.name] = (random.random(_closed(shape, input_hw)) * top).astype(dtype)
    return values


def _closed(shape: list[int], input_hw: tuple[int, int]) -> list[int]:
    """Return the shape with a fixed size in place of each dynamic size, which is given as 0.

    The batch gets size 1. Height and width are the last two axes. But if there are four axes and the last has
    size 3, this axis holds the channels, and height and width are the two axes before it. Any other dynamic
    size becomes 3, because it is usually the number of channels.
    """
    rows = 1 if len(shape) == 4 and shape[-1] == 3 else 2
    assumed = {0: 1, rows: input_hw[0], rows + 1: input_hw[1]}
    return [size or assumed.get(axis, 3) for axis, size in enumerate(shape)]
