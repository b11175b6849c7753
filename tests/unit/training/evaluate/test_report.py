"""The text of an evaluation names the metric of its kind of objects."""

import pytest

from tests.unit.training.evaluate.objects.random_objects import KINDS, random_images
from training.evaluate.curves import curves_of
from training.evaluate.matches import match_by_class
from training.evaluate.mean_ap import mean_average_precision
from training.evaluate.objects.boxes import BOXES
from training.evaluate.report import evaluation_report

NAMES = ("disc", "ring", "star")


def report_of(name):
    truths, detections = random_images(name, images=8)
    kind = KINDS.get(name, BOXES)
    mean_ap = mean_average_precision(truths, detections, NAMES, kind)
    of_boxes = mean_average_precision(truths, detections, NAMES)
    curves = curves_of(match_by_class(truths, detections, 3, kind=kind), NAMES)
    box_ap = of_boxes if name in ("masks", "keypoints") else None
    return evaluation_report(mean_ap, curves, 8, kind=kind, box_ap=box_ap).splitlines(), mean_ap, of_boxes


@pytest.mark.parametrize(
    ("name", "score"), [("masks", "mask mAP"), ("keypoints", "OKS mAP"), ("corners", "rotated mAP")]
)
def test_the_metric_is_named_and_that_of_boxes_beside_it(name, score):
    lines, mean_ap, of_boxes = report_of(name)
    assert lines[0].startswith(f"8 images   {score}50 {mean_ap.map50:.4f}   {score}50-95 ")
    boxes = [line for line in lines if line.startswith("boxes alone")]
    if name == "corners":
        assert boxes == []
    else:
        assert boxes[0].split("   ")[1:3] == [
            f"mAP50 {of_boxes.map50:.4f}",
            f"mAP50-95 {of_boxes.map50_95:.4f}",
        ]
        assert of_boxes.map50_95 != mean_ap.map50_95
    assert any(f" {score}50  {score}50-95 " in line for line in lines), "the heading of the classes"


def test_keypoints_have_the_limit_and_the_recall_that_coco_measures():
    text = "\n".join(report_of("keypoints")[0])
    assert "COCO scores the best 20 of each class)" in text
    assert "small -   medium 0." in text
    assert "   AR20 0." in text
    assert "AR100" not in text
    assert "(OKS 0.5)" in text
    masks = "\n".join(report_of("masks")[0])
    assert "COCO scores the best 100 of each class)" in masks
    assert "   AR1 0." in masks
    assert "   AR100 0." in masks
    assert "AR20" not in masks
    assert "(IoU 0.5)" in masks
