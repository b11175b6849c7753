"""Check the file of a graph: its inputs and outputs, and which experts it can skip."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import onnx
import openvino as ov

from training.errors import ExportError
from training.export.contract.tensors import GraphContract
from training.export.graph.int8 import CONVOLUTIONS

DTYPES = {"boolean": "bool"}  # where OpenVINO's name of a type is not the manifest's


def check_ports(graph_path: Path, contract: GraphContract) -> None:
    """Check that a graph has the inputs and outputs of `contract`, which the artifact's manifest will state.

    Raises:
        ExportError: a tensor is missing, superfluous, or of another type or size; the message names it.
    """
    model = ov.Core().read_model(graph_path)
    batch = str(contract.batch[0]) if len(contract.batch) == 1 else "open"
    for kind, ports, rows in (
        ("input", model.inputs, contract.inputs),
        ("output", model.outputs, contract.outputs),
    ):
        found = {port.get_any_name(): _shown(port) for port in ports}
        promised = {row.name: f"{row.dtype} [{', '.join([batch, *map(str, row.sizes)])}]" for row in rows}
        for name in sorted(promised.keys() - found.keys()):
            raise ExportError(f"the exported graph has no {kind} {name!r}, which its manifest promises")
        for name in sorted(found.keys() - promised.keys()):
            raise ExportError(f"the exported graph has an {kind} {name!r}, which its manifest does not name")
        for name, expected in promised.items():
            if found[name] != expected:
                raise ExportError(
                    f"{kind} {name!r} of the exported graph is {found[name]}, and its manifest promises "
                    f"{expected}. Nothing was written."
                )


def _shown(port: ov.Output) -> str:
    """Return the type and the sizes of an input or output, as text."""
    dtype = port.get_element_type().get_type_name()
    sizes = (str(size.get_length()) if size.is_static else "open" for size in port.partial_shape)
    return f"{DTYPES.get(dtype, dtype)} [{', '.join(sizes)}]"


def skippable_experts(graph: Path | bytes) -> int:
    """Return the number of experts that a graph can skip.

    An expert can be skipped if it is in one branch of an `If` operator, and the other branch has no
    convolution. Some graphs hold several variants of the network (bodies), and select one by top_k. In such
    a graph, only the body that is valid for every top_k and threshold is searched.

    Args:
        graph: an OpenVINO or ONNX file, or the bytes of an ONNX file.
    """
    return sum(_convolves(branch) for branch in branches(_general_body(ov.Core().read_model(graph))))


def check_branches(proto: onnx.ModelProto) -> None:
    """Check that the condition of every `If` operator depends on an input of the graph.

    Raises:
        ExportError: a condition depends only on constants. The traced graph then holds the experts that were
            chosen for one image, and would use them for every image.
    """
    given = {value.name for value in proto.graph.input}
    nodes = list(_nodes(proto.graph))
    makers = {output: node.input for node in nodes for output in node.output}
    for node in nodes:
        if node.op_type == "If" and not given & _read(node.input[0], makers):
            raise ExportError(
                f"branch {node.name!r} of the graph does not depend on the image: tracing has frozen an "
                "expert. Nothing was written."
            )


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield every node of a graph, and every node inside its branches."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from _nodes(attribute.g)


def _read(name: str, makers: Mapping[str, Collection[str]]) -> set[str]:
    """Return `name` and the names of all values that are needed to compute the value `name`."""
    seen: set[str] = set()
    todo = [name]
    while todo:
        value = todo.pop()
        if value not in seen:
            seen.add(value)
            todo += makers.get(value, ())
    return seen


def branches(model: ov.Model) -> Iterator[ov.Node]:
    """Yield every `If` operator of a model, also inside other branches."""
    for node in model.get_ops():
        if node.get_type_name() == "If":
            yield node
            for side in range(2):
                yield from branches(node.get_function(side))


def _general_body(model: ov.Model) -> ov.Model:
    """Return the body that is valid for every top_k; a graph that selects no body is returned whole."""
    for node in model.get_ops():
        if node.get_type_name() == "If" and node.get_output_size() > 1:  # an expert returns one map
            return _general_body(node.get_function(1))
    return model


def _convolves(branch: ov.Node) -> bool:
    """Return whether exactly one of the two branches of an `If` operator holds a convolution."""
    kinds = [{node.get_type_name() for node in branch.get_function(side).get_ops()} for side in range(2)]
    return kinds[0].isdisjoint(CONVOLUTIONS) != kinds[1].isdisjoint(CONVOLUTIONS)
