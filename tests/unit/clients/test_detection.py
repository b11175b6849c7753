"""The client's request to the ensemble and the result, with numbers that can be checked by hand."""

from dataclasses import replace

import numpy as np
import pytest

from clients.errors import BadParameter, ManifestMismatch
from clients.manifest import Resize
from clients.tasks.detect import DetectParams
from tests.unit.clients.conftest import answer_of


def question(manifest, image_hw=(64, 64), controls=None, **asked):
    return DetectParams(controls=controls or {}, **asked).ask(np.zeros((*image_hw, 3), np.uint8), manifest)


def plain(manifest):
    """Return the manifest of a model without experts."""
    return replace(manifest, controls={}, mixture=())


def with_candidates(manifest, count):
    return replace(manifest, task_settings=manifest.task_settings | {"candidates": count})


def test_the_ensemble_is_named_after_model_and_target(manifest):
    assert question(manifest).model == "tiny-openvino-detect"


def test_tensors_have_the_shapes_and_types_of_the_contract(manifest):
    controls = {"top_k": 3, "weight_threshold": 0.125}
    tensors = question(manifest, conf=0.5, iou=0.25, max_det=7, controls=controls).tensors
    shapes = {name: (str(value.dtype), value.shape) for name, value in tensors.items()}
    assert shapes == {
        "images": ("uint8", (1, 64, 64, 3)),
        "top_k": ("int64", (1, 1)),
        "weight_threshold": ("float32", (1, 1)),
        "conf": ("float32", (1,)),
        "iou": ("float32", (1,)),
        "max_det": ("int32", (1,)),
    }
    values = {name: value.item() for name, value in tensors.items() if name != "images"}
    assert values == {"conf": 0.5, "iou": 0.25, "max_det": 7, "top_k": 3, "weight_threshold": 0.125}


def test_tensors_have_the_names_that_the_manifest_gives_to_their_roles(manifest):
    renamed = replace(
        manifest,
        images=replace(manifest.images, name="pixels"),
        outputs=tuple(replace(tensor, name=f"my_{tensor.name}") for tensor in manifest.outputs),
    )
    asked = question(renamed)
    assert "pixels" in asked.tensors
    assert "images" not in asked.tensors
    # the ensemble's own detections have fixed names; what it passes on has the manifest's
    assert asked.outputs == ("boxes", "scores", "class_ids", "my_gates", "my_router_probs")
    found = asked.read(
        answer_of(1) | {f"my_{name}": answer_of(1)[name] for name in ("gates", "router_probs")}
    )
    assert found.experts[0].active == (1, 2)


def test_a_model_without_experts_gets_no_controls_and_is_asked_for_no_gates(manifest):
    asked = question(plain(manifest))
    assert set(asked.tensors) == {"images", "conf", "iou", "max_det"}
    assert asked.outputs == ("boxes", "scores", "class_ids")
    found = asked.read({name: answer_of(1)[name] for name in asked.outputs})
    assert (len(found), found.experts, found.top_k) == (1, (), None)


def test_boxes_come_back_in_pixels_of_the_image(manifest):
    # 128 high and 64 wide: halved to 64 x 32, 16 columns of padding on either side
    found = question(manifest, (128, 64)).read(answer_of(1))
    assert found.boxes_xyxy.tolist() == [[0, 0, 32, 64]]
    assert found.image_hw == (128, 64)
    assert (found.scores.tolist(), found.class_ids.tolist()) == ([pytest.approx(0.9)], [0])
    assert found.class_names == ("red",)


def test_nothing_found_is_an_answer(manifest):
    found = question(manifest).read(answer_of(0))
    assert len(found) == 0
    assert list(found) == []
    assert len(found.experts) == 2


def test_experts_are_read_row_by_row(manifest):
    outputs = answer_of(1)
    outputs["gates"] = np.array([[[0.75, 0, 0.25, 0], [0, 1, 0, 0]]], np.float32)
    outputs["router_probs"] = np.array([[[0.5, 0.125, 0.25, 0.125], [0, 1, 0, 0]]], np.float32)
    p4, p5 = question(manifest).read(outputs).experts
    assert (p4.layer, p4.num_experts, p4.active, p4.weights) == ("backbone.p4", 4, (0, 2), (0.75, 0.25))
    assert (p4.probabilities, p4.entropy_bits) == ((0.5, 0.125, 0.25, 0.125), 1.75)
    assert (p5.layer, p5.num_experts, p5.active, p5.weights) == ("backbone.p5", 3, (1,), (1.0,))
    assert (p5.probabilities, p5.entropy_bits) == ((0, 1, 0), 0.0)


def test_unwanted_classes_are_gone_before_the_best_are_counted(manifest):
    asked = question(with_candidates(manifest, 50), classes=["blue"], max_det=2)
    assert asked.tensors["max_det"].item() == 50  # all that there can be
    found = asked.read(answer_of(12))  # classes 0 1 2 0 1 2 …: blue in rows 2, 5, 8, 11
    assert found.class_names == ("blue", "blue")
    assert found.scores.tolist() == answer_of(12)["scores"][[2, 5]].tolist()


def test_the_answer_names_the_model_that_gave_it(manifest):
    found = question(manifest, controls={"top_k": 1}).read(answer_of(1))
    assert (found.model.name, found.model.version, found.model.backend) == ("tiny", "1", "triton")
    assert found.model.sha256 == manifest.sha256
    assert (found.top_k, found.routing, found.service) == (1, "normal", None)


@pytest.mark.parametrize("name", ["boxes", "scores", "class_ids", "gates", "router_probs"])
def test_a_missing_output_is_named(manifest, name):
    outputs = answer_of(1)
    del outputs[name]
    with pytest.raises(ManifestMismatch, match=f"lacks {name}"):
        question(manifest).read(outputs)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("boxes", (2, 4)),
        ("boxes", (1, 5)),
        ("scores", (2,)),
        ("class_ids", (1, 1)),
        ("gates", (1, 2, 3)),
        ("gates", (1, 3, 4)),
        ("router_probs", (2, 2, 4)),
    ],
)
def test_an_output_of_another_shape_is_refused(manifest, name, shape):
    outputs = answer_of(1) | {name: np.zeros(shape, np.float32)}
    with pytest.raises(ManifestMismatch, match=f"{name} has the shape"):
        question(manifest).read(outputs)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("boxes", "float16"), ("scores", "int32"), ("class_ids", "int64"), ("gates", "float64")],
)
def test_an_output_of_another_type_is_refused(manifest, name, dtype):
    outputs = answer_of(1) | {name: answer_of(1)[name].astype(dtype)}
    with pytest.raises(ManifestMismatch, match=f"{name} has the type {dtype}, not"):
        question(manifest).read(outputs)


@pytest.mark.parametrize(("class_id", "fits"), [(-1, False), (0, True), (2, True), (3, False)])
def test_a_class_id_must_be_one_of_the_manifest(manifest, class_id, fits):
    outputs = answer_of(1) | {"class_ids": np.array([class_id], np.int32)}
    if fits:
        assert question(manifest).read(outputs).class_ids.tolist() == [class_id]
    else:
        with pytest.raises(ManifestMismatch, match=r"outside 0\.\.2"):
            question(manifest).read(outputs)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task_settings": {}}, "task_settings.defaults is missing"),
        ({"task_settings": {"defaults": {"conf": 2, "iou": 0.5, "max_det": 1}}}, "defaults.conf is 2"),
        ({"task_settings": {"defaults": {"conf": 1, "iou": "x", "max_det": 1}}}, "defaults.iou is 'x'"),
        ({"task_settings": {"defaults": {"conf": 1, "iou": 0, "max_det": 0}}}, "defaults.max_det is 0"),
        ({"task_settings": {"defaults": {"conf": 1, "iou": 0, "max_det": 1}}}, "candidates is missing"),
        ({"resize": Resize("center_crop", 0)}, "the task 'detect' needs letterbox"),
        ({"outputs": ()}, "no output has the role boxes_xyxy"),
    ],
)
def test_a_manifest_without_what_detection_needs_is_refused(manifest, changes, words):
    with pytest.raises(ManifestMismatch, match=words):
        question(replace(manifest, **changes))


def test_a_mixture_without_gates_is_refused(manifest):
    without = replace(manifest, outputs=tuple(row for row in manifest.outputs if row.role != "gates"))
    with pytest.raises(ManifestMismatch, match="no output has the role gates"):
        question(without)


def test_scores_of_single_classes_are_filtered_by_the_client(manifest):
    asked = question(manifest, conf="0.3,red:0.9,1:0.2", max_det=7)
    assert (asked.conf, asked.class_conf) == (0.3, {0: 0.9, 1: 0.2})
    assert asked.tensors["conf"].tolist() == [pytest.approx(0.2)]
    assert asked.tensors["max_det"].tolist() == [asked.candidates]
    score = float(answer_of(1)["scores"][0])
    assert len(asked.read(answer_of(1))) == 1
    assert len(question(manifest, conf=f"red:{score + 0.01}").read(answer_of(1))) == 0
    assert question(manifest, conf="red:0.5").conf == question(manifest).conf


@pytest.mark.parametrize(
    "conf", ["", "red", "red:2", "cat:0.5", "0.1,0.2", "red:0.1,0:0.2", "red:nan", ":0.5"]
)
def test_a_confidence_that_cannot_be_meant_is_refused(manifest, conf):
    with pytest.raises(BadParameter):
        question(manifest, conf=conf)


def test_agnostic_suppression_needs_the_service(manifest):
    assert question(manifest, agnostic_nms=False).conf == question(manifest).conf
    with pytest.raises(BadParameter, match="agnostic_nms needs the service"):
        question(manifest, agnostic_nms=True)
    assert DetectParams(agnostic_nms=True, conf="red:0.5").query() == {
        "agnostic_nms": "true",
        "conf": "red:0.5",
    }
