"""What of a graph can be skipped, seen in the graph itself."""

from collections.abc import Iterator
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


def check_branches(xml_path: Path) -> None:
    """Raise ExportError for a branch on a constant: tracing has frozen what one image chose."""
    for branch in branches(ov.Core().read_model(xml_path)):
        if not _depends_on_input(branch.input_value(0).get_node()):
            raise _frozen(branch.get_friendly_name())


def check_onnx_branches(proto: onnx.ModelProto) -> None:
    """Raise ExportError likewise for a branch of an ONNX graph."""
    makers = {output: node for node in proto.graph.node for output in node.output}
    given = {value.name for value in proto.graph.input}
    for node in proto.graph.node:
        if node.op_type != "If":
            continue
        seen: set[str] = set()
        todo = [node.input[0]]
        while todo:
            name = todo.pop()
            if name in makers and name not in seen:
                todo += makers[name].input
            seen.add(name)
        if not seen & given:
            raise _frozen(node.name)


def _frozen(branch: str) -> ExportError:
    return ExportError(
        f"branch {branch!r} of the graph does not depend on the image: tracing has frozen an expert. "
        "Nothing was written."
    )


def branches(model: ov.Model) -> Iterator[ov.Node]:
    """Every `If`, those inside others included."""
    for node in model.get_ops():
        if node.get_type_name() == "If":
            yield node
            for body in range(2):
                yield from branches(node.get_function(body))


def _general_body(model: ov.Model) -> ov.Model:
    """What answers where no body for one top_k does. A switch gives back all outputs, an expert a map."""
    for node in model.get_ops():
        if node.get_type_name() == "If" and node.get_output_size() > 1:
            return _general_body(node.get_function(1))
    return model


def _convolves(branch: ov.Node) -> list[bool]:
    """Of both sides: whether they hold a convolution."""
    return [
        any(node.get_type_name() in CONVOLUTIONS for node in branch.get_function(side).get_ops())
        for side in range(2)
    ]


def _depends_on_input(node: ov.Node) -> bool:
    seen: set[str] = set()
    todo = [node]
    while todo:
        each = todo.pop()
        if each.get_type_name() == "Parameter":
            return True
        if each.get_friendly_name() not in seen:  # unique in its graph
            seen.add(each.get_friendly_name())
            todo += [value.get_node() for value in each.input_values()]
    return False
