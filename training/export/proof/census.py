"""What of a graph can be skipped, seen in the graph itself."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
import openvino as ov

from training.errors import ExportError

CONVOLUTIONS = ("Convolution", "GroupConvolution")


def skippable_experts(xml_path: Path) -> int:
    """Count the branches that convolve on one side only: the experts that can be skipped one by one.

    Of a switched graph, those of the body that is right for every top_k and threshold.
    """
    body = _general_body(ov.Core().read_model(xml_path))
    return sum(_convolves(branch).count(True) == 1 for branch in branches(body))


def check_branches(proto: onnx.ModelProto) -> None:
    """Raise ExportError for a branch on a constant: tracing has frozen what one image chose."""
    given = {value.name for value in proto.graph.input}
    nodes = list(_nodes(proto.graph))
    makers = {output: node for node in nodes for output in node.output}
    for node in nodes:
        if node.op_type == "If" and not given & _read(node.input[0], makers):
            raise ExportError(
                f"branch {node.name!r} of the graph does not depend on the image: tracing has frozen an "
                "expert. Nothing was written."
            )


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield every node, those inside branches included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from _nodes(attribute.g)


def _read(name: str, makers: Mapping[str, onnx.NodeProto]) -> set[str]:
    """Return the names of all values that one is made of, itself included."""
    seen: set[str] = set()
    todo = [name]
    while todo:
        value = todo.pop()
        if value not in seen:
            seen.add(value)
            todo += makers[value].input if value in makers else ()
    return seen


def branches(model: ov.Model) -> Iterator[ov.Node]:
    """Yield every `If`, those inside others included."""
    for node in model.get_ops():
        if node.get_type_name() == "If":
            yield node
            for body in range(2):
                yield from branches(node.get_function(body))


def _general_body(model: ov.Model) -> ov.Model:
    """Return what answers where no body for one top_k does."""
    for node in model.get_ops():
        if node.get_type_name() == "If" and node.get_output_size() > 1:  # an expert gives back one map
            return _general_body(node.get_function(1))
    return model


def _convolves(branch: ov.Node) -> list[bool]:
    """Return of both sides whether they hold a convolution."""
    return [
        any(node.get_type_name() in CONVOLUTIONS for node in branch.get_function(side).get_ops())
        for side in range(2)
    ]
