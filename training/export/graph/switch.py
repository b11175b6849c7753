"""Combine several graphs (bodies) into one graph, which selects one of the bodies by top_k at run time.

The general body has a branch for each expert. A body traced for one top_k needs no branch, because it gathers
the weights of the chosen experts or runs all experts. Each such body costs one test of top_k at run time. On
disk, such a body adds only its nodes, because all bodies share the weights.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.compose import add_prefix_graph

from training.export.contract.controls import THRESHOLD, TOP_K


def switch_by_top_k(general: onnx.ModelProto, bodies: Mapping[int, onnx.ModelProto]) -> onnx.ModelProto:
    """Return a graph that runs the body for the requested top_k, or `general` if there is no such body.

    If a request's threshold is above 0, the returned graph runs `general`, whatever the top_k.

    Args:
        general: a graph that is valid for every top_k and threshold.
        bodies: graphs with the inputs and outputs of `general`. The key of each is the only top_k for which
            the graph is valid. The top_k that is requested most often comes first.
    """
    weights: dict[str, onnx.TensorProto] = {}
    answer = _as_branch(general, "general", weights)
    for top_k, body in reversed(list(bodies.items())):
        chosen = f"top_k_is_{top_k}"
        branch = _as_branch(body, chosen, weights)
        names = [value.name for value in branch.output]
        switch = helper.make_node("If", [chosen], names, chosen, then_branch=branch, else_branch=answer)
        # The next body's `If` falls back to all nodes so far.
        nodes = [*_condition(top_k, chosen, weights), switch]
        answer = helper.make_graph(nodes, chosen, [], branch.output)
    answer.node[-1].output[:] = [value.name for value in general.graph.output]
    graph = helper.make_graph(
        answer.node, general.graph.name, general.graph.input, general.graph.output, list(weights.values())
    )
    return helper.make_model(graph, opset_imports=general.opset_import, ir_version=general.ir_version)


def _condition(top_k: int, name: str, weights: dict[str, onnx.TensorProto]) -> list[onnx.NodeProto]:
    """Return nodes whose output `name` is true if the graph's top_k is `top_k` and its threshold is 0."""
    asked, none = f"{name}/asked", f"{name}/none"
    weights[asked] = numpy_helper.from_array(np.array([[top_k]], dtype=np.int64), asked)
    weights[none] = numpy_helper.from_array(np.array([[0]], dtype=np.float32), none)
    return [
        helper.make_node("Equal", [TOP_K, asked], [f"{name}/equal"]),
        helper.make_node("Equal", [THRESHOLD, none], [f"{name}/open"]),
        helper.make_node("And", [f"{name}/equal", f"{name}/open"], [f"{name}/both"]),
        helper.make_node("Squeeze", [f"{name}/both"], [name]),  # from (1, 1) to a scalar
    ]


def _as_branch(model: onnx.ModelProto, prefix: str, weights: dict[str, onnx.TensorProto]) -> onnx.GraphProto:
    """Return a model as a branch that reads inputs and weights from outside; add its weights to `weights`."""
    # The exporter numbers its constants: in another body the same name may hold another value.
    renamed = {
        tensor.name: f"{prefix}/{tensor.name}"
        for tensor in model.graph.initializer
        if weights.get(tensor.name, tensor) != tensor
    }
    # Inputs and weights keep their names; weights have a value_info as well.
    kept = {"rename_inputs": False, "rename_initializers": False, "rename_value_infos": False}
    graph = add_prefix_graph(model.graph, f"{prefix}/", **kept, name_map=renamed)
    weights.update((tensor.name, tensor) for tensor in graph.initializer)
    return helper.make_graph(graph.node, prefix, [], graph.output)
