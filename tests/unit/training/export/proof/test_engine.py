"""A graph whose tensors are not those of its manifest is refused by name."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from training.errors import ExportError
from training.export.contract.tensors import GraphContract, Input, Output
from training.export.proof.census import check_branches, check_ports
from training.export.proof.onnxruntime_engine import OnnxRuntimeEngine, session_options
from training.export.proof.openvino_engine import OpenVinoEngine

ENGINES = [OpenVinoEngine, OnnxRuntimeEngine]
PROMISED = {
    "images": Input("images", "u8", (4, 6, 3), "images"),
    "top_k": Input("top_k", "i64", (1,), "control"),
    "sums": Output("sums", "f32", (3,), "scores"),
    "asked": Output("asked", "i32", (1,), "class_ids"),
}


def contract(batch=(1,), **changes):
    rows = PROMISED | changes  # None takes one away
    return GraphContract(
        batch,
        tuple(row for row in rows.values() if isinstance(row, Input)),
        tuple(row for row in rows.values() if isinstance(row, Output)),
    )


def saved(folder, batch=1):
    """Write a graph that adds up pixels by colour and repeats what is asked for."""
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["pixels", "axes"], ["sums"], keepdims=0),
        helper.make_node("Cast", ["top_k"], ["asked"], to=TensorProto.INT32),
    ]
    graph = helper.make_graph(
        nodes,
        "sums",
        [
            helper.make_tensor_value_info("images", TensorProto.UINT8, [batch, 4, 6, 3]),
            helper.make_tensor_value_info("top_k", TensorProto.INT64, [batch, 1]),
        ],
        [
            helper.make_tensor_value_info("sums", TensorProto.FLOAT, [batch, 3]),
            helper.make_tensor_value_info("asked", TensorProto.INT32, [batch, 1]),
        ],
        [numpy_helper.from_array(np.int64([1, 2]), "axes")],
    )
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.mark.parametrize("engine", ENGINES)
def test_a_graph_that_keeps_its_contract_is_let_pass_and_answers_by_name(engine, tmp_path):
    path = saved(tmp_path)
    check_ports(path, contract())
    answer = engine(path).run({"images": np.ones((1, 4, 6, 3), np.uint8), "top_k": np.int64([[2]])})
    assert answer["sums"].tolist() == [[24, 24, 24]]
    assert answer["asked"].tolist() == [[2]]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            {"top_k": Input("top_k", "i32", (1,), "control")},
            r"input 'top_k' .* is i64 \[1, 1\].* i32 \[1, 1\]",
        ),
        (
            {"images": Input("images", "u8", (4, 5, 3), "images")},
            r"input 'images' .* \[1, 4, 6, 3\].* \[1, 4, 5",
        ),
        ({"sums": Output("sums", "f16", (3,), "scores")}, r"output 'sums' .* is f32 .* f16"),
        ({"sums": Output("sums", "f32", (3, 1), "scores")}, r"output 'sums' .* \[1, 3\].* \[1, 3, 1\]"),
        ({"sums": Output("gates", "f32", (3,), "gates")}, "has no output 'gates'"),
        ({"asked": None}, "has an output 'asked', which its manifest does not name"),
        ({"top_k": None}, "has an input 'top_k', which its manifest does not name"),
        ({"more": Input("more", "f32", (1,), "control")}, "has no input 'more'"),
    ],
)
def test_a_graph_that_differs_is_refused_and_the_tensor_is_named(rows, sentence, tmp_path):
    with pytest.raises(ExportError, match=sentence):
        check_ports(saved(tmp_path), contract(**rows))


@pytest.mark.parametrize(
    ("batch", "promised", "refused"),
    [(4, (4,), False), ("batch", (1, 2), False), (4, (1,), True), ("batch", (4,), True), (1, (1, 2), True)],
)
def test_the_batch_is_open_exactly_where_several_are_promised(batch, promised, refused, tmp_path):
    path = saved(tmp_path, batch)
    if refused:
        with pytest.raises(ExportError, match="input 'images'"):
            check_ports(path, contract(promised))
    else:
        check_ports(path, contract(promised))


def test_onnx_runtime_is_told_how_many_threads_it_has(tmp_path):
    options = session_options(3)
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert OnnxRuntimeEngine(saved(tmp_path), threads=2).machine.endswith(", 2 threads, ONNX Runtime")


def branching(condition):
    """A graph with one `If` on the condition, which it computes from top_k or takes from a constant."""
    yes, no = [
        helper.make_graph(
            [helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.float32([value])))],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])],
        )
        for name, value in (("yes", 1), ("no", 0))
    ]
    nodes = [
        helper.make_node("Greater", ["top_k", "none"], ["above"]),
        helper.make_node("Squeeze", ["above"], ["asked"]),
        helper.make_node("If", [condition], ["y"], "expert", then_branch=yes, else_branch=no),
    ]
    graph = helper.make_graph(
        nodes,
        "branching",
        [helper.make_tensor_value_info("top_k", TensorProto.INT64, [1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [
            numpy_helper.from_array(np.int64([[0]]), "none"),
            numpy_helper.from_array(np.array(True), "frozen"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_a_branch_on_a_constant_is_refused_by_its_name():
    whole = branching("asked")
    onnxruntime.InferenceSession(whole.SerializeToString(), providers=["CPUExecutionProvider"])
    check_branches(whole)
    with pytest.raises(ExportError, match="branch 'expert' of the graph does not depend on the image"):
        check_branches(branching("frozen"))
