"""Result classes refuse wrong values, and have the same text as the service's answers."""

import json

import numpy as np
import pytest

from clients.tasks.boxes import Detection, Detections
from clients.tasks.detect import DetectParams
from clients.types import ExpertActivation, ModelRef, PathTaken
from service.rest import wire
from service.tasks.detect import Prediction
from tests.unit.clients.conftest import answer_of


@pytest.fixture
def found(manifest):
    return DetectParams().ask(np.zeros((32, 64, 3), np.uint8), manifest).read(answer_of(2))


def keys(model):
    return {field.alias or name for name, field in model.model_fields.items()}


def test_iteration_gives_one_detection_after_the_other(found):
    first, second = found
    # 32 high and 64 wide: not scaled, 16 rows of padding above
    assert first == Detection((0, 0, 32, 16), pytest.approx(0.9), "red", 0)
    assert (second.class_name, second.score) == ("green", pytest.approx(0.5))


def test_the_json_has_the_keys_of_the_services_answer(found):
    told = json.loads(found.to_json())
    assert told == found.to_dict()
    assert told["image"] == {"width": 64, "height": 32}
    assert told["predictions"][0] == {
        "x": 16.0,
        "y": 8.0,
        "width": 32.0,
        "height": 16.0,
        "class": "red",
        "class_id": 0,
        "confidence": 0.9,
    }
    assert told["moe"]["layers"][0]["active"] == [1, 2]
    # the service knows more (timings, GFLOPs, why this backend); one object or layer is the same in both
    assert set(told) <= keys(wire.Answer)
    assert set(told["model"]) <= keys(wire.ModelRef)
    assert set(told["image"]) == keys(wire.ImageSize)
    assert set(told["predictions"][0]) == keys(Prediction)
    assert set(told["moe"]) <= keys(wire.Moe)
    assert set(told["moe"]["layers"][0]) == keys(wire.LayerActivation)


def test_numbers_are_rounded_as_the_service_rounds_them(manifest):
    outputs = answer_of(1) | {"boxes": np.array([[1.23456, 0, 9.87654, 10]], np.float32)}
    told = DetectParams().ask(np.zeros((64, 64, 3), np.uint8), manifest).read(outputs).to_dict()
    assert (told["predictions"][0]["x"], told["predictions"][0]["width"]) == (5.556, 8.642)


@pytest.mark.parametrize("wrong", ["boxes_xyxy", "class_ids", "class_names"])
def test_rows_that_do_not_fit_are_refused(wrong):
    parts = {
        "boxes_xyxy": np.zeros((1, 4), np.float32),
        "class_ids": np.zeros(1, np.int64),
        "class_names": ("red",),
    }
    parts[wrong] = parts[wrong][:0]
    with pytest.raises(ValueError, match="do not fit"):
        Detections(
            model=ModelRef("m", "1", "0", "triton", "f32"),
            image_hw=(1, 1),
            scores=np.zeros(1, np.float32),
            experts=(),
            top_k=None,
            routing="normal",
            **parts,
        )


def test_experts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        ExpertActivation("p4", 2, (0, 1), (1.0,), (0.5, 0.5), 1.0)


def test_a_path_is_in_the_dict_of_its_answer_only():
    parts = {"model": ModelRef("m", "1", "0", "openvino", "f32"), "image_hw": (1, 1), "experts": ()}
    parts |= {"top_k": 2, "routing": "normal", "class_names": (), "class_ids": np.zeros(0, np.int64)}
    parts |= {"boxes_xyxy": np.zeros((0, 4), np.float32), "scores": np.zeros(0, np.float32)}
    with_path = Detections(**parts, path=PathTaken(3, 0.9123456789))
    assert with_path.to_dict()["moe"]["path"] == {"index": 3, "probability": 0.912346}
    assert "path" not in Detections(**parts).to_dict()["moe"]
