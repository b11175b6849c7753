"""Which body of a switched graph runs, and that weights are stored once."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from training.export.graph.switch import switch_by_top_k

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


def body(factor, weight=WEIGHT):
    """y = factor × weight, inside a branch on whether top_k is above 0; as wide as its inputs demand."""
    branches = []
    for name, node in (
        ("yes", helper.make_node("Mul", ["scaled", "one"], ["y/yes"])),
        ("no", helper.make_node("Mul", ["scaled", "zero"], ["y/no"])),
    ):
        out = helper.make_tensor_value_info(f"y/{name}", TensorProto.FLOAT, [2, 3])
        branches.append(helper.make_graph([node], name, [], [out]))
    nodes = [
        helper.make_node("Mul", ["weight", "factor"], ["scaled"], name="scale"),
        helper.make_node("Greater", ["top_k", "none"], ["above"]),
        helper.make_node("Squeeze", ["above"], ["runs"]),
        helper.make_node("If", ["runs"], ["y"], then_branch=branches[0], else_branch=branches[1]),
    ]
    constants = {
        "weight": weight,
        "factor": np.float32(factor),
        "one": np.float32(1),
        "zero": np.float32(0),
        "none": np.int64([[0]]),
    }
    graph = helper.make_graph(
        nodes,
        "body",
        [
            helper.make_tensor_value_info("top_k", TensorProto.INT64, [1, 1]),
            helper.make_tensor_value_info("weight_threshold", TensorProto.FLOAT, [1, 1]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture(scope="module")
def switched():
    return switch_by_top_k(body(10), {2: body(2), 1: body(1), 4: body(4)})


@pytest.mark.parametrize(
    ("top_k", "threshold", "factor"),
    [(2, 0, 2), (1, 0, 1), (4, 0, 4), (3, 0, 10), (5, 0, 10), (2, 0.1, 10), (1, 1e-6, 10), (0, 0, 0)],
)
def test_the_body_of_a_top_k_answers_only_for_it_and_without_a_threshold(switched, top_k, threshold, factor):
    onnx.checker.check_model(switched, full_check=True)
    session = onnxruntime.InferenceSession(switched.SerializeToString(), providers=["CPUExecutionProvider"])
    controls = {"top_k": np.int64([[top_k]]), "weight_threshold": np.float32([[threshold]])}
    (found,) = session.run(["y"], controls)
    assert np.array_equal(found, factor * WEIGHT)


def test_a_weight_that_all_bodies_share_is_kept_once_and_another_of_its_name_as_well(switched):
    kept = [t.name for t in switched.graph.initializer if t.dims[:] == [2, 3]]
    assert kept == ["weight"]
    other = switch_by_top_k(body(10), {2: body(2, weight=-WEIGHT)})
    values = [numpy_helper.to_array(t) for t in other.graph.initializer if t.dims[:] == [2, 3]]
    assert sorted(float(value.sum()) for value in values) == [-15, 15]
    session = onnxruntime.InferenceSession(other.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(["y"], {"top_k": np.int64([[2]]), "weight_threshold": np.float32([[0]])})
    assert np.array_equal(found, -2 * WEIGHT)
