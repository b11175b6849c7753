"""The client calls a classifier on a real Triton, with tensors from the manifest."""

import hashlib
import json

import numpy as np
import openvino as ov
import openvino.opset15 as ops
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from clients.command import main
from clients.errors import BadParameter, WrongTask
from clients.triton import TritonClient
from tests.builders import image_bytes
from tests.training_builders import taught_classifier
from tests.triton_server import start_triton
from training.data.scenes.scenes import ClassScenesDataset
from training.evaluate.classification import evaluate_classes
from training.export.artifact.bundle import export_model
from training.export.artifact.manifest import Provenance
from training.export.targets.build import ExportImages
from training.export.targets.options import ExportOptions

MODEL = "colours-openvino"
PROTOCOLS = ("grpc", "http")


def colours(canvas=8):
    """Return a graph whose probabilities are the shares of red, green and blue, made sharper by a control."""
    images = ops.parameter([1, canvas, canvas, 3], np.uint8, name="images")
    power = ops.parameter([1, 1], np.float32, name="power")
    means = ops.reduce_mean(ops.convert(images, np.float32), np.array([1, 2]))  # (1, 3)
    raised = ops.power(means, power)
    probabilities = ops.divide(raised, ops.reduce_sum(raised, np.array([1]), keep_dims=True))
    probabilities.output(0).set_names({"shares"})
    return ov.Model([probabilities.output(0)], [images, power], "colours")


def manifest():
    return {
        "schema_version": 2,
        "name": "colours",
        "target": "openvino",
        "version": "1",
        "graphs": [{"name": "model", "file": "model.xml"}],
        "precision": "f32",
        "routing": "normal",
        "inputs": [
            {
                "name": "images",
                "dtype": "u8",
                "dims": ["B", 8, 8, 3],
                "role": "images",
                "resize": {"mode": "center_crop", "interpolation": "bilinear"},
            },
            {
                "name": "power",
                "dtype": "f32",
                "dims": ["B", 1],
                "role": "control",
                "range": [1, 4],
                "default": 1,
            },
        ],
        "outputs": [{"name": "shares", "dtype": "f32", "dims": ["B", 3], "role": "probabilities"}],
        "task": "classify",
        "task_settings": {"defaults": {"top": 2}},
        "class_names": ["red", "green", "blue"],
        "mixture": [],
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    repository = tmp_path_factory.mktemp("classifier")
    folder = repository / MODEL / "1"
    folder.mkdir(parents=True)
    ov.save_model(colours(), folder / "model.xml", compress_to_fp16=False)
    text = json.dumps(manifest())
    (folder / "manifest.json").write_text(text)
    config = model_config_pb2.ModelConfig(name=MODEL, backend="openvino", default_model_filename="model.xml")
    for name, kind, dims in (("images", "TYPE_UINT8", [1, 8, 8, 3]), ("power", "TYPE_FP32", [1, 1])):
        config.input.add(name=name, data_type=kind, dims=dims)
    config.output.add(name="shares", data_type="TYPE_FP32", dims=[1, 3])
    config.instance_group.add(count=1, kind=model_config_pb2.ModelInstanceGroup.KIND_CPU)
    config.parameters["manifest.1"].string_value = text
    config.parameters["sha256.1"].string_value = hashlib.sha256(text.encode()).hexdigest()
    (repository / MODEL / "config.pbtxt").write_text(text_format.MessageToString(config))
    with start_triton(repository) as running:
        yield running


@pytest.fixture(params=PROTOCOLS)
def client(request, server):
    url = server.grpc_url if request.param == "grpc" else server.http_url
    with TritonClient(url, model="colours", protocol=request.param) as client:
        yield client


def image():
    """Return 16 x 32 pixels: the middle, which is the canvas, 100 red and 50 blue; green on both sides."""
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:] = (0, 255, 0)
    pixels[:, 7:25] = (100, 0, 50)  # one pixel more on each side, which resizing looks at
    return pixels


def test_the_centre_is_classified(client):
    found = client.classify(image())
    assert found.class_names == ("red", "blue")
    assert found.scores == pytest.approx([2 / 3, 1 / 3], abs=1e-6)
    assert (found.model.name, found.experts, found.top_k) == ("colours", (), None)


def test_a_control_of_the_models_own_is_a_parameter(client):
    assert client.classify(image(), top=1, power=2).scores == pytest.approx([0.8], abs=1e-6)
    with pytest.raises(BadParameter, match="from 1 to 4"):
        client.classify(image(), power=5)
    with pytest.raises(BadParameter, match="has no top_k; it has power"):
        client.classify(image(), top_k=2)


def test_a_classifier_does_not_detect(client):
    with pytest.raises(WrongTask, match=r"call classify\(\) instead"):
        client.detect(image())


def test_the_command_finds_out_what_the_model_is_for(server, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(image_bytes(image()))
    arguments = ["triton", str(tmp_path / "a.png"), "--url", server.grpc_url, "--model", "colours"]
    assert main([*arguments, "--top", "1", "--control", "power=2", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["predictions"]
    assert (one["class"], one["confidence"]) == ("red", pytest.approx(0.8, abs=1e-6))


@pytest.mark.heavy
def test_an_exported_classifier_is_asked_like_any_other(tmp_path):
    model, scenes = taught_classifier(), ClassScenesDataset(10, seed=0, image_hw=(64, 64))
    images = [scenes.load(index).image for index in range(10)]
    export_model(
        model,
        tmp_path,
        "things",
        ExportImages(images[:2], images[:2]),
        targets=["openvino"],
        options=ExportOptions(execution="dense"),
        provenance=Provenance(checkpoint_sha256="0" * 64),
    )
    want = evaluate_classes(model, scenes).probabilities
    with start_triton(tmp_path) as server, TritonClient(server.grpc_url, model="things") as client:
        for image, probabilities in zip(images, want, strict=True):
            found = client.classify(image, top=2)
            assert found.class_names[0] == scenes.class_names[probabilities.argmax()]
            assert found.scores == pytest.approx(np.sort(probabilities)[:-3:-1], abs=1e-4)
            assert found.top_k == 2
            assert [len(layer.active) for layer in found.experts] == [2] * 4
        with pytest.raises(BadParameter, match="top_k"):
            client.classify(images[0], top_k=5)
