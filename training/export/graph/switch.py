"""One graph out of several: which of them answers is decided by top_k when it runs.

A network traced for one number of experts needs no branch where it gathers their weights or runs all of them.
Such a body beside the general one, which has a branch an expert, costs a look at top_k when it runs, and on
disk no more than its nodes: the weights are the same.
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
    """Return the general graph, and in its place a body wherever top_k is the body's and the threshold is 0.

    Args:
        general: right for every top_k and threshold.
        bodies: by the only top_k that each is right for, what is asked for most first; inputs and outputs as
            the general graph has them.
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
        # From the second on, all of this is what the next one falls back to.
        answer = helper.make_graph(nodes, chosen, [], _renamed(general.graph.output, chosen))
    nodes[-1].output[:] = [value.name for value in general.graph.output]
    graph = helper.make_graph(
        nodes, general.graph.name, general.graph.input, general.graph.output, list(weights.values())
    )
    return helper.make_model(graph, opset_imports=general.opset_import, ir_version=general.ir_version)


def general_body(graph: onnx.GraphProto) -> onnx.GraphProto:
    """Return what answers where no other body does; of a graph that was not switched, itself."""
    for node in graph.node:
        if node.name.startswith(SWITCH):
            (otherwise,) = (branch.g for branch in node.attribute if branch.name == "else_branch")
            return general_body(otherwise)
    return graph


def _condition(top_k: int, name: str, weights: dict[str, onnx.TensorProto]) -> list[onnx.NodeProto]:
    """Return nodes that end in a scalar `name`: top_k (1, 1) is this one, and there is no threshold."""
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
    """Return its nodes, reading the inputs from outside and each weight where it is kept once for all."""
    outside = {value.name: value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        known = weights.get(tensor.name)
        same = known is None or known.SerializeToString() == tensor.SerializeToString()
        kept = onnx.TensorProto()
        kept.CopyFrom(tensor)
        # Tracing numbers its own constants: in another body the same name may be another number.
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
    """Return the node with its own values under the prefix, inside its branches as well."""

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
