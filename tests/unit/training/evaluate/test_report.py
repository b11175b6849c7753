"""The text of an evaluation names the metric of its kind of objects."""

import json

import pytest

from tests.unit.training.evaluate.objects.random_objects import KINDS, random_images
from training.evaluate.evaluator import evaluation_of
from training.evaluate.report import detection_json, evaluation_report
from training.evaluate.routed import RoutedImages

NAMES = ("disc", "ring", "star")


TASKS = {"masks": "segment", "keypoints": "pose", "corners": "obb"}


def evaluation(name):
    truths, detections = random_images(name, images=8)
    return evaluation_of(RoutedImages(tuple(truths), {}, {}), detections, NAMES, TASKS[name], KINDS[name])


@pytest.mark.parametrize(
    ("name", "score"), [("masks", "mask mAP"), ("keypoints", "OKS mAP"), ("corners", "rotated mAP")]
)
def test_the_metric_is_named_and_that_of_boxes_beside_it(name, score):
    result = evaluation(name)
    mean_ap, of_boxes, lines = result.mean_ap, result.box_ap, evaluation_report(result).splitlines()
    told = json.loads(detection_json(result))
    assert (told["metric"], told["map50_95"]) == (score, mean_ap.map50_95)
    assert lines[0].startswith(f"8 images   {score}50 {mean_ap.map50:.4f}   {score}50-95 ")
    boxes = [line for line in lines if line.startswith("boxes alone")]
    if name == "corners":
        assert (boxes, of_boxes, told.get("box")) == ([], None, None)
    else:
        assert boxes[0].split("   ")[1:3] == [
            f"mAP50 {of_boxes.map50:.4f}",
            f"mAP50-95 {of_boxes.map50_95:.4f}",
        ]
        assert told["box"]["map50_95"] == of_boxes.map50_95 != mean_ap.map50_95
    assert any(f" {score}50  {score}50-95 " in line for line in lines), "the heading of the classes"


def test_keypoints_have_the_limit_and_the_recall_that_coco_measures():
    text = evaluation_report(evaluation("keypoints"))
    assert "COCO scores the best 20 of each class)" in text
    assert "small -   medium 0." in text
    assert "   AR20 0." in text
    assert "AR100" not in text
    assert "(OKS 0.5)" in text
    masks = evaluation_report(evaluation("masks"))
    assert "COCO scores the best 100 of each class)" in masks
    assert "   AR1 0." in masks
    assert "   AR100 0." in masks
    assert "AR20" not in masks
    assert "(IoU 0.5)" in masks
