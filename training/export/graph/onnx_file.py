"""Trace a network to ONNX."""

import contextlib
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import onnx
import torch
from torch import nn

from training.config import ModelConfig
from training.errors import ExportError
from training.export.contract.spec import GraphSpec
from training.export.contract.tensors import GraphContract
from training.export.graph.export_graph import ExportGraph, fold_batch_norm, graph_contract
from training.export.graph.switch import switch_by_top_k
from training.models.mixture.experts import SimpleExpert
from training.models.mixture.routing import RoutingControls
from training.models.network import Network

OPSET = 18

# Operators of a static graph for NPUs: no control flow, no sorting, no lookup or shape that depends on data.
# Some routers shrink a map by AveragePool. Group norm becomes InstanceNormalization: sums of fixed size.
STATIC_OPERATORS = frozenset(
    "Add And AveragePool BatchNormalization Cast Clip Concat Constant Conv ConvTranspose Cos Div Equal Exp "  # noqa: SIM905
    "Expand Gather Gemm Greater GreaterOrEqual InstanceNormalization Less LessOrEqual MatMul Max Mul Neg Not "
    "Or Pad ReduceMax ReduceMean ReduceSum Reshape Resize Sigmoid Sin Slice Softmax Split Sqrt Squeeze Sub "
    "Transpose Unsqueeze Where".split()
)

# A graph for TensorRT may also select candidates and read the size of the batch.
TENSORRT_OPERATORS = STATIC_OPERATORS | {"Floor", "GatherElements", "Shape", "TopK"}


def to_onnx(model: Network, spec: GraphSpec) -> onnx.ModelProto:
    """Return the network as ONNX, traced with folded batch norm.

    Raises:
        ExportError: the graph contains an operator that an engine of its target may not support.
    """
    proto = _trace(model, spec)
    if spec.fixed_batch is not None or spec.max_batch > 1:
        _check_operators(proto, TENSORRT_OPERATORS)
    elif spec.execution == "sparse" and spec.exactly is None:  # a body has no bodies of its own
        if spec.branches == "best":
            bodies = {top_k: _trace(model, replace(spec, exactly=top_k)) for top_k in quick_top_ks(model)}
            return switch_by_top_k(proto, bodies) if bodies else proto
    elif spec.selection == "service":
        _check_operators(proto, STATIC_OPERATORS)
    return proto


def quick_top_ks(model: Network) -> tuple[int, ...]:
    """Return the top_k values for which a sparse graph gets a separate subgraph without branches.

    The model's default top_k comes first. The tuple is empty if no mixture layer consists of SimpleExpert.
    """
    if not any(isinstance(layer.experts[0], SimpleExpert) for layer in model.mixture_layers().values()):
        # There is nothing to gather, and inside a branch CPUs sum the outputs of light experts one by one.
        return ()
    return tuple(dict.fromkeys((model.config.top_k, 1, model.config.allowed_top_k[-1])))


def _trace(model: Network, spec: GraphSpec) -> onnx.ModelProto:
    contract = graph_contract(model.config, spec)
    controls = RoutingControls(spec.exactly or int(model.default_controls().top_k))
    example = _example(model.config, spec, contract, controls)
    return _traced(ExportGraph(fold_batch_norm(model), spec).eval(), contract, spec, example)


def trace_static(
    graph: nn.Module, config: ModelConfig, contract: GraphContract, spec: GraphSpec
) -> onnx.ModelProto:
    """Return a graph as trace_images does, after a check of its operators.

    Raises:
        ExportError: the graph contains an operator that an engine of its target may not support.
    """
    proto = trace_images(graph, config, contract, spec)
    _check_operators(proto, STATIC_OPERATORS)
    return proto


def trace_images(
    graph: nn.Module, config: ModelConfig, contract: GraphContract, spec: GraphSpec
) -> onnx.ModelProto:
    """Return a graph that takes only images as ONNX, for the batch sizes of `spec`.

    Args:
        graph: maps images to the outputs of `contract`.
        config: of the model; it states the size of the images.
    """
    return _traced(graph, contract, spec, _example(config, spec, contract, RoutingControls(1)))


def _traced(
    graph: nn.Module, contract: GraphContract, spec: GraphSpec, example: Sequence[torch.Tensor]
) -> onnx.ModelProto:
    any_batch, (images, *controls) = spec.max_batch > 1, example
    batch = {0: torch.export.Dim("batch", max=spec.max_batch)}
    open_sizes = (batch, (batch,) * len(controls)) if controls else (batch,)
    with torch.no_grad(), _quiet_exporter():
        # strict=False captures by running the module; the default compiles it, which takes far longer.
        captured = torch.export.export(
            graph, (images, *controls), strict=False, dynamic_shapes=open_sizes if any_batch else None
        )
        program = torch.onnx.export(
            captured,
            dynamo=True,
            opset_version=OPSET,
            input_names=[each.name for each in contract.inputs],
            output_names=[each.name for each in contract.outputs],
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    _forget_origin(proto.graph)
    for value in (*proto.graph.input, *proto.graph.output):
        batch_size = value.type.tensor_type.shape.dim[0]
        if batch_size.dim_param:
            batch_size.dim_param = "batch"  # the exporter numbers open sizes
    return proto


def _example(
    config: ModelConfig, spec: GraphSpec, contract: GraphContract, controls: RoutingControls
) -> list[torch.Tensor]:
    """Return the inputs to trace with: blank images, each with the same controls."""
    # The tracer would take an open batch of size 1 for a constant.
    batch = 2 if spec.max_batch > 1 else spec.batches[0]
    height, width = config.input_hw
    blank = np.zeros((height, width, 3), dtype=np.uint8)
    values = contract.feed([blank] * batch, [controls] * batch)
    return [torch.from_numpy(values[each.name]) for each in contract.inputs]


def _forget_origin(graph: onnx.GraphProto) -> None:
    """Remove the metadata that PyTorch's exporter wrote: paths and stack traces of the exporting machine."""
    for each in (graph, *graph.input, *graph.output, *graph.value_info, *graph.node):
        each.ClearField("metadata_props")
        each.ClearField("doc_string")
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _forget_origin(attribute.g)


def _check_operators(proto: onnx.ModelProto, allowed: frozenset[str]) -> None:
    foreign = Counter(n.op_type for n in proto.graph.node if n.op_type not in allowed)
    if foreign:
        raise ExportError(f"the graph holds operators its targets may lack: {dict(foreign)}")


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence logs and warnings inside the block.

    PyTorch's ONNX exporter reports optional packages that are missing, and deprecations of its own code.
    """
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
