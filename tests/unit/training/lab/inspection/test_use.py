"""Counts of objects and images by the experts of their image, for the charts."""

from dataclasses import replace

import numpy as np
import pytest

from training.data.evaluation import Truth
from training.data.masks import Mask
from training.evaluate.groups import density_groups
from training.evaluate.routed import RoutedImages
from training.lab.inspection.sets import set_name
from training.lab.inspection.use import MOST_CLASSES, class_rows, group_rows, size_rows


def image(class_ids, sides=None):
    """Objects of these classes, squares with these sides."""
    sides = np.array([10] * len(class_ids) if sides is None else sides, np.float32)
    boxes = np.stack([np.zeros_like(sides), np.zeros_like(sides), sides, sides], axis=1)
    return Truth(boxes, np.array(class_ids, np.int64), (640, 640), "")


def routed(truths, gates):
    gates = np.array(gates, np.float32)
    return RoutedImages(tuple(truths), {"p4": gates}, {"p4": gates})


TWO = routed([image([0, 0, 0, 2]), image([0])], [[1, 0], [0, 1]])


def test_a_class_counts_each_of_its_objects_by_the_experts_of_its_image():
    rows = class_rows(TWO, ("cell", "fish", "card"))
    assert rows.labels == ("cell", "card"), "what does not occur has no row; the commonest is first"
    assert rows.shares(TWO.gates["p4"]).tolist() == [[0.75, 0.25], [1, 0]]


def test_no_more_classes_than_a_chart_has_room_for():
    many = routed([image([*range(30), 29])], [[1, 0]])
    rows = class_rows(many, [f"c{index}" for index in range(30)])
    assert len(rows.labels) == MOST_CLASSES
    assert rows.labels[0] == "c29"


@pytest.mark.parametrize(
    ("side", "label"),
    [(31.99, "small"), (32, "medium"), (95.99, "medium"), (96, "large")],
)
def test_sizes_are_coco_s(side, label):
    one = routed([image([0], [side])], [[1, 0]])
    (found,) = size_rows(one).labels
    assert found.startswith(label)


def test_sizes_are_those_of_masks_and_oriented_boxes_where_there_are_some():
    """Each fills a part of a box with sides of 100, which alone would be large."""
    (whole,) = size_rows(routed([image([0], [100])], [[1, 0]])).labels
    assert whole.startswith("large")
    disc = np.hypot(*(np.mgrid[:100, :100] - 49.5)) < 50  # 78% of the box
    (masked,) = size_rows(routed([replace(image([0], [100]), masks=(Mask(0, 0, disc),))], [[1, 0]])).labels
    assert masked.startswith("medium")
    corners = np.array([[[5, 0], [100, 95], [95, 100], [0, 5]]], np.float32)  # 134 x 7
    (turned,) = size_rows(routed([replace(image([0], [100]), corners=corners)], [[1, 0]])).labels
    assert turned.startswith("small")
    labelled = replace(image([0], [100]), corners=corners, areas=np.array([5000.0]))
    (stated,) = size_rows(routed([labelled], [[1, 0]])).labels
    assert stated.startswith("medium")


def test_a_group_counts_its_images():
    grouping = density_groups(np.array([1, 2, 3]))
    assert group_rows(grouping).shares(np.array([[1, 0], [0.5, 0.5], [0, 1]])).tolist() == [
        [1, 0],
        [1, 1],
        [0, 1],
    ]


def test_where_every_expert_always_runs_weights_tell_them_apart():
    rows = group_rows(density_groups(np.array([1, 2])))
    assert rows.shares(np.array([[0.75, 0.25], [0.5, 0.5]])).tolist() == [[0.75, 0.25], [0.5, 0.5]]


@pytest.mark.parametrize(("experts", "name"), [((1, 3), "1 + 3"), ((2,), "2"), ((), "none")])
def test_sets_are_called_by_their_experts(experts, name):
    assert set_name(experts) == name
