"""Weights move into the branches for ONNX Runtime, and the outputs do not change."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from training.export.graph.branch_weights import move_weights_into_branches

FLOAT = TensorProto.FLOAT


def weight(name, value):
    return numpy_helper.from_array(np.array([value], dtype=np.float32), name)


def graph(name, nodes, output, weights=()):
    answer = helper.make_tensor_value_info(output, FLOAT, [1])
    return helper.make_graph(nodes, name, [], [answer], initializer=list(weights))


def choice(condition, then, otherwise, output):
    return helper.make_node("If", [condition], [output], then_branch=then, else_branch=otherwise)


@pytest.fixture
def model():
    """x × outer, then: if a: (if b: × deep, else × shared), else × shared.

    `outer` is read outside, `deep` two branches down, `shared` in two branches of different depth.
    """
    inner = choice(
        "b",
        graph("deep", [helper.make_node("Mul", ["y", "deep"], ["deep_out"])], "deep_out"),
        graph("shallow", [helper.make_node("Mul", ["y", "shared"], ["shallow_out"])], "shallow_out"),
        "inner_out",
    )
    outer = choice(
        "a",
        graph("then", [inner], "inner_out"),
        graph("else", [helper.make_node("Mul", ["y", "shared"], ["else_out"])], "else_out"),
        "z",
    )
    whole = helper.make_graph(
        [helper.make_node("Mul", ["x", "outer"], ["y"]), outer],
        "whole",
        [
            helper.make_tensor_value_info("x", FLOAT, [1]),
            helper.make_tensor_value_info("a", TensorProto.BOOL, []),
            helper.make_tensor_value_info("b", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("z", FLOAT, [1])],
        initializer=[weight("outer", 2), weight("deep", 3), weight("shared", 5)],
    )
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def branches(node):
    return {attribute.name: attribute.g for attribute in node.attribute}


def names(of):
    return sorted(one.name for one in of.initializer)


def test_a_weight_moves_as_deep_as_all_that_reads_it(model):
    move_weights_into_branches(model)
    outer = branches(model.graph.node[1])
    inner = branches(outer["then_branch"].node[0])
    assert names(model.graph) == ["outer"]
    assert names(outer["then_branch"]) == []
    assert names(outer["else_branch"]) == ["shared"]
    assert names(inner["then_branch"]) == ["deep"]
    assert names(inner["else_branch"]) == ["shared"]


@pytest.mark.parametrize(("a", "b", "product"), [(True, True, 42), (True, False, 70), (False, True, 70)])
def test_answers_stay_what_they_were(model, a, b, product):
    move_weights_into_branches(model)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = {"x": np.array([7], dtype=np.float32), "a": np.array(a), "b": np.array(b)}
    assert session.run(None, inputs)[0] == pytest.approx(product)
