"""Trace a network to ONNX."""

import contextlib
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx
import torch

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
    any_batch = spec.max_batch > 1
    contract = graph_contract(model.config, spec)
    images, *controls = _example(model, spec, contract)
    batch = {0: torch.export.Dim("batch", max=spec.max_batch)}
    open_sizes = (batch, (batch,) * len(controls)) if controls else (batch,)
    graph = ExportGraph(fold_batch_norm(model), spec).eval()
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


def _example(model: Network, spec: GraphSpec, contract: GraphContract) -> list[torch.Tensor]:
    """Return the inputs to trace with: blank images, and no threshold.

    If the graph is valid for only one top_k, the inputs have this top_k, otherwise the model's default.
    """
    # The tracer would take an open batch of size 1 for a constant.
    batch = 2 if spec.max_batch > 1 else spec.batches[0]
    height, width = model.config.input_hw
    controls = RoutingControls(spec.exactly or int(model.default_controls().top_k))
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
