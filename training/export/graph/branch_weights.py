"""Move weights that only a branch reads into that branch.

The exporter leaves every weight in the outer graph. ONNX Runtime prepares the weights of a convolution for
its fast kernels only if they are constants of the convolution's own graph. A branch that reads weights from
outside runs plain convolutions. These cost the time that skipping experts saves.
"""

from collections.abc import Iterator

import onnx


def move_weights_into_branches(proto: onnx.ModelProto) -> None:
    """Move each weight into the branch that reads it; if several branches do, each gets a copy."""
    _sink(proto.graph)


def _sink(graph: onnx.GraphProto) -> None:
    branches = list(_branches(graph))
    here = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    readers = [(branch, _read_in(branch)) for branch in branches]
    stay = []
    for weight in graph.initializer:
        deeper = [branch for branch, names in readers if weight.name in names]
        if weight.name in here or not deeper:
            stay.append(weight)
        for branch in deeper if weight.name not in here else ():
            branch.initializer.append(weight)
    moved = len(graph.initializer) - len(stay)
    if moved:
        kept = [onnx.TensorProto.FromString(weight.SerializeToString()) for weight in stay]
        del graph.initializer[:]
        graph.initializer.extend(kept)
    for branch in branches:
        _sink(branch)


def _branches(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g


def _read_in(graph: onnx.GraphProto) -> set[str]:
    """Return the names that a graph, or any graph inside it, reads."""
    names = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for branch in _branches(graph):
        names |= _read_in(branch)
    return names
