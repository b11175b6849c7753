"""mAP against values done by hand, and against the COCO API's own."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from training.data.evaluation import Truth
from training.errors import DatasetError
from training.evaluate.detections import Detections
from training.evaluate.mean_ap import mean_average_precision

NAMES = ("disc", "ring")
A, B, C = (0, 0, 40, 40), (100, 0, 140, 40), (200, 0, 240, 40)


def truth(*rows):
    """Rows of box and class."""
    boxes = np.array([row[0] for row in rows], np.float32).reshape(-1, 4)
    return Truth(boxes, np.array([row[1] for row in rows], np.int64), (100, 300), "picture")


def found(*rows):
    """Rows of box, class and score."""
    boxes = np.array([row[0] for row in rows], np.float32).reshape(-1, 4)
    class_ids = np.array([row[1] for row in rows], np.int64)
    return Detections(boxes, np.array([row[2] for row in rows], np.float32), class_ids)


def test_perfect_detections_score_one_in_every_way():
    result = mean_average_precision(
        [truth((A, 0), (B, 1)), truth((C, 0))],
        [found((A, 0, 0.9), (B, 1, 0.8)), found((C, 0, 0.7))],
        NAMES,
    )
    assert (result.map50_95, result.map50, result.map75) == pytest.approx((1, 1, 1))
    assert result.map50_by_class == pytest.approx({"disc": 1, "ring": 1})
    assert result.map50_95_by_class == pytest.approx({"disc": 1, "ring": 1})


def test_one_of_two_objects_missed_leaves_the_recalls_up_to_a_half():
    result = mean_average_precision([truth((A, 0), (B, 0))], [found((A, 0, 0.9))], NAMES)
    assert result.map50 == pytest.approx(51 / 101)  # recalls 0.00, 0.01, .. 0.50 of 101


@pytest.mark.parametrize(
    ("false_score", "expected"),
    [
        pytest.param(0.5, 1.0, id="below the right one: it costs nothing"),
        pytest.param(0.95, 0.5, id="above it: precision is a half everywhere"),
    ],
)
def test_a_false_alarm_costs_by_its_rank(false_score, expected):
    detections = found((A, 0, 0.9), (C, 0, false_score))
    assert mean_average_precision([truth((A, 0))], [detections], NAMES).map50 == pytest.approx(expected)


def test_a_second_box_on_one_object_is_a_false_alarm():
    detections = found((A, 0, 0.9), (A, 0, 0.8), (B, 0, 0.7))
    result = mean_average_precision([truth((A, 0), (B, 0))], [detections], NAMES)
    assert result.map50 == pytest.approx((51 + 50 * 2 / 3) / 101)  # the second object is found third


def test_the_wrong_class_finds_nothing():
    result = mean_average_precision([truth((A, 0))], [found((A, 1, 0.9))], NAMES)
    assert result.map50_95 == 0
    assert result.map50_by_class == {"disc": 0}  # a class without truth has no average precision


def test_a_class_without_truth_does_not_count_in_the_mean():
    result = mean_average_precision([truth((A, 0))], [found((A, 0, 0.9), (B, 1, 0.9))], NAMES)
    assert result.map50 == pytest.approx(1)
    assert result.map50_by_class == pytest.approx({"disc": 1})


def test_the_right_box_in_the_wrong_picture_finds_nothing():
    pictures = [truth((A, 0)), truth((B, 0))]
    result = mean_average_precision(pictures, [found((B, 0, 0.9)), found((A, 0, 0.9))], NAMES)
    assert result.map50 == 0


@pytest.mark.parametrize(
    ("width", "thresholds"),
    [
        pytest.param(40, 10, id="overlap 1: all ten from 0.50 to 0.95"),
        pytest.param(30, 6, id="overlap 0.75: 0.50 to 0.75"),
        pytest.param(20, 1, id="overlap 0.50: the first"),
        pytest.param(19, 0, id="overlap 0.475: none"),
    ],
)
def test_an_overlap_counts_at_every_threshold_it_reaches(width, thresholds):
    result = mean_average_precision([truth((A, 0))], [found(((0, 0, width, 40), 0, 0.9))], NAMES)
    assert result.map50_95 == pytest.approx(thresholds / 10)
    assert result.map50 == pytest.approx(1 if thresholds else 0)
    assert result.map75 == pytest.approx(1 if thresholds >= 6 else 0)


def test_no_detections_score_nothing():
    result = mean_average_precision([truth((A, 0))], [found()], NAMES)
    assert result == (0, 0, 0, {"disc": 0}, {"disc": 0})


@pytest.mark.parametrize("truths", [[], [truth(), truth()]], ids=["no pictures", "no objects"])
def test_without_an_object_there_is_nothing_to_score(truths):
    with pytest.raises(DatasetError, match="hold no object; mAP is not defined"):
        mean_average_precision(truths, [found((A, 0, 0.9))] * len(truths), NAMES)


def test_only_the_best_hundred_of_a_picture_count():
    false_alarms = [((x, 50, x + 5, 55), 0, 0.9) for x in range(100)]
    result = mean_average_precision([truth((A, 0))], [found(*false_alarms, (A, 0, 0.8))], NAMES)
    assert result.map50 == 0


@pytest.mark.skipif(
    "SPARSIGHT_DATA" not in os.environ, reason="SPARSIGHT_DATA does not say where test data is"
)
def test_it_agrees_with_the_coco_api():
    folder = Path(os.environ["SPARSIGHT_DATA"]) / "voc2012_100_multiformat" / "tests" / "test_coco_eval"
    labels = json.loads((folder / "gts" / "sampled_gts_bbox_area.json").read_text(encoding="utf-8"))
    answers = json.loads((folder / "cocoapi_results.json").read_text(encoding="utf-8"))
    class_ids = {category["id"]: index for index, category in enumerate(labels["categories"])}

    def rows_of(image_id, entries):
        for entry in entries:
            if entry["image_id"] == image_id:
                x, y, w, h = entry["bbox"]
                yield (x, y, x + w, y + h), class_ids[entry["category_id"]], entry.get("score", 1.0)

    truths = [truth(*rows_of(image["id"], labels["annotations"])) for image in labels["images"]]
    detections = [found(*rows_of(image["id"], answers)) for image in labels["images"]]
    names = [category["name"] for category in labels["categories"]]
    result = mean_average_precision(truths, detections, names)
    # What the COCO API gives for these files. Ours come as float32 corners, and a few overlaps lie on a
    # threshold exactly: one that falls to the other side moves the mean by about 1e-4.
    assert len(truths) == 100
    assert result.map50 == pytest.approx(0.696973, abs=1e-6)
    assert result.map50_95 == pytest.approx(0.503647, abs=3e-4)
    assert result.map75 == pytest.approx(0.571667, abs=3e-4)
    assert len(result.map50_by_class) == 70
