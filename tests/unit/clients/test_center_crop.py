"""The centre crop of the client, with numbers that can be checked by hand."""

import numpy as np
import pytest

from clients.center_crop import center_crop


def columns(width, height=4):
    """Return an image whose every column holds its own number."""
    return np.broadcast_to(np.arange(width, dtype=np.uint8)[None, :, None], (height, width, 3))


@pytest.mark.parametrize(
    ("width", "kept"),
    [
        pytest.param(4, [0, 1, 2, 3], id="fits as it is"),
        pytest.param(8, [2, 3, 4, 5], id="two columns go on either side"),
        pytest.param(7, [1, 2, 3, 4], id="of three columns one goes on the left, two on the right"),
        pytest.param(5, [0, 1, 2, 3], id="of one column none goes on the left"),
    ],
)
def test_what_is_beyond_the_canvas_is_cut_off(width, kept):
    canvas = center_crop(columns(width), (4, 4))
    assert canvas.shape == (1, 4, 4, 3)
    assert canvas[0, 0, :, 0].tolist() == kept


def test_an_upright_image_loses_rows():
    image = columns(8).transpose(1, 0, 2)
    assert center_crop(image, (4, 4))[0, :, 0, 0].tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("image_hw", "canvas_hw"),
    [
        ((480, 640), (224, 224)),
        ((640, 480), (224, 224)),
        ((7, 3000), (64, 64)),
        ((3, 2), (64, 96)),
        ((33, 47), (31, 30)),
    ],
)
def test_the_canvas_is_always_covered(image_hw, canvas_hw):
    canvas = center_crop(np.full((*image_hw, 3), 9, np.uint8), canvas_hw)
    assert canvas.shape == (1, *canvas_hw, 3)
    assert (canvas == 9).all()


def test_of_a_line_only_the_middle_is_resized():
    # 64 canvases long: the 16 in the middle become 128 pixels, of which 60 to 67 are the canvas;
    # pixel 60 lies 1/16 of the way from the last dark pixel to the first bright one
    line = np.zeros((1, 64, 3), np.uint8)
    line[:, 32:] = 160
    canvas = center_crop(line, (8, 8))
    assert canvas[0, 0, :, 0].tolist() == [10, 30, 50, 70, 90, 110, 130, 150]
    assert (canvas == canvas[:, :1]).all()


def test_twice_the_size_is_averaged_in_pairs():
    # 4 x 4 of 0 100 0 100 to 2 x 2: cv2's bilinear takes the mean of the two middle neighbours
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, 1::2] = 100
    assert center_crop(image, (2, 2))[0, :, :, 0].tolist() == [[50, 50], [50, 50]]
