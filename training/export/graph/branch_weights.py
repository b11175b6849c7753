"""Move weights that only a branch reads into that branch.

The exporter leaves every weight in the outer graph. ONNX Runtime prepares the weights of a convolution for
its fast kernels only if they are constants of the graph or branch that holds the convolution. A branch that
reads weights from the outer graph runs slower kernels, and loses the time that skipping experts saves.
"""

import onnx


def move_weights_into_branches(proto: onnx.ModelProto) -> None:
    """Move each weight into the branch that reads it; if several branches read it, each gets a copy."""
    _move_down(proto.graph)


def _move_down(graph: onnx.GraphProto) -> None:
    branches = _branches(graph)
    here, inside = _read_by(graph), [_read_inside(branch) for branch in branches]
    for index in reversed(range(len(graph.initializer))):
        weight = graph.initializer[index]
        readers = [branch for branch, names in zip(branches, inside, strict=True) if weight.name in names]
        if readers and weight.name not in here:
            for branch in readers:
                branch.initializer.append(weight)
            del graph.initializer[index]
    for branch in branches:
        _move_down(branch)


def _branches(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    return [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]


def _read_by(graph: onnx.GraphProto) -> set[str]:
    return {name for node in graph.node for name in node.input} | {value.name for value in graph.output}


def _read_inside(graph: onnx.GraphProto) -> set[str]:
    """Return the names that a graph or any of its branches reads."""
    return _read_by(graph).union(*map(_read_inside, _branches(graph)))
