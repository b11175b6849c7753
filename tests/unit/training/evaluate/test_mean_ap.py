"""mAP equals values computed by hand; test_coco_api.py compares with the COCO API."""

from dataclasses import replace

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
    return Truth(boxes, np.array([row[1] for row in rows], np.int64), (100, 300), "image")


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
    images = [truth((A, 0)), truth((B, 0))]
    result = mean_average_precision(images, [found((B, 0, 0.9)), found((A, 0, 0.9))], NAMES)
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
    assert result[:5] == (0, 0, 0, {"disc": 0}, {"disc": 0})
    assert (result.map50_95_small, result.map50_95_medium, result.map50_95_large) == (None, 0, None)
    assert (result.ar1, result.ar10, result.ar100) == (0, 0, 0)


@pytest.mark.parametrize("truths", [[], [truth(), truth()]], ids=["no images", "no objects"])
def test_without_an_object_there_is_nothing_to_score(truths):
    with pytest.raises(DatasetError, match="hold no object; mAP is not defined"):
        mean_average_precision(truths, [found((A, 0, 0.9))] * len(truths), NAMES)


def test_only_the_best_hundred_of_a_picture_count():
    false_alarms = [((x, 50, x + 5, 55), 0, 0.9) for x in range(100)]
    result = mean_average_precision([truth((A, 0))], [found(*false_alarms, (A, 0, 0.8))], NAMES)
    assert result.map50 == 0


def ignoring(objects, regions, class_ids=None):
    """Return an image of some objects and ignored regions."""
    boxes = np.array(regions, np.float32).reshape(-1, 4)
    return replace(truth(*objects), ignored_xyxy=boxes, ignored_class_ids=class_ids)


@pytest.mark.parametrize(
    ("region_class", "expected"),
    [
        pytest.param(None, 1.0, id="of every class"),
        pytest.param(-1, 1.0, id="of every class, said so"),
        pytest.param(0, 1.0, id="of the class of the false alarm"),
        pytest.param(1, 0.5, id="of another class"),
    ],
)
def test_a_false_alarm_in_an_ignored_region_is_not_counted(region_class, expected):
    class_ids = None if region_class is None else np.array([region_class])
    image = ignoring([(A, 0)], [(90, 0, 300, 100)], class_ids)
    result = mean_average_precision([image], [found((C, 0, 0.95), (A, 0, 0.9))], NAMES)
    assert result.map50 == pytest.approx(expected)
    assert result.map50_by_class == pytest.approx({"disc": expected})


@pytest.mark.parametrize(
    ("inside", "forgiven"),
    [
        pytest.param(20, 1.0, id="half of it"),
        pytest.param(19, 0.5, id="less than half"),
    ],
)
def test_a_false_alarm_is_forgiven_if_half_of_it_lies_inside(inside, forgiven):
    image = ignoring([(A, 0)], [(240 - inside, 0, 300, 100)])
    result = mean_average_precision([image], [found((C, 0, 0.95), (A, 0, 0.9))], NAMES)
    assert result.map50 == pytest.approx(forgiven)


def test_an_object_that_is_found_in_an_ignored_region_counts_as_right():
    image = ignoring([(A, 0), (C, 0)], [(90, 0, 300, 100)])
    result = mean_average_precision([image], [found((A, 0, 0.9), (C, 0, 0.8))], NAMES)
    assert (result.map50, result.ar100) == pytest.approx((1, 1))


def test_a_region_is_no_object_to_be_found():
    result = mean_average_precision([ignoring([(A, 0)], [C])], [found((A, 0, 0.9))], NAMES)
    assert (result.map50, result.ar100) == pytest.approx((1, 1))
    with pytest.raises(DatasetError, match="hold no object"):
        mean_average_precision([ignoring([], [C])], [found((A, 0, 0.9))], NAMES)


@pytest.mark.parametrize(
    ("side", "sizes"),
    [
        pytest.param(32, (1.0, 1.0, None), id="32² is small and medium, as the COCO API has it"),
        pytest.param(31, (1.0, None, None), id="small"),
        pytest.param(33, (None, 1.0, None), id="medium"),
        pytest.param(97, (None, None, 1.0), id="large"),
    ],
)
def test_sizes_are_counted_apart(side, sizes):
    box = (0, 0, side, side)
    result = mean_average_precision([truth((box, 0))], [found((box, 0, 0.9))], NAMES)
    assert (result.map50_95_small, result.map50_95_medium, result.map50_95_large) == sizes
    assert (result.ar100_small, result.ar100_medium, result.ar100_large) == sizes


def test_a_stated_area_decides_the_size():
    thin = replace(truth((A, 0)), areas=np.array([9.0]))  # an outline of 9 pixels in a box of 1600
    assert mean_average_precision([thin], [found((A, 0, 0.9))], NAMES).map50_95_small == pytest.approx(1)
    unstated = replace(truth((A, 0)), areas=np.array([np.nan]))
    assert mean_average_precision([unstated], [found((A, 0, 0.9))], NAMES).map50_95_small is None


def test_recall_is_that_of_the_best_detections_of_a_class():
    boxes = [(30 * x, 0, 30 * x + 20, 20) for x in range(12)]
    detections = found(*[(box, 0, 0.9 - 0.01 * rank) for rank, box in enumerate(boxes)])
    result = mean_average_precision([truth(*[(box, 0) for box in boxes])], [detections], NAMES)
    assert (result.ar1, result.ar10, result.ar100) == pytest.approx((1 / 12, 10 / 12, 1))
