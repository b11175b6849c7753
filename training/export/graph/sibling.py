"""Trace only one of several networks with the same structure; the others get its graph with their weights.

The routes of a network differ in weights alone, and tracing takes most of the time of an export.
"""

from dataclasses import dataclass

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from training.export.contract.spec import GraphSpec
from training.export.graph.export_graph import fold_batch_norm
from training.export.graph.onnx_file import to_onnx
from training.models.network import Network

PREFIX = "model."  # of a weight's name in a graph, before its name in the network


@dataclass(frozen=True)
class _Traced:
    state: dict[str, Tensor]  # with batch norms folded
    proto: onnx.ModelProto


class SiblingTracer:
    """Converts networks to ONNX as to_onnx does, and keeps one graph for each structure that it has seen."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, GraphSpec], _Traced] = {}

    def __call__(self, model: Network, spec: GraphSpec) -> onnx.ModelProto:
        """Return the network as ONNX; raise ExportError as to_onnx does."""
        folded = fold_batch_norm(model)
        structure, state = (repr(folded), spec), folded.state_dict()
        if known := self._known.get(structure):
            proto = with_weights(known.proto, known.state, state)
            if proto is not None:
                return proto
        proto = to_onnx(folded, spec)
        self._known[structure] = _Traced(state, proto)
        return proto


def with_weights(
    proto: onnx.ModelProto, before: dict[str, Tensor], after: dict[str, Tensor]
) -> onnx.ModelProto | None:
    """Return a copy of a graph in which the weights of a network are replaced by those of another.

    Return None if a weight that differs is not in the graph under its name, because the graph may then hold
    a number that was computed from it.
    """
    if any(name not in before or before[name].shape != tensor.shape for name, tensor in after.items()):
        return None
    changed = {name: each for name, each in after.items() if not torch.equal(each, before[name])}
    copied = onnx.ModelProto()
    copied.CopyFrom(proto)
    held = {each.name: each for each in copied.graph.initializer}
    for name, tensor in changed.items():
        weight = held.get(PREFIX + name)
        if weight is None:
            return None
        values = tensor.numpy(force=True)
        known = numpy_helper.to_array(weight)
        if known.shape != values.shape or known.dtype != values.dtype:
            return None
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    return copied
