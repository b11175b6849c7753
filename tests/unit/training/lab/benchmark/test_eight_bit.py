"""In 8 bits, our graphs are those of an export, and those of other projects are quantised in the same run."""

import json

import numpy as np
import onnx
import openvino as ov
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.path_builders import path_model
from tests.training_builders import plain_model
from training import rounds
from training.__main__ import main
from training.errors import ConfigError
from training.export.graph.shared_weights import WEIGHTS_FILE
from training.export.targets.openvino import OPENVINO
from training.export.targets.paths import build_paths
from training.lab.benchmark import eight_bit
from training.lab.benchmark.eight_bit import export_source, quantize_peer, quantize_route
from training.lab.benchmark.graphs import Graphs
from training.lab.benchmark.on_path import route_of_image
from training.lab.benchmark.subjects import Form, Subject, benchmark_canvas
from training.trainer.checkpoint import MODEL_FILE, save_model

CONVOLUTIONS = ("Convolution", "GroupConvolution")


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    two = eight_bit.scenes(2)
    monkeypatch.setattr(eight_bit, "scenes", lambda count: two)


def convolutions_in_8_bits(model):
    """Return the number of convolutions with quantised weights, and of the others."""
    weights = [
        node.input_value(1).get_node() for node in model.get_ops() if node.get_type_name() in CONVOLUTIONS
    ]
    floating = sum(weight.get_type_name() in ("Constant", "Reshape") for weight in weights)
    return len(weights) - floating, floating


def run(path_or_model, inputs):
    compiled = ov.Core().compile_model(path_or_model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {port.get_any_name(): value for port, value in compiled(inputs).items()}


def save_convolving_peer(path, shape=(1, 3, "height", "width")):
    """Write somebody else's model: a convolution, and the sum of its channels."""
    info = [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))]
    info.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))
    weights = np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("ReduceSum", ["r", "axes"], ["y"]),
    ]
    constants = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.array([1]), "axes")]
    graph = helper.make_graph(nodes, "peer", info[:1], info[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("shape", [(1, 3, "height", "width"), (1, 3, 64, 96)])
def test_a_peer_is_quantised_on_images_of_its_size(tmp_path, shape):
    path = save_convolving_peer(tmp_path / "peer.onnx", shape)
    inputs = {"x": np.random.default_rng(0).random((1, 3, 64, 96), dtype=np.float32)}
    quantized = quantize_peer(path, inputs, tmp_path / "8")
    assert convolutions_in_8_bits(ov.Core().read_model(quantized)) == (1, 0)
    exact, rounded = (run(each, inputs)["y"] for each in (path, quantized))
    assert 0 < np.abs(exact - rounded).mean() < 0.05 * np.abs(exact).mean()


def test_a_peer_whose_input_is_no_image_is_not_calibrated(tmp_path):
    path = save_convolving_peer(tmp_path / "peer.onnx")
    with pytest.raises(ConfigError, match=r"shape \(1, 4, 64, 64\) is no image"):
        quantize_peer(path, {"x": np.zeros((1, 4, 64, 64), np.float32)}, tmp_path / "8")
    assert not (tmp_path / "8").exists()


@pytest.mark.heavy
def test_a_route_is_that_of_an_export_with_the_router_in_float(tmp_path):
    model = path_model(count=2)
    route = route_of_image(model, benchmark_canvas(model.config.input_hw), 1)
    both = ov.Core().read_model(quantize_route(model, route, tmp_path / "mine"))
    (tmp_path / "theirs").mkdir()
    spec, source = export_source(model, "dense")
    build_paths(OPENVINO, tmp_path / "theirs", spec, source)
    exported = ov.Core().read_model(
        tmp_path / "theirs" / f"{route.name}.xml", tmp_path / "theirs" / WEIGHTS_FILE
    )
    router = ov.Core().read_model(tmp_path / "theirs" / "router.xml")
    quantised, floating = convolutions_in_8_bits(exported)
    assert quantised > 30
    assert floating > 0
    _, routers = convolutions_in_8_bits(router)
    assert convolutions_in_8_bits(both) == (quantised, floating + routers)
    images = {"images": benchmark_canvas((64, 64))[None]}
    got, wanted = run(both, images), run(exported, images) | run(router, images)
    assert got.keys() == wanted.keys()
    for name, values in wanted.items():
        np.testing.assert_allclose(got[name], values, atol=1e-6)


@pytest.mark.heavy
def test_a_sparse_graph_is_quantised_once_for_every_top_k(tmp_path):
    graphs = Graphs(tmp_path, {"small": Subject("small", plain_model(), (1, 2))}, {})
    sparse = [graphs.source(Form("small", "sparse", top_k), "openvino", "int8") for top_k in (1, 2)]
    dense = [graphs.source(Form("small", kind), "openvino", "int8") for kind in ("dense", "twin")]
    assert sparse[0] == sparse[1] == graphs.body(Form("small", "sparse", 1), "int8")
    assert dense[0] == dense[1] != sparse[0]
    kinds = {node.get_type_name() for node in ov.Core().read_model(sparse[0]).get_ops()}
    assert {"If", "FakeQuantize"} <= kinds


@pytest.mark.heavy
def test_int8_is_timed_beside_a_peer_and_the_table_stays_clean(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(rounds, "NOISE", float("inf"))
    save_model(tmp_path / MODEL_FILE, path_model(count=2), {})
    peer = save_convolving_peer(tmp_path / "peer.onnx")
    argv = [str(tmp_path / MODEL_FILE), "--precision", "int8", "--peer", str(peer), "--top-k", "1"]
    assert main(["benchmark", *argv, "--rounds", "3", "--json"]) == 0
    (group,) = json.loads(capsys.readouterr().out)["groups"]
    kinds = [row["kind"] for row in group["rows"]]
    assert (group["precision"], kinds) == ("int8", ["dense", "sparse", "bound", "peer"])
    assert [goal["quantity"] for goal in group["rows"][1]["goals"]] == ["share", "ratio_to_peer"]
