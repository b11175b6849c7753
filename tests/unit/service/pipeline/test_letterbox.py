"""Where an image lies in the model input, and how boxes are mapped back to the image."""

import numpy as np
import pytest

from service.pipeline.letterbox import Letterbox


@pytest.mark.parametrize(
    ("source_hw", "expected"),
    [
        pytest.param((640, 640), Letterbox(1.0, left=0, top=0), id="fits as it is"),
        pytest.param((320, 640), Letterbox(1.0, left=0, top=160), id="wide: padded top and bottom"),
        pytest.param((1280, 640), Letterbox(0.5, left=160, top=0), id="tall: halved, padded at sides"),
        pytest.param((64, 64), Letterbox(10.0, left=0, top=0), id="small: enlarged"),
        pytest.param((639, 640), Letterbox(1.0, left=0, top=0), id="odd pixel goes to the bottom"),
        pytest.param((1, 10_000), Letterbox(0.064, left=0, top=319), id="a line keeps one pixel"),
    ],
)
def test_letterbox_centres_the_image(source_hw, expected):
    assert Letterbox.fit(source_hw, (640, 640)) == expected


def test_the_canvas_is_padded_around_the_image():
    image = np.full((32, 64, 3), 200, np.uint8)
    canvas = Letterbox.fit((32, 64), (64, 64)).apply(image, (64, 64), pad_value=114)
    assert canvas.shape == (1, 64, 64, 3)
    assert (canvas[0, :16] == 114).all()
    assert (canvas[0, 16:48] == 200).all()
    assert (canvas[0, 48:] == 114).all()


@pytest.mark.parametrize("source_hw", [(1, 1), (1, 5000), (5000, 1), (3, 7), (100, 37), (641, 480)])
def test_any_shape_fits_the_canvas(source_hw):
    image = np.full((*source_hw, 3), 50, np.uint8)
    canvas = Letterbox.fit(source_hw, (64, 96)).apply(image, (64, 96), pad_value=114)
    assert canvas.shape == (1, 64, 96, 3)
    assert (canvas == 50).any()


def test_boxes_come_back_to_the_source():
    letterbox = Letterbox(scale=0.5, left=160, top=0)
    boxes = np.array([[160, 0, 480, 640], [210, 10, 260, 20]], np.float32)
    assert letterbox.to_source(boxes).tolist() == [[0, 0, 640, 1280], [100, 20, 200, 40]]


def test_no_boxes_come_back_as_none():
    assert Letterbox(0.5, 1, 2).to_source(np.zeros((0, 4), np.float32)).shape == (0, 4)
