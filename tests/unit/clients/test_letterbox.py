"""The client's letterbox equals the service's."""

import numpy as np
import pytest

from clients.letterbox import Letterbox
from service.pipeline.letterbox import Letterbox as ServiceLetterbox
from tests.contract.test_geometry import SIZES


@pytest.mark.parametrize(("source_hw", "input_hw"), SIZES)
def test_client_and_service_give_the_same_canvas_and_the_same_way_back(source_hw, input_hw):
    image = np.random.default_rng(0).integers(0, 256, (*source_hw, 3), dtype=np.uint8)
    ours, theirs = Letterbox.fit(source_hw, input_hw), ServiceLetterbox.fit(source_hw, input_hw)
    assert (ours.scale, ours.left, ours.top) == (theirs.scale, theirs.left, theirs.top)
    assert np.array_equal(ours.apply(image, input_hw, 114), theirs.apply(image, input_hw, 114))
    boxes = np.array([[0, 0, 10, 10], [1.5, 2.5, 63.25, 60]], dtype=np.float32)
    height, width = source_hw
    clipped = np.clip(theirs.to_source(boxes), 0, [width, height, width, height])
    assert np.array_equal(ours.to_source(boxes, source_hw), clipped)
    points = boxes.reshape(-1, 2, 2)
    assert np.array_equal(ours.points_to_source(points), theirs.points_to_source(points))


def test_a_whole_picture_maps_onto_itself_and_what_sticks_out_is_cut_off():
    placed = Letterbox.fit((480, 640), (640, 640))
    assert placed == Letterbox(scale=1.0, left=0, top=80)
    boxes = np.array([[0, 80, 640, 560], [-5, 0, 700, 90]], dtype=np.float32)
    assert placed.to_source(boxes, (480, 640)).tolist() == [[0, 0, 640, 480], [0, 0, 640, 10]]


def test_no_boxes_stay_no_boxes():
    placed = Letterbox.fit((480, 640), (640, 640))
    assert placed.to_source(np.empty((0, 4), np.float32), (480, 640)).shape == (0, 4)
