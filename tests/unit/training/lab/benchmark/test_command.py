"""The whole benchmark on a small input, and what it refuses."""

import json
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tests.training_builders import plain_model
from training import rounds
from training.__main__ import main
from training.errors import ConfigError
from training.lab.benchmark import command, engines
from training.lab.benchmark.graphs import Graphs, peer_inputs
from training.lab.benchmark.subjects import Form, Subject
from training.trainer.checkpoint import MODEL_FILE, save_model


def save_peer(path, element=TensorProto.FLOAT, shape=("batch", 3, "height", "width")):
    """A model of somebody else's that hands its input through."""
    info = [helper.make_tensor_value_info(name, element, list(shape)) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "peer", info[:1], info[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    return path


def failure(capsys, *argv):
    assert main(["benchmark", "--quiet", *argv]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("training: ")
    return error


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["gone.safetensors"], "no checkpoint at gone.safetensors"),
        (["--peer", "gone.onnx"], "no peer at gone.onnx"),
        (["--plot", "plot.txt"], "the name has to end in .png, .svg, .pdf"),
        (["--plot", "gone/plot.png"], "no folder gone to draw into"),
        (["--engine", "torch", "--precision", "bf16"], "engine torch runs f32 here"),
        (["--engine", "onnxruntime", "--precision", "int8"], "engine onnxruntime runs f32 here"),
        (["--variant", "esmoe-n", "--input", "64", "--top-k", "9"], "esmoe-n runs with 1, 2, 3, 4 experts"),
        (["--variant", "esmoe-n", "--input", "100"], "both sides must be multiples of 32"),
    ],
)
def test_what_cannot_be_timed_is_one_line_and_1(capsys, monkeypatch, tmp_path, argv, message):
    monkeypatch.chdir(tmp_path)
    assert message in failure(capsys, *argv)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("engine", engines.ON_GPU)
def test_without_a_gpu_its_engines_are_refused_in_words(capsys, monkeypatch, engine):
    monkeypatch.setattr(engines.torch.cuda, "is_available", lambda: False)
    error = failure(capsys, "--engine", engine)
    assert f"engine {engine} needs an NVIDIA GPU" in error
    assert "Leave it out" in error


def test_a_file_that_is_no_onnx_model_is_no_peer(capsys, tmp_path):
    (tmp_path / "peer.onnx").write_bytes(b"not a model")
    assert "is no ONNX model" in failure(capsys, "--peer", str(tmp_path / "peer.onnx"))


def test_two_peers_of_one_name_are_refused(capsys, tmp_path):
    (tmp_path / "other").mkdir()
    peers = [save_peer(tmp_path / "m.onnx"), save_peer(tmp_path / "other" / "m.onnx")]
    assert "two peers are called m" in failure(capsys, *(f"--peer={peer}" for peer in peers))


@pytest.mark.parametrize(
    ("element", "shape", "dtype", "drawn"),
    [
        (TensorProto.FLOAT, ("b", 3, "h", "w"), np.float32, (1, 3, 64, 96)),
        (TensorProto.FLOAT16, (1, 3, 128, 128), np.float16, (1, 3, 128, 128)),
        (TensorProto.UINT8, ("b", "h", "w", 3), np.uint8, (1, 64, 96, 3)),
    ],
)
def test_a_peer_gets_a_image_in_the_shape_that_it_takes(tmp_path, element, shape, dtype, drawn):
    values = peer_inputs(save_peer(tmp_path / "peer.onnx", element, shape), (64, 96))["x"]
    assert (values.dtype, values.shape) == (dtype, drawn)
    assert values.std() > 0


def test_a_peer_that_takes_no_images_is_refused(tmp_path):
    path = save_peer(tmp_path / "peer.onnx", TensorProto.INT64, (1, 8))
    with pytest.raises(ConfigError, match="input x is INT64"):
        peer_inputs(path, (64, 64))


@pytest.fixture(scope="module")
def small():
    """A model with two experts a layer; tracing takes most of these tests' time."""
    return plain_model()


@pytest.fixture
def checkpoint(tmp_path, small):
    """Its path; a checkpoint is called what its folder is called."""
    (tmp_path / "mine").mkdir()
    save_model(tmp_path / "mine" / MODEL_FILE, small, {})
    return str(tmp_path / "mine" / MODEL_FILE)


def answer(capsys, *argv):
    """The one group and everything else of a benchmark that need not be quiet."""
    assert main(["benchmark", *argv, "--rounds", "3", "--json", "--quiet"]) == 0
    result = json.loads(capsys.readouterr().out)
    (group,) = result["groups"]
    assert group["rounds"] == 3
    assert all(row["seconds"]["median"] > 0 for row in group["rows"])
    return {(row["label"], row["kind"], row["top_k"], row["batch"]): row for row in group["rows"]}, result


@pytest.mark.heavy
def test_every_form_of_a_checkpoint_is_timed_and_drawn(capsys, monkeypatch, tmp_path, checkpoint):
    monkeypatch.setattr(rounds, "NOISE", float("inf"))
    plot = tmp_path / "plot.png"
    argv = ["--engine", "torch", "--top-k", "1", "--batch", "2", "--plot", str(plot)]
    rows, result = answer(capsys, checkpoint, *argv)
    assert (result["reference"], result["input_hws"]) == ("mine", [[64, 64]])
    assert list(rows) == [
        ("mine", "dense", None, 1),
        ("mine", "sparse", 1, 1),
        ("mine", "bound", 1, 1),
        ("mine", "dense", None, 2),
    ]
    sparse, bound = rows["mine", "sparse", 1, 1], rows["mine", "bound", 1, 1]
    assert sparse["gflops"] == bound["gflops"] < rows["mine", "dense", None, 1]["gflops"]
    assert sparse["goals"] == [], "they are of OpenVINO"
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.heavy
def test_openvino_beside_a_peer_with_a_profile(capsys, monkeypatch, tmp_path, checkpoint):
    monkeypatch.setattr(rounds, "NOISE", float("inf"))
    argv = ["--peer", str(save_peer(tmp_path / "peer.onnx")), "--top-k", "2", "--profile"]
    rows, result = answer(capsys, checkpoint, *argv)
    assert list(rows) == [
        ("mine", "dense", None, 1),
        ("mine", "sparse", 2, 1),  # all there are: nothing is left for a bound
        ("peer", "peer", None, 1),
    ]
    (goal,) = rows["mine", "sparse", 2, 1]["goals"]
    assert (goal["quantity"], goal["limit"]) == ("ratio", 1.03)
    (profile,) = result["profiles"]
    assert "Convolution" in profile["by_operator"], "what runs inside the switch, not the switch"


def test_a_noisy_machine_is_named_and_1(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(rounds, "NOISE", -1.0)  # nothing is this quiet
    argv = ["--variant", "yolov12-n", "--input", "64", "--rounds", "1", "--engine", "torch", "--quiet"]
    assert main(["benchmark", *argv]) == 1
    text = capsys.readouterr().out
    assert "0 rounds, 4 refused" in text
    assert "TOO NOISY" in text


@pytest.mark.heavy
def test_onnx_runtime_answers_as_pytorch_does_with_weights_in_the_branches(tmp_path, small):
    graphs = Graphs(tmp_path, {"small": Subject("small", small, (1,))}, {})
    form = Form("small", "sparse", 1)
    inputs = graphs.inputs(form)
    path = graphs.source(form, "onnxruntime", "f32")
    branches = [attribute.g for node in onnx.load(path).graph.node for attribute in node.attribute]
    with_weights = [
        branch for branch in branches if any(len(weight.dims) == 4 for weight in branch.initializer)
    ]
    experts = sum(len(layer.experts) for layer in small.mixture_layers().values())
    assert len(with_weights) == experts, "one branch of each expert has weights of its own"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    mine = dict(zip(names, session.run(None, dict(inputs)), strict=True))
    eager = engines.open_engine("torch", "f32", 1)(graphs.source(form, "torch", "f32"), inputs)()
    wanted = dict(zip(names, eager, strict=True))
    for name in ("scores", "gates", "router_probs"):  # boxes of equal scores may come in another order
        np.testing.assert_allclose(mine[name], wanted[name].numpy(), rtol=1e-4, atol=1e-4)


def test_a_checkpoint_or_a_peer_called_as_a_variant_is_refused(capsys, monkeypatch, tmp_path, checkpoint):
    monkeypatch.setattr(command, "peer_inputs", lambda *_: {})
    folder = tmp_path / "yolov12-n"
    folder.mkdir()
    shutil.copy(checkpoint, folder / "model.safetensors")
    small = ["--input", "64", "--variant", "yolov12-n"]
    assert "a checkpoint is called yolov12-n" in failure(capsys, str(folder / "model.safetensors"), *small)
    (tmp_path / "yolov12-n.onnx").touch()
    assert "a peer and a model are called" in failure(capsys, f"--peer={tmp_path / 'yolov12-n.onnx'}", *small)


def test_a_peer_that_the_engine_cannot_run_is_said_before_anything_is_timed(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(command, "time_forms", lambda *_: pytest.fail("it times"))
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 3, 64, 64)) for name in "xy"]
    graph = helper.make_graph([helper.make_node("NobodysOperator", ["x"], ["y"])], "odd", info[:1], info[1:])
    onnx.save(helper.make_model(graph), tmp_path / "odd.onnx")
    said = failure(capsys, f"--peer={tmp_path / 'odd.onnx'}", "--input", "64", "--variant", "yolov12-n")
    assert "openvino cannot run the peer odd" in said
