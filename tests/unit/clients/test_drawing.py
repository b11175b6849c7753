"""Drawings keep objects visible: names make room for other objects and for names of better objects."""

import colorsys

import numpy as np
import pytest

from clients.drawing import draw
from clients.tasks.boxes import Detections
from clients.types import ModelRef

GREY = np.full((200, 200, 3), 100, np.uint8)
ALONE, NEIGHBOUR, AWAY = [20, 100, 40, 120], [50, 85, 60, 95], [20, 160, 40, 180]


def name_colour(class_id):
    hue = (class_id * 137.5 + 168) % 360 / 360
    return np.round([255 * part for part in colorsys.hls_to_rgb(hue, 0.26, 0.78)])


def named(*boxes):
    """Return for each object, best first, each of its own class, whether its name is drawn."""
    found = Detections(
        model=ModelRef("m", "1", "0", "openvino", "f32"),
        image_hw=GREY.shape[:2],
        experts=(),
        top_k=None,
        routing="normal",
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.linspace(0.9, 0.5, len(boxes), dtype=np.float32),
        class_ids=np.arange(len(boxes)),
        class_names=("nucleus",) * len(boxes),
    )
    drawn = draw(GREY, found)
    return [bool((drawn == name_colour(row)).all(axis=-1).sum() > 100) for row in range(len(boxes))]


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([ALONE], [True]),
        ([ALONE, AWAY], [True, True]),
        ([ALONE, NEIGHBOUR], [False, True]),  # the first name would cover the second object
        ([ALONE, [22, 100, 42, 120]], [True, False]),  # the second would cover the first name
        ([], []),
    ],
)
def test_a_name_covers_neither_an_object_nor_a_better_name(boxes, expected):
    assert named(*boxes) == expected
