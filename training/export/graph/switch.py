"""Combine several graphs into one, which selects among them by top_k at run time.

A network traced for one top_k needs no branch if it gathers the weights of the chosen experts or runs all
experts. Such a body is added beside the general one, which has a branch for each expert. At run time it costs
one test of top_k. On disk it adds only its nodes, since all bodies share the weights.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from training.export.contract.controls import THRESHOLD, TOP_K

SWITCH = "switch_on_top_k_"


def switch_by_top_k(general: onnx.ModelProto, bodies: Mapping[int, onnx.ModelProto]) -> onnx.ModelProto:
    """Return a graph that runs the body of the requested top_k, and otherwise the general graph.

    A body runs only if the threshold is 0.

    Args:
        general: valid for every top_k and threshold.
        bodies: by the only top_k for which the body is valid, the most requested first. They have the inputs
            and outputs of the general graph.
    """
    weights: dict[str, onnx.TensorProto] = {}
    answer = _as_branch(general, "general", weights)
    nodes: list[onnx.NodeProto] = []
    for top_k, body in reversed(list(bodies.items())):
        chosen = f"top_k_is_{top_k}"
        branch = helper.make_node(
            "If",
            [chosen],
            [f"{chosen}/{value.name}" for value in general.graph.output],
            name=f"{SWITCH}{top_k}",
            then_branch=_as_branch(body, chosen, weights),
            else_branch=answer,
        )
        nodes = [*_condition(top_k, chosen, weights), branch]
        # The next body's `If` falls back to all nodes so far.
        answer = helper.make_graph(nodes, chosen, [], _renamed(general.graph.output, chosen))
    nodes[-1].output[:] = [value.name for value in general.graph.output]
    graph = helper.make_graph(
        nodes, general.graph.name, general.graph.input, general.graph.output, list(weights.values())
    )
    return helper.make_model(graph, opset_imports=general.opset_import, ir_version=general.ir_version)


def general_body(graph: onnx.GraphProto) -> onnx.GraphProto:
    """Return the body that runs if no other body fits; an unswitched graph is its own general body."""
    for node in graph.node:
        if node.name.startswith(SWITCH):
            (otherwise,) = (branch.g for branch in node.attribute if branch.name == "else_branch")
            return general_body(otherwise)
    return graph


def _condition(top_k: int, name: str, weights: dict[str, onnx.TensorProto]) -> list[onnx.NodeProto]:
    """Return nodes that test whether the graph's input top_k equals `top_k`, and its threshold is 0.

    Both inputs have the shape (1, 1). The last node writes the answer to `name`, as a scalar.
    """
    constants: dict[str, NDArray[Any]] = {
        "asked": np.array([[top_k]], dtype=np.int64),
        "none": np.array([[0]], dtype=np.float32),
        "scalar": np.array([], dtype=np.int64),
    }
    for key, value in constants.items():
        weights[f"{name}/{key}"] = numpy_helper.from_array(value, f"{name}/{key}")
    return [
        helper.make_node("Equal", [TOP_K, f"{name}/asked"], [f"{name}/equal"]),
        helper.make_node("Equal", [THRESHOLD, f"{name}/none"], [f"{name}/open"]),
        helper.make_node("And", [f"{name}/equal", f"{name}/open"], [f"{name}/both"]),
        helper.make_node("Reshape", [f"{name}/both", f"{name}/scalar"], [name]),
    ]


def _as_branch(model: onnx.ModelProto, prefix: str, weights: dict[str, onnx.TensorProto]) -> onnx.GraphProto:
    """Return a model as a branch that reads inputs and weights from outside; add its own to `weights`."""
    outside = {value.name: value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        known = weights.get(tensor.name)
        same = known is None or known.SerializeToString() == tensor.SerializeToString()
        kept = onnx.TensorProto()
        kept.CopyFrom(tensor)
        # The exporter numbers its constants: in another body the same name may hold another value.
        kept.name = tensor.name if same else f"{prefix}/{tensor.name}"
        weights[kept.name] = kept
        outside[tensor.name] = kept.name
    nodes = [_renamed_node(node, prefix, outside) for node in model.graph.node]
    return helper.make_graph(nodes, prefix, [], _renamed(model.graph.output, prefix))


def _renamed(values: Iterable[onnx.ValueInfoProto], prefix: str) -> list[onnx.ValueInfoProto]:
    renamed = []
    for value in values:
        copy = onnx.ValueInfoProto()
        copy.CopyFrom(value)
        copy.name = f"{prefix}/{value.name}"
        renamed.append(copy)
    return renamed


def _renamed_node(node: onnx.NodeProto, prefix: str, outside: Mapping[str, str]) -> onnx.NodeProto:
    """Return a copy of a node whose own values have the prefix, inside its branches as well."""

    def name_of(value: str) -> str:
        return outside.get(value, f"{prefix}/{value}") if value else ""

    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.name = f"{prefix}/{node.name}" if node.name else ""
    copy.input[:] = [name_of(value) for value in node.input]
    copy.output[:] = [name_of(value) for value in node.output]
    for attribute in copy.attribute:
        if attribute.HasField("g"):
            inner = [_renamed_node(each, prefix, outside) for each in attribute.g.node]
            del attribute.g.node[:]
            attribute.g.node.extend(inner)
            for value in attribute.g.output:
                value.name = name_of(value.name)
            del attribute.g.value_info[:]
    return copy
