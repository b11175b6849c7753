"""The ONNX export is served as well: dense, without controls, the service selects."""

import hashlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.builders import CANVAS, golden_image, image_bytes, manifest_for, write_manifest

BOX = [[[8, 8, 24, 24]]]


def plain_graph():
    """Score each of three classes by how full the picture is of its colour, always in the same box."""
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "height_width"], ["means"], keepdims=0),
        helper.make_node("Div", ["means", "full"], ["shares"]),
        helper.make_node("Unsqueeze", ["shares", "anchor"], ["class_scores"]),
        helper.make_node("Identity", ["box"], ["boxes"]),
    ]
    constants = {
        "height_width": np.array([1, 2], np.int64),
        "anchor": np.array([1], np.int64),
        "full": np.array(255, np.float32),
        "box": np.array(BOX, np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "plain",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, [1, CANVAS, CANVAS, 3])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 1, 4]),
            helper.make_tensor_value_info("class_scores", TensorProto.FLOAT, [1, 1, 3]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "plain-onnx" / "1"
    folder.mkdir(parents=True)
    onnx.save(plain_graph(), folder / "model.onnx")
    image = golden_image()
    share = image.reshape(-1, 3).mean(axis=0, dtype=np.float32) / 255  # red .58, green .32, blue .15
    arrays = {
        "image": image,
        "input": image[None],
        "boxes": np.float32(BOX),
        "class_scores": share[None, None],
    }
    found = {"det_boxes_xyxy": np.float32([BOX[0][0]] * 2), "det_scores": share[:2], "det_class_ids": [0, 1]}
    np.savez(folder / "golden.npz", **arrays, **found)
    manifest = manifest_for("plain", "1", "service") | {
        "target": "onnx",
        "execution": "dense",
        "mixture": [],
        "controls": {"top_k": None, "weight_threshold": None},
    }
    manifest["golden"] |= {"top_k": None, "weight_threshold": None, "router_margin": None}
    manifest["files"] = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())
    }
    write_manifest(folder, manifest)
    return tmp_path


def test_a_plain_onnx_model_is_served(start, repository):
    running = start(repository=repository, target="onnx")
    answer = running.detect(image_bytes(golden_image())).json()
    assert [one["class"] for one in answer["predictions"]] == ["red", "green"]
    assert answer["moe"] == {
        "layers": [],
        "top_k": None,
        "gflops": {"used": 6.6, "dense": 6.6},
        "degraded": False,
        "routing": "normal",
    }


def test_a_model_without_top_k_refuses_one(start, repository):
    running = start(repository=repository, target="onnx")
    answer = running.detect(image_bytes(golden_image()), top_k=1)
    assert answer.status_code == 422
    assert "has no top_k" in answer.json()["detail"]
