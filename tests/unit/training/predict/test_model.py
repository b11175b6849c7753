"""A loaded model answers alike for every form of an image, and as `evaluate` does."""

import io
import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.builders import build_artifact, build_classifier, golden_image, image_bytes
from tests.onnx_builders import build_branches, build_static
from tests.training_builders import shallow, tiny_model
from tests.unit.training.data.small_data import MemoryDataset, sample
from training import load
from training.errors import CheckpointError, ConfigError, DatasetError
from training.evaluate.classification import evaluate_classes
from training.evaluate.evaluator import evaluate
from training.models.classifier import Classifier
from training.models.variants import model_config
from training.predict import load as loading
from training.predict.command import Summary
from training.predict.rows import as_document
from training.trainer.checkpoint import save_model

ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return build_artifact(tmp_path_factory.mktemp("repository")).repository


@pytest.fixture(scope="module")
def tiny(repository):
    return load(repository / "tiny-openvino")


def same(one, other):
    np.testing.assert_array_equal(one.boxes_xyxy, other.boxes_xyxy)
    np.testing.assert_array_equal(one.scores, other.scores)
    np.testing.assert_array_equal(one.class_ids, other.class_ids)
    assert one.experts == other.experts


def test_three_lines_of_a_notebook(repository, monkeypatch):
    monkeypatch.chdir(repository)
    image = golden_image()
    cell = "from training import load\nmodel = load('tiny-openvino')\nresult = model.predict(image)"
    names = {"image": image}
    exec(cell, names)
    result = names["result"]
    assert result.boxes_xyxy.tolist() == [[4, 4, 36, 36]]
    assert result.class_names == ["red"]
    assert result.class_ids.tolist() == [0]
    assert result.scores[0] > 0.25
    assert repr(result).startswith(f"image, 64 x 64 pixels: 1 red (red {result.scores[0]:.2f})\n")
    drawn = cv2.imdecode(np.frombuffer(result._repr_png_(), np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(drawn, result.plot())
    assert drawn.shape[0] > 64, "a band with the experts"
    assert result.plot(experts=False).shape == image.shape
    assert (result.plot(experts=False) != image).any()
    assert (result.image == image).all(), "drawing leaves the image as it is"


def test_a_checkpoint_finds_what_evaluate_finds(tmp_path):
    model = tiny_model()
    save_model(tmp_path / "model.safetensors", model, {})
    data = MemoryDataset([sample((40 + 9 * k, 90), [[4, 4, 30, 36]], [k % 2]) for k in range(3)])
    data.class_names = model.config.class_names
    wanted = evaluate(model, data)
    loaded = load(tmp_path / "model.safetensors")
    for index in range(3):
        found = loaded.predict(data.load(index).image, conf=0.001)
        np.testing.assert_allclose(found.boxes_xyxy, wanted.detections[index].boxes_xyxy, atol=1e-3)
        np.testing.assert_allclose(found.scores, wanted.detections[index].scores, atol=1e-5)
        np.testing.assert_array_equal(found.class_ids, wanted.detections[index].class_ids)
        for layer, ran in found.experts.items():
            gates = wanted.routed.gates[layer][index]
            assert sorted(ran) == np.flatnonzero(gates).tolist()
            assert list(ran.values()) == pytest.approx(sorted(gates[gates > 0], reverse=True), abs=1e-5)


def test_a_classifiers_checkpoint_answers_as_evaluate_does(tmp_path):
    model = Classifier(shallow(model_config("esmoe-n-cls", MemoryDataset.class_names, (64, 64)))).eval()
    save_model(tmp_path / "model.safetensors", model, {})
    data = MemoryDataset([replace(sample((40, 90), [], []), image_class=k) for k in range(2)])
    wanted = evaluate_classes(model, data).probabilities
    for index in range(2):
        found = load(tmp_path).predict(data.load(index).image, top=4)
        np.testing.assert_allclose(found.scores, wanted[index][found.class_ids], atol=1e-5)
        assert sorted(found.class_ids) == [0, 1, 2, 3]


def test_every_form_of_an_image_is_answered_alike(tiny, tmp_path):
    image = golden_image()
    (tmp_path / "a.png").write_bytes(image_bytes(image))
    alpha = np.dstack([image, np.full(image.shape[:2], 9, np.uint8)])
    forms = [
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        image,
        alpha,
        Image.fromarray(image),
        image[:, ::-1, :],
    ]
    *alike, mirrored = tiny.predict(forms)
    for found in alike:
        same(found, alike[0])
    assert [found.name for found in alike] == ["a.png", "a.png", "image", "image", "image"]
    assert mirrored.scores[0] < alike[0].scores[0], "its red quarter is elsewhere"
    grey = tiny.predict(image[..., 0])
    same(grey, tiny.predict(np.repeat(image[..., :1], 3, axis=2)))


def test_one_class_may_be_given_without_a_list_and_none_is_every_class(tiny):
    image = golden_image()
    assert tiny.predict(image, classes="red").class_names == ["red"]
    assert tiny.predict(image, classes=0).class_names == ["red"]
    assert tiny.predict(image, classes="green").class_names == []
    assert tiny.predict(image, classes=None).class_names == ["red"]


def test_a_pil_image_of_a_damaged_file_is_refused_by_its_name(tiny, tmp_path):
    whole = image_bytes(golden_image())
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with (
        Image.open(tmp_path / "cut.png") as image,
        pytest.raises(DatasetError, match=r"^cut\.png: PIL cannot decode or convert it"),
    ):
        tiny.predict(image)


def test_paths_and_pil_images_are_turned_upright(tiny):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    file = io.BytesIO()
    Image.fromarray(np.rot90(golden_image())).save(file, "PNG", exif=exif)
    file.seek(0)
    same(tiny.predict(Image.open(file)), tiny.predict(golden_image()))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        pytest.param(np.zeros((8, 8, 3)), "must be uint8, 0..255, and this is float64", id="floats"),
        pytest.param(np.zeros((8, 8, 3), np.uint16), "this is uint16", id="16 bit"),
        pytest.param(np.zeros((3, 8, 8), np.uint8), r"this is \(3, 8, 8\)", id="channels first"),
        pytest.param(np.zeros((0, 8, 3), np.uint8), r"this is \(0, 8, 3\)", id="empty"),
        pytest.param(Image.new("I;16", (8, 8)), "more than 8 bits", id="a deep PIL image"),
        pytest.param(Image.new("La", (8, 8)), "image: PIL cannot decode or convert it", id="a rare PIL mode"),
        pytest.param(b"bytes", "a bytes is not an image", id="bytes"),
        pytest.param("nowhere.png", "nowhere.png: cannot be read", id="no such file"),
        pytest.param(".", "is a folder: give a list", id="a folder"),
    ],
)
def test_what_is_no_image_is_refused(tiny, image, message):
    with pytest.raises(DatasetError, match=message):
        tiny.predict(image)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"conf": 1.01}, "conf is 1.01; it must be a number from 0 to 1"),
        ({"iou": float("nan")}, "iou is nan"),
        ({"conf": "0.5"}, "conf is '0.5'; it must be a number"),
        ({"max_det": 0}, "max_det is 0; it must be a whole number from 1"),
        ({"max_det": 2.5}, "max_det is 2.5; it must be a whole number from 1"),
        ({"max_det": "3"}, "max_det is '3'; it must be a whole number from 1"),
        ({"classes": "whale"}, "no class 'whale'; it knows red, green, blue"),
        ({"classes": ["whale"]}, "no class 'whale'; it knows red, green, blue"),
        ({"classes": [3]}, "no class 3"),
        ({"top_k": 9}, "top_k is 9; this model runs with"),
        ({"top": 3}, "top does not apply to a model of task detect"),
    ],
)
def test_settings_are_checked(tiny, settings, message):
    with pytest.raises(ConfigError, match=message):
        tiny.predict(golden_image(), **settings)


@pytest.mark.parametrize("selection", ["graph", "service"])
def test_only_the_named_classes_are_found(tmp_path, selection):
    build_artifact(tmp_path, selection=selection)
    model = load(tmp_path / "tiny-openvino", device="cpu")
    every = model.predict(golden_image(), conf=0)
    assert set(every.class_names) > {"red"}
    red = model.predict(golden_image(), conf=0, classes=["red"])
    assert set(red.class_names) == {"red"}
    by_number = model.predict(golden_image(), conf=0, classes=["1", 0], max_det=1)
    assert by_number.class_names == ["red"]
    assert model.predict(golden_image(), conf=0, classes=["blue"], max_det=1).class_names == ["blue"]


def test_a_checkpoint_with_paths_says_the_path_of_each_image(tmp_path):
    model = tiny_model("sparsight-path-n")
    save_model(tmp_path / "model.safetensors", model, {})
    loaded = load(tmp_path / "model.safetensors")
    images = [golden_image(), np.full((64, 64, 3), 255, np.uint8)]
    with torch.no_grad():
        probs = model(torch.from_numpy(np.stack(images))).path.probs
    summary = Summary("objects")
    for result, row in zip(loaded.predict(images, top_k=1), probs, strict=True):
        summary.add(result)
        assert result.path == (int(row.argmax()), pytest.approx(float(row.max()), abs=1e-5))
        assert f"\n  path {result.path[0]} ({result.path[1]:.0%})\n" in repr(result)
        probability = pytest.approx(result.path[1], abs=1e-6)
        assert as_document(result)["path"] == {"index": result.path[0], "probability": probability}
        assert {len(ran) for ran in result.experts.values()} == {1}
    first, second = sorted(int(row.argmax()) for row in probs)
    assert f"  paths: {first} for 50%, {second} for 50%\n" in str(summary)


def test_a_model_without_paths_says_none(tiny):
    result = tiny.predict(golden_image())
    assert result.path is None
    assert "path" not in as_document(result)


def test_experts_run_as_many_as_are_asked_for(tiny):
    for top_k in (1, 2):
        ran = tiny.predict(golden_image(), top_k=top_k).experts
        assert {len(experts) for experts in ran.values()} == {top_k}


def test_a_classifier_answers_with_its_best_classes(tmp_path):
    build_classifier(tmp_path)
    model = load(tmp_path / "colours-openvino")
    found = model.predict(golden_image())
    assert found.boxes_xyxy is None
    assert found.class_names[0] == "red"
    assert (np.diff(found.scores) <= 0).all()
    assert len(model.predict(golden_image(), top=1)) == 1
    assert model.predict(golden_image(), classes=["blue"]).class_names == ["blue"]
    assert (found.plot(experts=False) != golden_image()).any()
    assert "likeliest classes (red " in repr(found)
    with pytest.raises(ConfigError, match="conf does not apply to a model of task classify"):
        model.predict(golden_image(), conf=0.5)


@pytest.mark.parametrize("build", [build_static, build_branches], ids=["npu", "onnx"])
def test_artifacts_of_onnx_files_answer_too(tmp_path, build):
    built = build(tmp_path)
    found = load(built.folder).predict(golden_image(), conf=0.1)
    with np.load(built.folder / "golden.npz") as golden:
        assert found.scores[0] == pytest.approx(golden["det_scores"][0], abs=1e-4)


def test_a_name_is_looked_up_in_the_repository_and_the_newest_version_answers(tmp_path):
    for version in ("2", "10", "9"):
        build_artifact(tmp_path, version=version)
    assert "version 10" in loading.load("tiny", repository=tmp_path).name
    with pytest.raises(CheckpointError, match=r"no model tny: .* has: tiny-openvino"):
        loading.load("tny", repository=tmp_path)


def test_of_a_run_the_best_checkpoint_is_taken(tmp_path):
    model = tiny_model("yolov12-n")
    with pytest.raises(CheckpointError, match=r"holds no model: neither best\.safetensors nor"):
        load(tmp_path)
    save_model(tmp_path / "model.safetensors", model, {})
    assert load(tmp_path).name.endswith("model.safetensors")
    save_model(tmp_path / "best.safetensors", model, {})
    assert load(tmp_path).name.endswith("best.safetensors")
    assert load(tmp_path).predict(golden_image()).experts == {}
    with pytest.raises(ConfigError, match="has no experts to choose from: leave top_k"):
        load(tmp_path).predict(golden_image(), top_k=1)


def test_models_that_cannot_run_are_refused(tmp_path, repository):
    (tmp_path / "other.pt").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="convert it first, with python -m training convert"):
        load(tmp_path / "other.pt")
    (tmp_path / "notes.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"\.json is no"):
        load(tmp_path / "notes.json")
    with pytest.raises(ConfigError, match="runs on the CPU here: load its checkpoint on cuda"):
        load(repository / "tiny-openvino", device="cuda")
    save_model(tmp_path / "model.safetensors", tiny_model("yolov12-n"), {})
    with pytest.raises(ConfigError, match="no device cuda:7 here"):
        load(tmp_path / "model.safetensors", device="cuda:7")
    built = build_artifact(tmp_path / "repository")
    (built.folder / "model.bin").write_bytes(b"half")
    with pytest.raises(CheckpointError, match=r"model\.bin is not the file that was exported"):
        load(built.folder)
    (built.folder / "model.bin").unlink()
    with pytest.raises(CheckpointError, match=r"model\.bin is missing"):
        load(built.folder)
    (built.folder / "manifest.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load(built.folder)
    graphs = [{"name": "model", "file": "model.onnx"}]
    plan = build_static(tmp_path / "repository", target="tensorrt").folder / "manifest.json"
    plan.write_text(json.dumps(json.loads(plan.read_text()) | {"graphs": graphs}))
    with pytest.raises(ConfigError, match="for TensorRT, which runs under Triton"):
        load(plan.parent)


def test_supervision_gets_what_was_found(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ConfigError, match="pip install supervision"):
        tiny.predict(golden_image()).to_supervision()
    stand_in = SimpleNamespace(Detections=SimpleNamespace, Classifications=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "supervision", stand_in)
    found = tiny.predict(golden_image())
    given = found.to_supervision()
    assert given.xyxy is found.boxes_xyxy
    assert given.class_id.tolist() == [0]
    assert given.data["class_name"].tolist() == ["red"]
    build_classifier(tmp_path)
    classes = load(tmp_path / "colours-openvino").predict(golden_image()).to_supervision()
    assert classes.class_id[0] == 0
    assert not hasattr(classes, "xyxy")


@pytest.mark.parametrize("image_hw", [(1, 1), (2, 300), (300, 2), (1200, 900)], ids=str)
def test_images_of_any_size_are_drawn(tiny, image_hw):
    found = tiny.predict(np.full((*image_hw, 3), (230, 60, 30), np.uint8), conf=0)
    assert len(found) > 0
    drawn = found.plot()
    assert drawn.shape[1] == image_hw[1]
    assert drawn.shape[0] > image_hw[0]
    assert len(found._repr_png_()) > 0
